"""Whether a value fits its shape, and in which words of structured-merge-diff it is told that it does not."""

from __future__ import annotations

import json
from typing import Any

from slipway.cluster.patching.fields import element_text
from slipway.cluster.patching.json_values import printed
from slipway.cluster.patching.places import element_of, form_of, is_leaf, items_of, member_of
from slipway.cluster.schema.shape import Shape


class TypeMismatch(ValueError):
    """A value that does not fit its shape; the text names each place."""

    def __init__(self, errors: list[str]) -> None:
        self.errors = errors
        super().__init__(errors[0] if len(errors) == 1 else "\n  ".join(["errors:", *errors]))


def check(value: Any, shape: Shape, *, duplicates: bool = False) -> None:
    """TypeMismatch if the value does not fit; `duplicates` allows an item to come twice."""
    errors = _errors(value, shape, duplicates)
    if errors:
        raise TypeMismatch([f"{path}: {text}" if path else text for path, text in errors])


def _errors(value: Any, shape: Shape, duplicates: bool) -> list[tuple[str, str]]:
    form = form_of(shape, value)
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
        member = member_of(shape, name)
        if member is None:
            return [*errors, (f".{name}", "field not declared in schema")]
        errors += [(f".{name}{path}", text) for path, text in _errors(item, member, duplicates)]
    return errors


def _list_errors(value: list[Any], shape: Shape, duplicates: bool) -> list[tuple[str, str]]:
    errors: list[tuple[str, str]] = []
    seen: set[str] = set()
    for index, item in enumerate(value):
        place = f"[{index}]"
        if not is_leaf(shape, "list"):
            try:
                element = element_of(shape, item)
            except ValueError as error:
                return [*errors, ("", f"element {index}: {error}")]
            place = element_text(element)
            if element in seen and not duplicates:
                errors.append(("", f"duplicate entries for key {place}"))
            seen.add(element)
        errors += [(place + path, text) for path, text in _errors(item, items_of(shape), duplicates)]
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
