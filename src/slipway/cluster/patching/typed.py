"""Values seen through their `Shape`: check, list their fields, compare, merge, remove fields.

These are the operations that server-side apply is made of. A shape says of each place whether it is one leaf
(a scalar, an atomic list or map) or is looked into (fields of an object, keys of a map, items of a list by
value or by keys). Where the shape knows nothing, lists are leaves and maps are looked into. Behaviour follows
sigs.k8s.io/structured-merge-diff `typed` v6 (facts only).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import orjson

from slipway.cluster.patching.fields import (
    FieldSet,
    Path,
    element_text,
    field_element,
    key_element,
    value_element,
)
from slipway.cluster.patching.json_values import printed
from slipway.cluster.schema.shape import UNSET, Shape

ABSENT: Final = UNSET
_NO_KEYS: Final = Shape()
_ATOMIC_JSON: Final = Shape(map_type="atomic")
_Form = Literal["map", "list", "scalar"]


class TypeMismatch(ValueError):
    """A value that does not fit its shape; the text names each place."""

    def __init__(self, errors: list[str]) -> None:
        self.errors = errors
        super().__init__(errors[0] if len(errors) == 1 else "\n  ".join(["errors:", *errors]))


def _form(shape: Shape, value: Any) -> _Form:
    """How a value is looked at here. Null, and what does not fit, are looked at as the shape has it."""
    match shape.kind:
        case "object" | "map":
            return "map"
        case "array":
            return "list"
        case "any" | "int-or-string":
            if isinstance(value, list):
                return "list" if shape.kind == "any" else "scalar"
            if isinstance(value, dict) or value is None or value is ABSENT:
                return "map" if shape.kind == "any" else "scalar"
            return "scalar"
    return "scalar"


def _member(shape: Shape, name: str) -> Shape | None:
    """The shape of a field or key; None if there is no such field."""
    if name in shape.properties:
        return shape.properties[name]
    if shape.additional is not None:
        return shape.additional
    if shape.kind == "any":
        return _ATOMIC_JSON if shape.map_type == "atomic" else _NO_KEYS
    return _NO_KEYS if shape.preserve_unknown or not shape.properties else None


def _items(shape: Shape) -> Shape:
    return shape.items or _NO_KEYS


def _is_leaf(shape: Shape, form: _Form) -> bool:
    if form == "list":
        return shape.kind == "any" or shape.list_type == "atomic"
    return form == "scalar" or shape.map_type == "atomic"


def _element(shape: Shape, item: Any) -> str:
    """The path element of a list item. ValueError says why it has none."""
    if shape.list_type != "map":
        if isinstance(item, dict):
            raise ValueError("associative list without keys has an element that's a map type")
        if isinstance(item, list):
            raise ValueError("not supported: associative list with lists as elements")
        if item is None:
            raise ValueError("associative list without keys has an element that's an explicit null")
        return value_element(item)
    if item is None:
        raise ValueError("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise ValueError("associative list with keys may not have non-map elements")
    keys = {}
    for name in shape.list_map_keys:
        value = item[name] if name in item else _default(_items(shape), name)
        if value is not UNSET:
            keys[name] = value
    if not keys:
        names = "[" + " ".join(json.dumps(name) for name in shape.list_map_keys) + "]"
        raise ValueError(
            f"associative list with keys has an element that omits all key fields {names} "
            "(and doesn't have default values for any key fields)"
        )
    return key_element(keys)


def _default(shape: Shape, name: str) -> Any:
    member = shape.properties.get(name)
    if member is None:
        return UNSET
    return member.zero if member.default is UNSET else member.default


# Check


def check(value: Any, shape: Shape, *, duplicates: bool = False) -> None:
    """TypeMismatch if the value does not fit; `duplicates` allows an item to come twice."""
    errors = _errors(value, shape, duplicates)
    if errors:
        raise TypeMismatch([f"{path}: {text}" if path else text for path, text in errors])


def _errors(value: Any, shape: Shape, duplicates: bool) -> list[tuple[str, str]]:
    form = _form(shape, value)
    if value is None:
        return []
    if form == "scalar":
        text = _scalar_error(value, shape)
        return [("", text)] if text else []
    if form == "map":
        if not isinstance(value, dict):
            return [("", f"expected map, got {_pointer(value)}")]
        return _object_errors(value, shape, duplicates)
    if not isinstance(value, list):
        return [("", f"expected list, got {_pointer(value)}")]
    return _list_errors(value, shape, duplicates)


def _object_errors(value: dict[str, Any], shape: Shape, duplicates: bool) -> list[tuple[str, str]]:
    errors: list[tuple[str, str]] = []
    for name, item in value.items():
        member = _member(shape, name)
        if member is None:
            return [*errors, (f".{name}", "field not declared in schema")]
        errors += [(f".{name}{path}", text) for path, text in _errors(item, member, duplicates)]
    return errors


def _list_errors(value: list[Any], shape: Shape, duplicates: bool) -> list[tuple[str, str]]:
    errors: list[tuple[str, str]] = []
    seen: set[str] = set()
    for index, item in enumerate(value):
        place = f"[{index}]"
        if not _is_leaf(shape, "list"):
            try:
                element = _element(shape, item)
            except ValueError as error:
                return [*errors, ("", f"element {index}: {error}")]
            place = element_text(element)
            if element in seen and not duplicates:
                errors.append(("", f"duplicate entries for key {place}"))
            seen.add(element)
        errors += [(place + path, text) for path, text in _errors(item, _items(shape), duplicates)]
    return errors


def _scalar_error(value: Any, shape: Shape) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if shape.kind in ("integer", "number"):
        return "" if number else f"expected numeric (int or float), got {_go_type(value)}"
    if shape.kind == "boolean":
        return "" if isinstance(value, bool) else f"expected boolean, got {_pointer(value)}"
    if shape.kind == "string" and shape.format in ("", "byte"):
        if isinstance(value, str):
            return ""
        return f"expected string, got &value.valueUnstructured{{Value:{_go_syntax(value)}}}"
    return f"expected any scalar, got {_pointer(value)}" if isinstance(value, dict | list) else ""


def _pointer(value: Any) -> str:
    return "&{" + printed(value) + "}"


def _go_type(value: Any) -> str:
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    return "bool" if isinstance(value, bool) else "string"


def _go_syntax(value: Any) -> str:
    """%#v of a JSON value."""
    if isinstance(value, dict):
        inner = ", ".join(f"{json.dumps(k)}:{_go_syntax(value[k])}" for k in sorted(value))
        return f"map[string]interface {{}}{{{inner}}}"
    if isinstance(value, list):
        return "[]interface {}{" + ", ".join(_go_syntax(item) for item in value) + "}"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return "interface {}(nil)" if value is None else printed(value)


# Fields of a value


def fields_of(value: Any, shape: Shape) -> FieldSet:
    """Every leaf and list item that the value mentions."""
    found = FieldSet()
    _collect(value, shape, (), found)
    return found


def _collect(value: Any, shape: Shape, path: Path, found: FieldSet) -> None:
    form = _form(shape, value)
    if _is_leaf(shape, form):
        found.insert(path)
    elif form == "map" and isinstance(value, dict):
        for name, item in value.items():
            below = (*path, field_element(name))
            _collect(item, _member(shape, name) or _NO_KEYS, below, found)
            if item is None or item == {} or name not in shape.properties:
                found.insert(below)
    elif form == "list" and isinstance(value, list):
        items = [(_element(shape, item), item) for item in value]
        elements = [element for element, _ in items]
        for element, item in items:
            found.insert((*path, element))
            if elements.count(element) == 1:
                _collect(item, _items(shape), (*path, element), found)


# Compare


@dataclass(slots=True)
class Comparison:
    """What differs between an old and a new value; no path is in two of the sets."""

    added: FieldSet = field(default_factory=FieldSet)
    modified: FieldSet = field(default_factory=FieldSet)
    removed: FieldSet = field(default_factory=FieldSet)

    def filtered(self, keep: Callable[[FieldSet], FieldSet]) -> Comparison:
        return Comparison(keep(self.added), keep(self.modified), keep(self.removed))


def compare(old: Any, new: Any, shape: Shape) -> Comparison:
    result = Comparison()
    _compare(old, new, shape, (), result)
    return result


def _compare(old: Any, new: Any, shape: Shape, path: Path, result: Comparison) -> None:
    if old is new or _same_text(old, new):
        return
    forms = dict.fromkeys(_form(shape, side) for side in (old, new) if side is not ABSENT)
    leaf = False
    for form in forms:
        leaf = _compare_as(form, old, new, shape, path, result)
    if not leaf:
        if old is ABSENT:
            result.added.insert(path)
        elif new is ABSENT:
            result.removed.insert(path)


def _same_text(old: Any, new: Any) -> bool:
    """Whether both are the same to the letter. Most of an object is, in most writes, and this costs next to
    nothing where a walk through both would cost much; where it cannot tell it says no."""
    if type(old) is not type(new) or old != new:
        return False
    if not isinstance(old, dict | list):
        return True
    try:
        return orjson.dumps(old) == orjson.dumps(new)  # 1, 1.0 and true are equal to Python
    except TypeError:
        return False


def _compare_as(form: _Form, old: Any, new: Any, shape: Shape, path: Path, result: Comparison) -> bool:
    """Compare as a map, list or scalar; true if the place is a leaf."""
    if _is_leaf(shape, form) or (not _content(old, form) and not _content(new, form)):
        if old is ABSENT:
            result.added.insert(path)
        elif new is ABSENT:
            result.removed.insert(path)
        elif not equal(old, new):
            result.modified.insert(path)
        return True
    before, after = _content(old, form), _content(new, form)
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys([*before, *after]):
            below = (*path, field_element(name))
            member = _member(shape, name) or _NO_KEYS
            _compare(before.get(name, ABSENT), after.get(name, ABSENT), member, below, result)
    else:
        _compare_items(_by_element(shape, before), _by_element(shape, after), shape, path, result)
    return False


def _content(value: Any, form: _Form) -> Any:
    kind: type[Any] = dict if form == "map" else list
    return value if isinstance(value, kind) else kind()


def _by_element(shape: Shape, items: list[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for item in items:
        found.setdefault(_element(shape, item), []).append(item)
    return found


def _compare_items(
    before: dict[str, list[Any]],
    after: dict[str, list[Any]],
    shape: Shape,
    path: Path,
    result: Comparison,
) -> None:
    """An item that comes twice is one leaf; when it stops or starts to, its only form is removed or added."""
    for element in dict.fromkeys([*before, *after]):
        old, new = before.get(element, []), after.get(element, [])
        below = (*path, element)
        if len(old) <= 1 and len(new) <= 1:
            _compare(_only(old), _only(new), _items(shape), below, result)
        elif len(old) >= 2 and len(new) >= 2:
            if not equal(old, new):
                result.modified.insert(below)
        elif len(old) >= 2:
            if new:
                _compare(ABSENT, new[0], _items(shape), below, result)
            result.removed.insert(below)
        else:
            if old:
                _compare(old[0], ABSENT, _items(shape), below, result)
            result.added.insert(below)


def _only(items: list[Any]) -> Any:
    return items[0] if items else ABSENT


def equal(left: Any, right: Any) -> bool:
    """Equality of values: 1 equals 1.0 but not true."""
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and left.keys() == right.keys()
            and all(equal(item, right[name]) for name, item in left.items())
        )
    if isinstance(left, list):
        return (
            isinstance(right, list)
            and len(left) == len(right)
            and all(equal(a, b) for a, b in zip(left, right, strict=True))
        )
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


# Merge


def merge(old: Any, config: Any, shape: Shape) -> Any:
    """The old value with everything that `config` says; nothing is removed. ABSENT if nothing is left.

    Lists whose items `config` mentions get its order, others keep theirs.
    """
    form = _form(shape, old if config is ABSENT else config)
    before, after = _content(old, form), _content(config, form)
    if _is_leaf(shape, form) or (not before and not after):
        return old if config is ABSENT else config
    if form == "map":
        merged = {
            name: merge(before.get(name, ABSENT), after.get(name, ABSENT), _member(shape, name) or _NO_KEYS)
            for name in dict.fromkeys([*before, *after])
        }
        return {name: value for name, value in merged.items() if value is not ABSENT} or ABSENT
    return _merge_lists(before, after, shape) or ABSENT


def _merge_lists(old: list[Any], config: list[Any], shape: Shape) -> list[Any]:
    left = [(_element(shape, item), item) for item in old]
    right = [(_element(shape, item), item) for item in config]
    before: dict[str, Any] = {}
    for element, item in left:
        before[element] = None if element in before else item  # items that come twice do not merge
    after = dict(right)
    shared = [element for element in after if element in before]
    taken: set[str] = set()
    merged: list[Any] = []

    def take(element: str, item: Any, change: Any) -> None:
        value = merge(item, change, _items(shape))
        if value is not ABSENT:
            merged.append(value)

    i = j = 0
    while i < len(left) or j < len(right):
        if i < len(left) and j < len(right):
            element = left[i][0]
            if element == right[j][0]:
                taken.add(element)
                take(element, before[element], after[element])
                i, j, shared = i + 1, j + 1, shared[1:]
                continue
            if element in after and shared and shared[0] != element:
                i += 1  # a shared item, but not the one whose turn it is
                continue
        if i < len(left):
            element = left[i][0]
            if element not in after:
                take(element, left[i][1], ABSENT)
                i += 1
                continue
            if element in taken:
                i += 1
        if j < len(right):
            element = right[j][0]
            taken.add(element)
            take(element, before.get(element, ABSENT), after[element])
            j += 1
            if shared and shared[0] == element:
                shared = shared[1:]
    return merged


# Remove


def remove(value: Any, unwanted: FieldSet, shape: Shape) -> Any:
    """The value without these fields and items; None where nothing is left of an object or list."""
    form = _form(shape, value)
    if form == "scalar":
        return value
    if form == "list":
        if not isinstance(value, list) or _is_leaf(shape, form):
            return None
        kept = [
            _remove_below(item, element, unwanted, _items(shape))
            for item in value
            if (element := _element(shape, item)) not in unwanted.members
        ]
        return kept or None
    if not isinstance(value, dict) or shape.map_type == "atomic":
        return None
    left = {
        name: _remove_below(item, field_element(name), unwanted, _member(shape, name) or _NO_KEYS)
        for name, item in value.items()
        if field_element(name) not in unwanted.members
    }
    return left or None


def _remove_below(value: Any, element: str, unwanted: FieldSet, shape: Shape) -> Any:
    below = unwanted.below(element)
    return remove(value, below, shape) if below else value


# Sets and shapes


def with_named_fields(fields: FieldSet, shape: Shape) -> FieldSet:
    """The set together with every declared field on the way to one of its paths."""
    declared = {
        element
        for element in fields.children
        if element.startswith("f:") and shape.kind != "array" and element[2:] in shape.properties
    }
    children = {}
    for element, child in fields.children.items():
        if element.startswith("f:") and shape.kind != "array":
            below = _member(shape, element[2:]) or _NO_KEYS
        else:
            below = _items(shape) if element.startswith("k:") else _NO_KEYS
        children[element] = with_named_fields(child, below)
    return FieldSet(fields.members | declared, children)


def reconciled(fields: FieldSet, shape: Shape) -> FieldSet:
    """The set as it is after what it looks into became a leaf: the leaf instead of all that was in it."""
    leaves = FieldSet()
    _leaves_with_children(fields, shape, (), leaves)
    return fields.without_all_of(leaves) | leaves if leaves else fields


def _leaves_with_children(fields: FieldSet, shape: Shape, path: Path, leaves: FieldSet) -> None:
    for element in fields.members | fields.children.keys():
        child = fields.children.get(element)
        if element.startswith("f:"):
            if shape.kind == "array":
                continue
            below = _member(shape, element[2:])
        else:
            below = shape.items if shape.kind == "array" else None
        if below is None or below.kind == "any" or (below.kind == "object" and not below.properties):
            continue
        is_atomic = element in fields.members and child is None
        here = (*path, element)
        if below.kind == "array" and below.list_type == "atomic":
            if not is_atomic:
                leaves.insert(here)
        elif below.kind in ("object", "map") and below.map_type == "atomic":
            if not is_atomic and child:
                leaves.insert(here)
        elif child is not None:
            _leaves_with_children(child, below, here, leaves)
