"""Whether a patched document still fits the kind's Go structs, with the words of the converter that says so.

After a strategic merge patch kube-apiserver restores typed objects from maps; its complaints differ from those
of JSON decoding. Facts: k8s.io/apimachinery pkg/runtime/converter.go, tried on a 1.37 server.
"""

from __future__ import annotations

from typing import Any

from slipway.cluster.schema.shape import Shape

# These read their JSON form themselves; decoding complains about them.
_SELF_READING = {"Quantity", "IntOrString", "Time", "MicroTime", "RawExtension", "FieldsV1", "JSON"}

_NUMBERS = ("int32", "int64", "float64")


def restoring_error(value: Any, shape: Shape) -> str:
    """What the converter says about the first value of a wrong type; "" when all fit."""
    if value is None or shape.type_name in _SELF_READING:
        return ""
    match shape.kind:
        case "object":
            return _struct_error(value, shape)
        case "map":
            if not isinstance(value, dict):
                return f"cannot restore map from {_kind(value)}"
            return _first(value.values(), shape.additional)
        case "array":
            if not isinstance(value, list):
                return f"cannot restore slice from {_kind(value)}"
            return _first(value, shape.items)
        case "string" | "integer" | "number" | "boolean":
            return _scalar_error(value, shape)
    return ""


def _struct_error(value: Any, shape: Shape) -> str:
    if not isinstance(value, dict):
        return f"cannot restore struct from: {_kind(value)}"
    for name, part in shape.properties.items():
        error = restoring_error(value.get(name), part)
        if error:
            return error
    return ""


def _first(values: Any, shape: Shape | None) -> str:
    if shape is None:
        return ""
    return next(filter(None, (restoring_error(value, shape) for value in values)), "")


def _scalar_error(value: Any, shape: Shape) -> str:
    wanted, given = _go_type(shape), _kind(value)
    if given in ("map", "slice") or (given == "string" and wanted != "string"):
        return "" if shape.format == "byte" else f"unrecognized type: {wanted}"
    if given == wanted or (given == "int64" and wanted in _NUMBERS):
        return ""
    if given == "float64" and wanted in _NUMBERS and value.is_integer():
        return ""
    return f"cannot convert {given} to {wanted}"


def _go_type(shape: Shape) -> str:
    if shape.kind == "integer":
        return shape.format or "int64"
    return {"string": "string", "boolean": "bool", "number": "float64"}[shape.kind]


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64"
    if isinstance(value, float):
        return "float64"
    return "string" if isinstance(value, str) else "slice" if isinstance(value, list) else "map"


def go_print(value: Any) -> str:
    """A value as Go's `%v` prints it: `map[spec:map[replicas:x]]`."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{go_print(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(go_print, value)) + "]"
    if value is None:
        return "<nil>"
    return str(value).lower() if isinstance(value, bool) else str(value)
