"""Validation of an `openAPIV3Schema`: it must be structural, complete, and use the Kubernetes extensions rightly.

As upstream: the rules of structural schemas (`crd_structure`), defaults (`crd_schema_defaults`), whatever those
found the rules of each keyword, here, and if all is well the CEL expressions (`crd_rules`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from slipway.cluster.schema.crd_printing import go_schema
from slipway.cluster.schema.crd_rules import expression_errors, form_errors
from slipway.cluster.schema.crd_schema_defaults import default_errors
from slipway.cluster.schema.crd_structure import structure_errors
from slipway.cluster.status import FieldError

Schema = dict[str, Any]

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_META = frozenset({"metadata", "kind", "apiVersion"})
_AT_ROOT = [
    "Description",
    "Type",
    "Format",
    "Title",
    "Maximum",
    "ExclusiveMaximum",
    "Minimum",
    "ExclusiveMinimum",
    "MaxLength",
    "MinLength",
    "Pattern",
    "MaxItems",
    "MinItems",
    "UniqueItems",
    "MultipleOf",
    "Required",
    "Items",
    "Properties",
    "ExternalDocs",
    "Example",
    "XPreserveUnknownFields",
    "XValidations",
]
_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")


@dataclass(frozen=True, slots=True)
class SchemaContext:
    """What is known of the schema as a whole."""

    has_status: bool = False  # the status sub-resource is on
    unchanged: bool = False  # the stored CRD has the same schema: cost limits of rules are not applied again


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in the schema we are."""

    root: bool = False
    inside_metadata: bool = False
    no_defaults: str | None = None  # why defaults are forbidden here
    nested: bool = False  # inside allOf, anyOf, oneOf, not


def schema_errors(schema: Schema, path: str, context: SchemaContext) -> list[FieldError]:
    """What is wrong with the schema that stands at `path`."""
    errors = list(_root_errors(schema, path, context))
    if not _is_unreadable(schema):
        errors += structure_errors(schema, path) or default_errors(schema, path, root=True)
    ready = len(errors) == 0
    keywords = list(_keyword_errors(schema, path, _Place(root=True)))
    if ready and not keywords:
        errors += expression_errors(schema, path, context.unchanged)
    return errors + keywords


def _root_errors(schema: Schema, path: str, context: SchemaContext) -> Iterator[FieldError]:
    if context.has_status:
        for key, value in schema.items():
            if value is None or (not value and key != "default"):
                continue
            name = _go_name(key)
            if name == "Type":
                if value != "object":
                    why = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
                    yield FieldError("FieldValueInvalid", f"{path}.type", value, why)
                    break
            elif name not in _AT_ROOT:
                why = f"only [{' '.join(_AT_ROOT)}] fields are allowed at the root of the schema if the status subresource is enabled"
                yield FieldError("FieldValueInvalid", path, None, why, go_schema(schema))
                break
    if schema.get("nullable"):
        yield _forbidden(f"{path}.nullable", "nullable cannot be true at the root")


def _is_unreadable(schema: Any) -> bool:
    """Whether upstream cannot even read it as a structural schema; that is reported with the keywords."""
    if isinstance(schema, dict):
        if schema.get("x-kubernetes-preserve-unknown-fields") is False:
            return True
        nested = [
            schema.get("items"),
            schema.get("additionalProperties"),
            *(schema.get("properties") or {}).values(),
        ]
        return any(map(_is_unreadable, nested))
    return False


def _go_name(key: str) -> str:
    if key.startswith("x-kubernetes-"):
        return "X" + "".join(word.capitalize() for word in key.removeprefix("x-kubernetes-").split("-"))
    return key[0].upper() + key[1:]


def _forbidden(field: str, why: str) -> FieldError:
    return FieldError("FieldValueForbidden", field, "", why)


def _invalid(field: str, value: Any, why: str) -> FieldError:
    return FieldError("FieldValueInvalid", field, value, why)


def _required(field: str, why: str) -> FieldError:
    return FieldError("FieldValueRequired", field, "", why)


def _unsupported(field: str, value: Any, allowed: tuple[str, ...]) -> FieldError:
    shown = ", ".join(f'"{one}"' for one in allowed)
    return FieldError("FieldValueNotSupported", field, value, f"supported values: {shown}")


def _keyword_errors(schema: Any, path: str, place: _Place) -> Iterator[FieldError]:
    if not isinstance(schema, dict):
        return
    yield from _standard_errors(schema, path, place)
    if schema.get("uniqueItems"):
        why = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        yield _forbidden(f"{path}.uniqueItems", why)
    yield from _nested_errors(schema, path, place)
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        field = f"{path}.x-kubernetes-preserve-unknown-fields"
        yield _invalid(field, False, "must be true or undefined")
    yield from _map_type_errors(schema, path)
    yield from _list_type_errors(schema, path)
    yield from form_errors(schema, path)


def _standard_errors(schema: Schema, path: str, place: _Place) -> Iterator[FieldError]:
    kind = schema.get("type") or ""
    if kind and kind not in _TYPES:
        yield _unsupported(f"{path}.type", kind, _TYPES)
    if schema.get("default") is not None and place.no_defaults is not None:
        yield _forbidden(f"{path}.default", f"must not be set {place.no_defaults}")
    for key in _UNSUPPORTED:
        if schema.get(key):
            yield _forbidden(f"{path}.{key}", f"{key} is not supported")
    if kind == "null":
        why = "type cannot be set to null, use nullable as an alternative"
        yield _forbidden(f"{path}.type", why)
    if isinstance(schema.get("items"), list):
        yield _forbidden(f"{path}.items", "items must be a schema object and not an array")
    if place.inside_metadata and schema.get("x-kubernetes-embedded-resource"):
        field = f"{path}.x-kubernetes-embedded-resource"
        yield _forbidden(field, "must not be used inside of resource meta")


def _nested_errors(schema: Schema, path: str, place: _Place) -> Iterator[FieldError]:
    below = replace(place, root=False)
    properties = schema.get("properties") or {}
    additional = schema.get("additionalProperties")
    if additional is not None:
        if properties and additional is not True:
            why = "additionalProperties and properties are mutual exclusive"
            yield _forbidden(f"{path}.additionalProperties", why)
        inner = below
        if place.inside_metadata:
            why = "inside additionalProperties applying to object metadata"
            inner = replace(below, no_defaults=why)
        yield from _keyword_errors(additional, f"{path}.additionalProperties", inner)
    for name, child in properties.items():
        inner = below
        if name in _META and (place.root or schema.get("x-kubernetes-embedded-resource")):
            inner = replace(below, inside_metadata=True)
            if place.root:
                inner = replace(inner, no_defaults=f"in top-level {name}")
        yield from _keyword_errors(child, f"{path}.properties[{name}]", inner)
    branch = replace(below, nested=True)
    yield from _keyword_errors(schema.get("not"), f"{path}.not", branch)
    for key in ("allOf", "oneOf", "anyOf"):
        for index, child in enumerate(schema.get(key) or ()):
            yield from _keyword_errors(child, f"{path}.{key}[{index}]", branch)
    yield from _keyword_errors(schema.get("items"), f"{path}.items", below)


def _map_type_errors(schema: Schema, path: str) -> Iterator[FieldError]:
    map_type = schema.get("x-kubernetes-map-type")
    if map_type is None:
        return
    kind = schema.get("type") or ""
    why = "must be object if x-kubernetes-map-type is specified"
    if not kind:
        yield _required(f"{path}.type", why)
    elif kind != "object":
        yield _invalid(f"{path}.type", kind, why)
    if map_type not in ("atomic", "granular"):
        yield _unsupported(f"{path}.x-kubernetes-map-type", map_type, ("atomic", "granular"))


def _list_type_errors(schema: Schema, path: str) -> Iterator[FieldError]:
    list_type = schema.get("x-kubernetes-list-type")
    keys = schema.get("x-kubernetes-list-map-keys") or []
    field = f"{path}.x-kubernetes-list-type"
    kind = schema.get("type") or ""
    items = schema.get("items") if isinstance(schema.get("items"), dict) else None
    if list_type is not None and kind != "array":
        why = "must be array if x-kubernetes-list-type is specified"
        yield _invalid(f"{path}.type", kind, why) if kind else _required(f"{path}.type", why)
    elif list_type == "set" and items is not None:
        yield from _set_item_errors(items, f"{path}.items")
    if list_type not in (None, "atomic", "set", "map"):
        yield _unsupported(field, list_type, ("atomic", "set", "map"))
    if keys and list_type != "map":
        why = "must be map if x-kubernetes-list-map-keys is non-empty"
        yield _required(field, why) if list_type is None else _invalid(field, list_type, why)
    if list_type == "map":
        yield from _list_map_errors(schema, keys, items, path)
    if list_type in ("set", "map") and items is not None:
        if items.get("nullable"):
            why = f"cannot be nullable when x-kubernetes-list-type is {list_type}"
            yield _forbidden(f"{path}.items.nullable", why)
        if list_type == "map":
            yield from _key_errors(keys, items, path)


def _set_item_errors(items: Schema, path: str) -> Iterator[FieldError]:
    why = "must be atomic as item of a list with x-kubernetes-list-type=set"
    inner = items.get("x-kubernetes-list-type")
    if items.get("type") == "array" and inner not in (None, "atomic"):
        yield _invalid(f"{path}.x-kubernetes-list-type", inner, why)
    if items.get("type") == "object" and items.get("x-kubernetes-map-type") != "atomic":
        yield _invalid(f"{path}.x-kubernetes-map-type", inner, why)


def _list_map_errors(
    schema: Schema, keys: list[str], items: Schema | None, path: str
) -> Iterator[FieldError]:
    if not keys:
        why = "must not be empty if x-kubernetes-list-type is map"
        yield _required(f"{path}.x-kubernetes-list-map-keys", why)
    if schema.get("items") is None:
        yield _required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map")
    if items is None:
        return
    if items.get("type") != "object":
        why = "must be object if parent array's x-kubernetes-list-type is map"
        yield _invalid(f"{path}.items.type", items.get("type") or "", why)
        return
    field = f"{path}.x-kubernetes-list-map-keys"
    properties = items.get("properties") or {}
    for index, key in enumerate(keys):
        if key not in properties:
            yield _invalid(field, keys, "entries must all be names of item properties")
        elif properties[key].get("type") in ("array", "object"):
            why = "must be a scalar type if parent array's x-kubernetes-list-type is map"
            yield _invalid(f"{path}.items.properties[{key}].type", "object", why)
        if key in keys[:index]:
            yield _invalid(field, keys, "must not contain duplicate entries")


def _key_errors(keys: list[str], items: Schema, path: str) -> Iterator[FieldError]:
    for key in keys:
        child = (items.get("properties") or {}).get(key)
        if child is None:
            continue
        field = f"{path}.items.properties[{key}]"
        intro = "this property is in x-kubernetes-list-map-keys, so it"
        if key not in (items.get("required") or ()) and child.get("default") is None:
            yield _required(f"{field}.default", f"{intro} must have a default or be a required property")
        if child.get("nullable"):
            yield _forbidden(f"{field}.nullable", f"{intro} cannot be nullable")
