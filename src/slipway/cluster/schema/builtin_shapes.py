"""Makes a `Shape` from a published definition: one shape a definition, shared wherever it is referred to.

A reference that says something of its own (a merge strategy, a default) is a shallow copy of the shape it
refers to, so `properties` stays one dict even while a definition that contains itself is still being filled.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from slipway.cluster.schema.shape import Shape

JsonObject = dict[str, Any]

# Types whose JSON form is not what their definition's type says, or that say no type at all.
_SPECIAL: dict[str, JsonObject] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"kind": "int-or-string", "format": "quantity"},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"kind": "int-or-string"},
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": {"kind": "string", "format": "date-time"},
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": {"kind": "string", "format": "date-time"},
    "io.k8s.apimachinery.pkg.runtime.RawExtension": {"preserve_unknown": True, "map_type": "atomic"},
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": {"preserve_unknown": True, "map_type": "atomic"},
}

# By identity of the definitions' dict: shapes of two minors never mix.
_made: dict[tuple[int, str], Shape] = {}


def shape_of_definition(definitions: JsonObject, name: str) -> Shape:
    """The shape of one definition; the same object for the same arguments, so it must not be changed."""
    key = (id(definitions), name)
    if key in _made:
        return _made[key]
    type_name = name.rpartition(".")[2]
    if name in _SPECIAL:
        _made[key] = Shape(type_name=type_name, **_SPECIAL[name])
        return _made[key]
    definition = definitions[name]
    shape = _made[key] = Shape(type_name=type_name)
    _fill(shape, definitions, definition)
    return shape


def _fill(shape: Shape, definitions: JsonObject, schema: JsonObject) -> None:
    shape.format = schema.get("format", "")
    shape.required = tuple(schema.get("required", ()))
    shape.map_type = schema.get("x-kubernetes-map-type", "granular")
    if "properties" in schema:
        shape.kind = "object"
        for field, part in schema["properties"].items():
            shape.properties[field] = _part(definitions, part)
    elif "additionalProperties" in schema:
        shape.kind = "map"
        shape.additional = _part(definitions, schema["additionalProperties"])
    elif schema.get("type") == "array":
        shape.kind = "array"
        shape.items = _part(definitions, schema["items"])
        shape.list_type = schema.get("x-kubernetes-list-type", "atomic")
        shape.list_map_keys = tuple(schema.get("x-kubernetes-list-map-keys", ()))
    elif schema.get("type") in ("string", "integer", "number", "boolean"):
        shape.kind = schema["type"]
    else:  # JSON of any form (apiextensions' JSON, JSONSchemaPropsOrArray), or an object without fields
        shape.kind = "any"
        shape.preserve_unknown = True


def _part(definitions: JsonObject, schema: JsonObject) -> Shape:
    """One property, item or map value."""
    own = _own_facts(schema)
    if "ref" in schema:
        target = shape_of_definition(definitions, schema["ref"])
        return replace(target, **own) if own else target
    shape = Shape(**own)
    _fill(shape, definitions, schema)
    return shape


def _own_facts(schema: JsonObject) -> JsonObject:
    facts: JsonObject = {}
    if "default" in schema:
        facts["default" if _is_chosen(schema["default"]) else "zero"] = schema["default"]
    if "x-kubernetes-patch-strategy" in schema:
        facts["patch_strategy"] = tuple(schema["x-kubernetes-patch-strategy"].split(","))
    if "x-kubernetes-patch-merge-key" in schema:
        facts["patch_merge_key"] = schema["x-kubernetes-patch-merge-key"]
    if "ref" in schema and "x-kubernetes-map-type" in schema:
        facts["map_type"] = schema["x-kubernetes-map-type"]
    return facts


def _is_chosen(default: object) -> bool:
    """Published defaults are of two sorts: chosen ones ("TCP") and Go's zero values ({}, "", 0, false)."""
    return bool(default)
