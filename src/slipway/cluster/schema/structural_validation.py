"""The whole validation of a custom resource, in upstream's order: values, embedded objects, lists, CEL rules."""

from __future__ import annotations

from typing import Any

from slipway.cluster.schema.shape import Shape
from slipway.cluster.schema.structural_embedded import embedded_errors
from slipway.cluster.schema.structural_lists import duplicates
from slipway.cluster.schema.structural_values import NO_OLD, value_errors
from slipway.cluster.status import FieldError


def validate(obj: dict[str, Any], shape: Shape, old: dict[str, Any] | None = None) -> list[FieldError]:
    """What is wrong with a custom resource on create, or on update of `old`. Metadata of the object itself is
    checked where all kinds' metadata is; here only what its schema says of it."""
    errors = value_errors(obj, shape, "", NO_OLD if old is None else old)
    errors += embedded_errors(obj, shape)
    if old is None or not any(True for _ in duplicates(old, shape)):
        errors += duplicates(obj, shape)
    return errors + _rule_errors(obj, shape, old, errors)


def validate_status(obj: dict[str, Any], shape: Shape, old: dict[str, Any]) -> list[FieldError]:
    """The same for a write to the status sub-resource, where only the status can have changed."""
    errors: list[FieldError] = []
    status_shape = shape.properties.get("status")
    if "status" in obj and status_shape is not None:
        errors += value_errors(obj["status"], status_shape, "status", old.get("status", NO_OLD))
    if not any(True for _ in duplicates(old, shape)):
        errors += duplicates(obj, shape)
    return errors + _rule_errors(obj, shape, old, errors)


def _rule_errors(
    obj: dict[str, Any], shape: Shape, old: dict[str, Any] | None, errors: list[FieldError]
) -> list[FieldError]:
    # Imported here: a cluster starts without custom resources, and faster without CEL.
    from slipway.cluster.schema.structural_rules import rule_errors

    return rule_errors(obj, shape, old, errors)
