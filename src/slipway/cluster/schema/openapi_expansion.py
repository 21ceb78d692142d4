"""From the compact data to OpenAPI v3: paths with their parameters, definitions with their prose."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from slipway.cluster.schema import builtin

JsonObject = dict[str, Any]
_REFERENCE = "#/components/schemas/"


def expanded_paths(minor: str, document: str) -> JsonObject:
    """The paths of one published document; empty when there is no such document."""
    published = builtin.paths(minor)
    return {
        path: {
            method: [published["parameters"][place] for place in operation]
            if method == "parameters"
            else _operation(operation, published)
            for method, operation in item.items()
        }
        for path, item in published["documents"].get(document, {}).items()
    }


def _operation(operation: JsonObject, published: JsonObject) -> JsonObject:
    expanded = dict(operation)
    if "parameters" in operation:
        expanded["parameters"] = [published["parameters"][place] for place in operation["parameters"]]
    if "requestBody" in operation:
        expanded["requestBody"] = _content(operation["requestBody"], published)
    expanded["responses"] = {
        code: _content(answer, published) for code, answer in operation["responses"].items()
    }
    return expanded


def _content(part: JsonObject, published: JsonObject) -> JsonObject:
    if "mediaTypes" not in part:
        return part
    expanded = {key: value for key, value in part.items() if key not in ("mediaTypes", "schema")}
    content = {"schema": expanded_schema(part["schema"], "")} if "schema" in part else {}
    expanded["content"] = dict.fromkeys(published["mediaTypes"][part["mediaTypes"]], content)
    return expanded


def published_definitions(minor: str, names: Iterable[str]) -> JsonObject:
    """The named definitions and all that they refer to."""
    compact, prose = builtin.definitions(minor), builtin.prose(minor)
    waiting = [name for name in names if name in compact]
    found: JsonObject = {}
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = _definition(compact[name], prose.get(name, {}))
            waiting.extend(_references(compact[name]))
    return found


def _references(schema: JsonObject) -> Iterable[str]:
    if "ref" in schema:
        yield schema["ref"]
    for part in schema.get("properties", {}).values():
        yield from _references(part)
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from _references(schema[key])


def _definition(compact: JsonObject, texts: dict[str, str]) -> JsonObject:
    expanded = expanded_schema(compact, texts.get("", ""))
    for field, part in compact.get("properties", {}).items():
        expanded["properties"][field] = expanded_schema(part, texts.get(field, ""))
    return expanded


def expanded_schema(compact: JsonObject, description: str) -> JsonObject:
    """A reference that says something of its own becomes `allOf`, as OpenAPI 3.0 has it."""
    schema = {key: value for key, value in compact.items() if key != "ref"}
    if description:
        schema["description"] = description
    if "ref" in compact:
        reference = {"$ref": _REFERENCE + compact["ref"]}
        return {**schema, "allOf": [reference]} if schema else reference
    for key in ("items", "additionalProperties"):
        if key in compact:
            schema[key] = expanded_schema(compact[key], "")
    if "properties" in compact:
        schema["properties"] = {
            field: expanded_schema(part, "") for field, part in compact["properties"].items()
        }
    return schema
