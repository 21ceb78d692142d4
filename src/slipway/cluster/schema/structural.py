"""The structural schema of a CRD version: turned into a `Shape` here, applied to objects by its siblings.

An object of a CRD meets them in this order: `structural_embedded.coerce` (metadata has the right types),
`structural_pruning` (unknown fields and stray nulls go), `structural_defaults` (defaults come), and
`structural_validation` (values, embedded objects, list types, CEL rules). All are pure functions of an object
and a `Shape`, and are gathered here. Behaviour follows k8s.io/apiextensions-apiserver `pkg/apiserver/schema`
at 1.37.
"""

from __future__ import annotations

from typing import Any

from slipway.cluster.schema.shape import UNSET, Kind, Shape
from slipway.cluster.schema.structural_defaults import apply_defaults
from slipway.cluster.schema.structural_embedded import coerce
from slipway.cluster.schema.structural_formats import is_checked_format
from slipway.cluster.schema.structural_pruning import drop_nulls, prune
from slipway.cluster.schema.structural_validation import validate, validate_status

__all__ = [
    "apply_defaults",
    "coerce",
    "drop_nulls",
    "prune",
    "shape_of_schema",
    "validate",
    "validate_status",
]

_LEAF_RULES = (
    "enum",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "multipleOf",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxProperties",
    "minProperties",
    "x-kubernetes-validations",
)


def shape_of_schema(schema: dict[str, Any]) -> Shape:
    """The shape of an `openAPIV3Schema`.

    `Shape.rules` gets the value validation keywords as they stand, and besides them `type` (the JSON types
    that are allowed, a tuple), `format` if the server checks it, and `allOf`/`anyOf`/`oneOf` (tuples of Shape)
    and `not` (a Shape).
    """
    additional = schema.get("additionalProperties")
    items = schema.get("items")
    return Shape(
        kind=_kind(schema),
        format=schema.get("format", ""),
        properties={name: shape_of_schema(sub) for name, sub in (schema.get("properties") or {}).items()},
        items=shape_of_schema(items) if isinstance(items, dict) else None,
        additional=_additional(additional),
        required=tuple(schema.get("required") or ()),
        default=schema["default"] if schema.get("default") is not None else UNSET,
        nullable=bool(schema.get("nullable")),
        preserve_unknown=bool(schema.get("x-kubernetes-preserve-unknown-fields")),
        embedded=bool(schema.get("x-kubernetes-embedded-resource")),
        list_type=schema.get("x-kubernetes-list-type") or "atomic",
        list_map_keys=tuple(schema.get("x-kubernetes-list-map-keys") or ()),
        map_type=schema.get("x-kubernetes-map-type") or "granular",
        rules=_rules(schema),
        description=schema.get("description", ""),
    )


def _kind(schema: dict[str, Any]) -> Kind:
    if schema.get("x-kubernetes-int-or-string"):
        return "int-or-string"
    kind: Kind | None = schema.get("type")
    if not kind:
        return "any"
    if kind == "object" and schema.get("additionalProperties") not in (None, False):
        return "map"
    return kind


def _additional(additional: Any) -> Shape | None:
    if isinstance(additional, dict):
        return shape_of_schema(additional)
    if additional is True:
        # Any value is valid, yet (as upstream) the fields of objects in it are unknown, so they are pruned.
        return Shape(kind="object")
    return None


def _rules(schema: dict[str, Any]) -> dict[str, Any]:
    rules: dict[str, Any] = {key: schema[key] for key in _LEAF_RULES if schema.get(key) is not None}
    if schema.get("x-kubernetes-int-or-string"):
        rules["type"] = ("integer", "string")
    elif schema.get("type"):
        rules["type"] = (schema["type"],)
    if is_checked_format(schema.get("format", ""), rules.get("type", ())):
        rules["format"] = schema["format"]
    if schema.get("additionalProperties") is False:
        rules["additionalProperties"] = False
    for junction in ("allOf", "anyOf", "oneOf"):
        if schema.get(junction):
            rules[junction] = tuple(shape_of_schema(sub) for sub in schema[junction])
    if schema.get("not") is not None:
        rules["not"] = shape_of_schema(schema["not"])
    return rules
