"""The fields that a CRD's scale sub-resource points to must hold what a Scale can show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slipway.cluster.schema.crd import ScalePaths
from slipway.cluster.status import FieldError, go_value

_MOST = 2**31 - 1


def scale_errors(
    obj: dict[str, Any], paths: ScalePaths, *, status_only: bool = False
) -> Iterator[FieldError]:
    """What is wrong with replicas and selector of a custom resource; `status_only` on writes to its status."""
    if not status_only:
        yield from _replicas_errors(obj, paths.spec_replicas)
    yield from _replicas_errors(obj, paths.status_replicas)
    if paths.label_selector:
        found, why = _find(obj, paths.label_selector, str, "string")
        if why:
            yield FieldError("FieldValueInvalid", paths.label_selector, found or "", why)


def _replicas_errors(obj: dict[str, Any], path: str) -> Iterator[FieldError]:
    found, why = _find(obj, path, int, "int64")
    replicas = found or 0
    if not why and replicas < 0:
        why = "should be a non-negative integer"
    elif not why and replicas > _MOST:
        why = f"should be less than or equal to {_MOST}"
    if why:
        yield FieldError("FieldValueInvalid", path, replicas, why)


def _find(obj: dict[str, Any], path: str, wanted: type, name: str) -> tuple[Any, str]:
    """The value, None if there is none; and what is wrong with it."""
    fields = path.removeprefix(".").split(".")
    value: Any = obj
    for number, key in enumerate(fields):
        if not isinstance(value, dict):
            return None, _accessor_error(fields[:number], value, "map[string]interface{}")
        if key not in value:
            return None, ""
        value = value[key]
    if isinstance(value, bool) or not isinstance(value, wanted):
        return None, _accessor_error(fields, value, name)
    return value, ""


def _accessor_error(fields: list[str], value: Any, wanted: str) -> str:
    shown = value if isinstance(value, str) else "<nil>" if value is None else go_value(value)
    return f".{'.'.join(fields)} accessor error: {shown} is of the type {_go_type(value)}, expected {wanted}"


def _go_type(value: Any) -> str:
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    return "int64" if isinstance(value, int) else "float64" if isinstance(value, float) else "string"
