"""Parts of a CRD as messages print them: in JSON, with the names of Go's internal types, which have no others."""

from __future__ import annotations

import json
from typing import Any

# Fields of apiextensions.JSONSchemaProps in order, with what they are when not set.
_SCHEMA_FIELDS: tuple[tuple[str, str, Any], ...] = (
    ("ID", "id", ""),
    ("Schema", "$schema", ""),
    ("Ref", "$ref", None),
    ("Description", "description", ""),
    ("Type", "type", ""),
    ("Nullable", "nullable", False),
    ("Format", "format", ""),
    ("Title", "title", ""),
    ("Default", "default", None),
    ("Maximum", "maximum", None),
    ("ExclusiveMaximum", "exclusiveMaximum", False),
    ("Minimum", "minimum", None),
    ("ExclusiveMinimum", "exclusiveMinimum", False),
    ("MaxLength", "maxLength", None),
    ("MinLength", "minLength", None),
    ("Pattern", "pattern", ""),
    ("MaxItems", "maxItems", None),
    ("MinItems", "minItems", None),
    ("UniqueItems", "uniqueItems", False),
    ("MultipleOf", "multipleOf", None),
    ("Enum", "enum", None),
    ("MaxProperties", "maxProperties", None),
    ("MinProperties", "minProperties", None),
    ("Required", "required", None),
    ("Items", "items", None),
    ("AllOf", "allOf", None),
    ("OneOf", "oneOf", None),
    ("AnyOf", "anyOf", None),
    ("Not", "not", None),
    ("Properties", "properties", None),
    ("AdditionalProperties", "additionalProperties", None),
    ("PatternProperties", "patternProperties", None),
    ("Dependencies", "dependencies", None),
    ("AdditionalItems", "additionalItems", None),
    ("Definitions", "definitions", None),
    ("ExternalDocs", "externalDocs", None),
    ("Example", "example", None),
    ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields", None),
    ("XEmbeddedResource", "x-kubernetes-embedded-resource", False),
    ("XIntOrString", "x-kubernetes-int-or-string", False),
    ("XListMapKeys", "x-kubernetes-list-map-keys", None),
    ("XListType", "x-kubernetes-list-type", None),
    ("XMapType", "x-kubernetes-map-type", None),
    ("XValidations", "x-kubernetes-validations", None),
)


def go_json(value: Any) -> str:
    """JSON as Go's encoder writes it, with <, > and & escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def go_schema(schema: dict[str, Any]) -> str:
    """A schema, whole."""
    return go_json(_schema(schema))


def go_rule(rule: dict[str, Any]) -> str:
    """One of `x-kubernetes-validations`."""
    return go_json(_rule(rule))


def _rule(rule: dict[str, Any]) -> dict[str, Any]:
    return {
        "Rule": rule.get("rule") or "",
        "Message": rule.get("message") or "",
        "MessageExpression": rule.get("messageExpression") or "",
        "Reason": rule.get("reason"),
        "FieldPath": rule.get("fieldPath") or "",
        "OptionalOldSelf": rule.get("optionalOldSelf"),
    }


def _schema(schema: Any) -> Any:
    if not isinstance(schema, dict):
        return schema
    shown: dict[str, Any] = {}
    for name, key, unset in _SCHEMA_FIELDS:
        value = schema.get(key)
        if value is None:
            value = unset
        elif key in ("allOf", "oneOf", "anyOf"):
            value = [_schema(branch) for branch in value]
        elif key in ("properties", "patternProperties", "definitions"):
            value = {field: _schema(child) for field, child in sorted(value.items())}
        elif key == "not":
            value = _schema(value)
        elif key == "items":
            value = {"Schema": _schema(value), "JSONSchemas": None}
        elif key in ("additionalProperties", "additionalItems"):
            value = {
                "Allows": value is not False,
                "Schema": _schema(value) if isinstance(value, dict) else None,
            }
        elif key == "x-kubernetes-validations":
            value = [_rule(rule) for rule in value]
        shown[name] = value
    return shown
