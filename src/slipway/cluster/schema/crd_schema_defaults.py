"""Defaults in a schema: each must be valid by the schema it stands in, and hold nothing that would be pruned."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from slipway.cluster.schema.shape import Shape
from slipway.cluster.schema.structural import coerce, prune, shape_of_schema
from slipway.cluster.schema.structural_embedded import MalformedMetadata, embedded_errors
from slipway.cluster.schema.structural_rules import rule_errors
from slipway.cluster.schema.structural_values import value_errors
from slipway.cluster.status import FieldError


def default_errors(schema: dict[str, Any], path: str, *, root: bool = False) -> Iterator[FieldError]:
    """What is wrong with the defaults of the schema at `path`; below additionalProperties none are looked at."""
    default = schema.get("default")
    if default is not None:
        whole = {**schema, "x-kubernetes-embedded-resource": True} if root else schema
        yield from _default_errors(whole, default, f"{path}.default")
    if isinstance(schema.get("items"), dict):
        yield from default_errors(schema["items"], f"{path}.items")
    for name, child in (schema.get("properties") or {}).items():
        yield from default_errors(child, f"{path}.properties[{name}]")


def _default_errors(schema: dict[str, Any], default: Any, path: str) -> Iterator[FieldError]:
    shape = shape_of_schema(schema)
    pruned = copy.deepcopy(default)
    prune(pruned, shape, root=shape.embedded)
    if pruned != default:
        yield FieldError("FieldValueInvalid", path, default, "must not have unknown fields")
    if isinstance(default, dict):
        try:
            coerce({"spec": copy.deepcopy(default)}, shape_of_schema({"properties": {"spec": schema}}))
        except MalformedMetadata as malformed:
            if malformed.error is not None:
                yield replace(malformed.error, field=path + malformed.error.field.removeprefix("spec"))
            return
    errors = list(embedded_errors(default, shape, path)) or value_errors(default, _untyped(shape), path)
    yield from errors
    if not errors:
        # Both as a value that was there before and as one that is new.
        found = rule_errors(default, shape, default, root=shape.embedded)
        found = found or rule_errors(default, shape, None, root=shape.embedded)
        yield from (replace(error, field=_below(path, error.field)) for error in found)


def _untyped(shape: Shape) -> Shape:
    """As upstream, a default of an int-or-string field may have any type: its check does not know the keyword."""
    rules = {key: rule for key, rule in shape.rules.items() if key != "type" or shape.kind != "int-or-string"}
    return replace(
        shape,
        rules=rules,
        properties={name: _untyped(child) for name, child in shape.properties.items()},
        items=None if shape.items is None else _untyped(shape.items),
        additional=None if shape.additional is None else _untyped(shape.additional),
    )


def _below(path: str, field: str) -> str:
    if field == "<nil>":
        return path
    return path + field if field.startswith("[") else f"{path}.{field}"
