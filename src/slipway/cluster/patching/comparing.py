"""What differs between two values of one shape, as sets of fields."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from slipway.cluster.patching.fields import FieldSet, Path, field_element
from slipway.cluster.patching.places import (
    ABSENT,
    UNKNOWN,
    Form,
    content_of,
    element_of,
    form_of,
    is_leaf,
    items_of,
    member_of,
)
from slipway.cluster.schema.shape import Shape


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
    forms = dict.fromkeys(form_of(shape, side) for side in (old, new) if side is not ABSENT)
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


def _compare_as(form: Form, old: Any, new: Any, shape: Shape, path: Path, result: Comparison) -> bool:
    """Compare as a map, list or scalar; true if the place is a leaf."""
    if is_leaf(shape, form) or (not content_of(old, form) and not content_of(new, form)):
        if old is ABSENT:
            result.added.insert(path)
        elif new is ABSENT:
            result.removed.insert(path)
        elif not equal(old, new):
            result.modified.insert(path)
        return True
    before, after = content_of(old, form), content_of(new, form)
    if isinstance(before, dict) and isinstance(after, dict):
        for name in dict.fromkeys([*before, *after]):
            below = (*path, field_element(name))
            member = member_of(shape, name) or UNKNOWN
            _compare(before.get(name, ABSENT), after.get(name, ABSENT), member, below, result)
    else:
        _compare_items(_by_element(shape, before), _by_element(shape, after), shape, path, result)
    return False


def _by_element(shape: Shape, items: list[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for item in items:
        found.setdefault(element_of(shape, item), []).append(item)
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
            _compare(_only(old), _only(new), items_of(shape), below, result)
        elif len(old) >= 2 and len(new) >= 2:
            if not equal(old, new):
                result.modified.insert(below)
        elif len(old) >= 2:
            if new:
                _compare(ABSENT, new[0], items_of(shape), below, result)
            result.removed.insert(below)
        else:
            if old:
                _compare(old[0], ABSENT, items_of(shape), below, result)
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
