"""OpenAPI v2 (Swagger 2.0), made from the v3 documents: what kubectl before 1.28 and older tools read.

What v2 cannot say is left out the way kube-apiserver leaves it out: defaults, nullable, alternatives, and the
inside of what keeps unknown fields.
"""

from __future__ import annotations

import hashlib
from typing import Any

import orjson

JsonObject = dict[str, Any]

_V3, _V2 = "#/components/schemas/", "#/definitions/"
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
_UNSAID = {"default", "nullable", "oneOf", "anyOf", "allOf", "not"}


def swagger(whole: JsonObject, version: str) -> JsonObject:
    """The document for `{"paths": …, "schemas": …}` of all v3 documents."""
    parameters: JsonObject = {}
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": {path: _path(item, parameters) for path, item in sorted(whole["paths"].items())},
        "definitions": {name: _definition(schema) for name, schema in sorted(whole["schemas"].items())},
        "parameters": dict(sorted(parameters.items())),
        "securityDefinitions": {
            "BearerToken": {
                "description": "Bearer Token authentication",
                "type": "apiKey",
                "name": "authorization",
                "in": "header",
            }
        },
        "security": [{"BearerToken": []}],
    }


def _path(item: JsonObject, shared: JsonObject) -> JsonObject:
    found: JsonObject = {}
    if "parameters" in item:
        found["parameters"] = [_parameter(parameter, shared) for parameter in item["parameters"]]
    for method in _METHODS:
        if method in item:
            found[method] = _operation(item[method], shared)
    return found


def _operation(operation: JsonObject, shared: JsonObject) -> JsonObject:
    found = {
        key: value
        for key, value in operation.items()
        if key not in ("parameters", "requestBody", "responses")
    }
    body = operation.get("requestBody")
    found["consumes"] = list(body["content"]) if body else ["*/*"]
    produced = [media for answer in operation["responses"].values() for media in answer.get("content", ())]
    found["produces"] = list(dict.fromkeys(produced)) or ["*/*"]
    found["schemes"] = ["https"]
    parameters = [_parameter(parameter, shared) for parameter in operation.get("parameters", ())]
    if body:
        parameters.insert(0, _body(body, shared))
    if parameters:
        found["parameters"] = parameters
    found["responses"] = {code: _answer(answer) for code, answer in operation["responses"].items()}
    return found


def _parameter(parameter: JsonObject, shared: JsonObject) -> JsonObject:
    """Said once for the whole document: there are thousands of them, of about a hundred sorts."""
    flat = {key: value for key, value in parameter.items() if key != "schema"}
    return _shared({**parameter.get("schema", {}), **flat}, shared)


def _body(body: JsonObject, shared: JsonObject) -> JsonObject:
    (content, *_) = body["content"].values()
    flat: JsonObject = {"name": "body", "in": "body", "schema": _schema(content["schema"])}
    if body.get("required"):
        flat["required"] = True
    return _shared(flat, shared)


def _shared(parameter: JsonObject, shared: JsonObject) -> JsonObject:
    digest = hashlib.sha256(orjson.dumps(parameter, option=orjson.OPT_SORT_KEYS)).hexdigest()[:8]
    name = f"{parameter['name']}-{digest}"
    shared[name] = parameter
    return {"$ref": f"#/parameters/{name}"}


def _answer(answer: JsonObject) -> JsonObject:
    found = {"description": answer["description"]}
    for content in answer.get("content", {}).values():
        if "schema" in content:
            return {**found, "schema": _schema(content["schema"])}
    return found


def _definition(schema: JsonObject) -> JsonObject:
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        kept = ("description", "x-kubernetes-group-version-kind")
        return {"type": "object", **{key: schema[key] for key in kept if key in schema}}
    return _schema(schema)


def _schema(schema: JsonObject) -> JsonObject:
    if "$ref" in schema or _wrapped_reference(schema):
        reference = _wrapped_reference(schema) or schema["$ref"]
        rest = {key: value for key, value in schema.items() if key not in ("$ref", *_UNSAID)}
        return {**rest, "$ref": reference.replace(_V3, _V2)}
    found = {key: value for key, value in schema.items() if key not in _UNSAID}
    if "oneOf" in schema and "type" not in schema and not schema.get("x-kubernetes-int-or-string"):
        found["type"] = "string"  # Quantity and IntOrString of the built-in kinds
    opened = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    if schema.get("nullable") or opened:
        found.pop("items", None)
        found.pop("properties", None)
        if schema.get("nullable") or schema.get("type") == "object":
            found.pop("type", None)
        if opened and schema.get("x-kubernetes-embedded-resource"):
            found.pop("required", None)
    if found.get("type") == "array" and "items" not in found:
        del found["type"]
    _inside(found)
    return found


def _inside(schema: JsonObject) -> None:
    properties = schema.get("properties")
    if properties is not None:
        nullable = {name for name, part in properties.items() if part.get("nullable")}
        if nullable & set(schema.get("required", ())):
            schema["required"] = [name for name in schema["required"] if name not in nullable]
            if not schema["required"]:
                del schema["required"]
        schema["properties"] = {name: _schema(part) for name, part in properties.items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            schema[key] = _schema(schema[key])


def _wrapped_reference(schema: JsonObject) -> str:
    """`allOf` of one reference: how v3 hangs a text or a default on it."""
    match schema.get("allOf"):
        case [{"$ref": str(reference)}]:
            return reference
    return ""
