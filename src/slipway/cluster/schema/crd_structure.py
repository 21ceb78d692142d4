"""What makes a schema structural: types everywhere, nothing but value validation inside junctions.

Follows `ValidateStructural` of apiextensions-apiserver `pkg/apiserver/schema/validation.go` and `complete.go`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from slipway.cluster.schema.regexp import InvalidPattern, compile_pattern
from slipway.cluster.status import FieldError

Schema = dict[str, Any]
Level = Literal["root", "item", "field"]

_INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_NO_TYPE = {
    "root": "must not be empty at the root",
    "item": "must not be empty for specified array items",
    "field": "must not be empty for specified object fields",
}
# Keyword, and what it must be inside allOf, anyOf, oneOf and not.
_FORBIDDEN_NESTED = (
    ("additionalProperties", "undefined"),
    ("default", "undefined"),
    ("title", "empty"),
    ("description", "empty"),
    ("nullable", "false"),
    ("x-kubernetes-preserve-unknown-fields", "false"),
    ("x-kubernetes-embedded-resource", "false"),
    ("x-kubernetes-int-or-string", "false"),
    ("x-kubernetes-list-map-keys", "empty"),
    ("x-kubernetes-list-type", "undefined"),
    ("x-kubernetes-map-type", "undefined"),
    ("x-kubernetes-validations", "empty"),
)


def structure_errors(schema: Schema, path: str) -> list[FieldError]:
    """What keeps the schema at `path` from being structural, sorted by message as upstream."""
    errors = list(_invariants(schema, "root", path))
    errors += _completeness(schema, schema, path, path)
    return sorted(errors, key=str)


def _forbidden(field: str, why: str) -> FieldError:
    return FieldError("FieldValueForbidden", field, "", why)


def _invalid(field: str, value: Any, why: str) -> FieldError:
    return FieldError("FieldValueInvalid", field, value, why)


def _required(field: str, why: str) -> FieldError:
    return FieldError("FieldValueRequired", field, "", why)


def _invariants(schema: Schema, level: Level, path: str) -> Iterator[FieldError]:
    kind = schema.get("type") or ""
    items = schema.get("items")
    additional = schema.get("additionalProperties")
    if kind == "array" and items is None:
        yield _required(f"{path}.items", "must be specified")
    if isinstance(items, dict):
        yield from _invariants(items, "item", f"{path}.items")
    for name, child in (schema.get("properties") or {}).items():
        yield from _invariants(child, "field", f"{path}.properties[{name}]")
    if additional is not None and additional is not False:
        if level == "root":
            yield _forbidden(f"{path}.additionalProperties", "must not be used at the root")
        if isinstance(additional, dict):
            yield from _invariants(additional, "field", f"{path}.additionalProperties")
    yield from _extensions(schema, path)
    any_of, all_of = schema.get("anyOf"), schema.get("allOf") or []
    first_any_of = all_of[0].get("anyOf") if all_of else None
    yield from _values(schema, any_of == _INT_OR_STRING, first_any_of == _INT_OR_STRING, path)
    yield from _type(schema, kind, level, path)
    yield from _metadata(schema, level, path)
    if (
        schema.get("x-kubernetes-embedded-resource")
        and not schema.get("x-kubernetes-preserve-unknown-fields")
        and not schema.get("properties")
    ):
        why = (
            "must not be empty if x-kubernetes-embedded-resource is true without "
            "x-kubernetes-preserve-unknown-fields"
        )
        yield _required(f"{path}.properties", why)


def _extensions(schema: Schema, path: str) -> Iterator[FieldError]:
    if not schema.get("x-kubernetes-int-or-string"):
        return
    for key in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
        if schema.get(key):
            yield _invalid(f"{path}.{key}", True, "must be false if x-kubernetes-int-or-string is true")


def _type(schema: Schema, kind: str, level: Level, path: str) -> Iterator[FieldError]:
    if schema.get("x-kubernetes-embedded-resource") and kind != "object":
        why = "must be object if x-kubernetes-embedded-resource is true"
        yield _invalid(f"{path}.type", kind, why) if kind else _required(f"{path}.type", why)
    elif (
        not kind
        and not schema.get("x-kubernetes-int-or-string")
        and not schema.get("x-kubernetes-preserve-unknown-fields")
    ):
        yield _required(f"{path}.type", _NO_TYPE[level])
    if schema.get("x-kubernetes-embedded-resource") and schema.get("additionalProperties") not in (
        None,
        False,
    ):
        why = "must not be used if x-kubernetes-embedded-resource is set"
        yield _forbidden(f"{path}.additionalProperties", why)
    if level == "root" and kind and kind != "object":
        yield _invalid(f"{path}.type", kind, "must be object at the root")


def _metadata(schema: Schema, level: Level, path: str) -> Iterator[FieldError]:
    properties = schema.get("properties") or {}
    if level != "root" and not schema.get("x-kubernetes-embedded-resource"):
        return
    for key in ("kind", "apiVersion"):
        if key in properties and properties[key].get("type") != "string":
            field = f"{path}.properties[{key}].type"
            yield _invalid(field, properties[key].get("type") or "", "must be string")
    metadata = properties.get("metadata")
    if metadata is None:
        return
    field = f"{path}.properties[metadata]"
    if metadata.get("type") != "object":
        yield _invalid(f"{field}.type", metadata.get("type") or "", "must be object")
    if level == "root":
        inner = set(metadata.get("properties") or {})
        more = {key for key, value in metadata.items() if value} - {"type", "default", "properties"}
        if more or inner - {"name", "generateName"}:
            why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            yield _forbidden(field, why)


def _values(schema: Schema, skip_any_of: bool, skip_first_any_of: bool, path: str) -> Iterator[FieldError]:
    for index, branch in enumerate(() if skip_any_of else schema.get("anyOf") or ()):
        yield from _nested(branch, False, f"{path}.anyOf[{index}]")
    for index, branch in enumerate(schema.get("allOf") or ()):
        yield from _nested(branch, skip_first_any_of and index == 0, f"{path}.allOf[{index}]")
    for index, branch in enumerate(schema.get("oneOf") or ()):
        yield from _nested(branch, False, f"{path}.oneOf[{index}]")
    if schema.get("not") is not None:
        yield from _nested(schema["not"], False, f"{path}.not")
    pattern = schema.get("pattern")
    if pattern:
        try:
            compile_pattern(pattern)
        except InvalidPattern as error:
            why = f"must be a valid regular expression, but isn't: {error}"
            yield _invalid(f"{path}.pattern", pattern, why)


def _nested(schema: Schema, skip_any_of: bool, path: str) -> Iterator[FieldError]:
    yield from _values(schema, skip_any_of, False, path)
    if isinstance(schema.get("items"), dict):
        yield from _nested(schema["items"], False, f"{path}.items")
    for name, child in (schema.get("properties") or {}).items():
        yield from _nested(child, False, f"{path}.properties[{name}]")
    if schema.get("type"):
        yield _forbidden(f"{path}.type", "must be empty to be structural")
    for key, must in _FORBIDDEN_NESTED:
        value = schema.get(key)
        if value is not None if must == "undefined" else value:
            yield _forbidden(f"{path}.{key}", f"must be {must} to be structural")
    if "metadata" in (schema.get("properties") or {}):
        yield _forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context")


def _completeness(values: Schema, schema: Schema | None, path: str, from_path: str) -> Iterator[FieldError]:
    """Every field that a junction speaks of must be specified outside of it too."""
    if schema is None:
        yield _required(path, f"because it is defined in {from_path}")
        return
    if values.get("not") is not None:
        yield from _nested_completeness(values["not"], schema, path, f"{from_path}.not")
    for key in ("allOf", "anyOf", "oneOf"):
        for index, branch in enumerate(values.get(key) or ()):
            yield from _nested_completeness(branch, schema, path, f"{from_path}.{key}[{index}]")


def _nested_completeness(
    values: Schema, schema: Schema | None, path: str, from_path: str
) -> Iterator[FieldError]:
    if schema is None:
        yield _required(path, f"because it is defined in {from_path}")
        return
    yield from _completeness(values, schema, path, from_path)
    if isinstance(values.get("items"), dict):
        yield from _nested_completeness(
            values["items"], schema.get("items"), f"{path}.items", f"{from_path}.items"
        )
    for name, child in (values.get("properties") or {}).items():
        where = f"properties[{name}]"
        known = (schema.get("properties") or {}).get(name)
        yield from _nested_completeness(child, known, f"{path}.{where}", f"{from_path}.{where}")
