"""JSON values as the API server sees them: copying, equality that keeps 1, 1.0 and true apart, Go's printing.

Objects travel through this package as plain dicts and lists. Nothing here changes its arguments.
"""

from __future__ import annotations

import json
from typing import Any


def copied(value: Any) -> Any:
    """A deep copy of a JSON value (several times faster than copy.deepcopy)."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [copied(item) for item in value]
    return value


def in_order(value: Any) -> Any:
    """A copy with the members of all objects sorted by name."""
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [in_order(item) for item in value]
    return value


def same(left: Any, right: Any) -> bool:
    """Equality of JSON values: unlike Python's, 1 is neither true nor 1.0."""
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and len(left) == len(right)
            and all(key in right and same(item, right[key]) for key, item in left.items())
        )
    if isinstance(left, list):
        return (
            isinstance(right, list)
            and len(left) == len(right)
            and all(same(a, b) for a, b in zip(left, right, strict=True))
        )
    return type(left) is type(right) and bool(left == right)


def scalar_key(value: Any) -> tuple[type, Any]:
    """A hashable stand-in for a value, equal exactly where `same` is true. It should be a scalar; what a request has
    in a scalar's place is refused by its type later on (where Go panics)."""
    return (type(value), json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else value)


def printed(value: Any) -> str:
    """A JSON value as Go's %v prints it: `map[a:1 b:[x y]]`, keys sorted, strings bare, null as `<nil>`."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{printed(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(printed(item) for item in value) + "]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return _printed_float(value)
    return str(value)


def _printed_float(value: float) -> str:
    """%v of a float64: the shortest form, an exponent below 1e-4 and from 1e21 on."""
    if value == int(value) and abs(value) < 1e21:
        return str(int(value))
    text = repr(value)
    if "e" not in text:
        return text
    mantissa, exponent = text.split("e")
    sign, digits = exponent[0] if exponent[0] in "+-" else "+", exponent.lstrip("+-")
    return f"{mantissa.removesuffix('.0')}e{sign}{digits.zfill(2)}"


def go_type(value: Any) -> str:
    """The Go type that encoding/json gives a value decoded into `interface{}`."""
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64"
    if isinstance(value, float):
        return "float64"
    if isinstance(value, str):
        return "string"
    return "%!s(<nil>)"
