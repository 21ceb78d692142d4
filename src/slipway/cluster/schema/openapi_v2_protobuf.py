"""OpenAPI v2 in protobuf, the only form in which kubectl asks for it.

Field numbers are those of `openapi.v2` in google/gnostic-models `OpenAPIv2.proto`. What a schema says beyond
Swagger (`x-…`), and values of any type, travel as YAML text; JSON is YAML.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from typing import Any

JsonObject = dict[str, Any]

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
# As clients write it in Accept.
ACCEPTED_AS = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"

_SCHEMA_TEXTS = {"$ref": 1, "format": 2, "title": 3, "description": 4, "pattern": 13}
_SCHEMA_DOUBLES = {"multipleOf": 6, "maximum": 7, "minimum": 9}
_SCHEMA_INTEGERS = {
    "maxLength": 11,
    "minLength": 12,
    "maxItems": 14,
    "minItems": 15,
    "maxProperties": 17,
    "minProperties": 18,
}
_SCHEMA_SWITCHES = {"exclusiveMaximum": 8, "exclusiveMinimum": 10, "uniqueItems": 16}
_PATH_ITEM = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}
_OPERATION_TEXTS = {"description": 3, "operationId": 5}
_OPERATION_LISTS = {"tags": 1, "produces": 6, "consumes": 7, "schemes": 10}
# in -> (member of NonBodyParameter, numbers of its fields)
_PARAMETERS = {
    "query": (3, {"in": 2, "description": 3, "name": 4, "type": 6, "format": 7}, 20),
    "path": (4, {"in": 2, "description": 3, "name": 4, "type": 5, "format": 6}, 19),
}


def encode(document: JsonObject) -> bytes:
    """The bytes of a Swagger 2.0 document made by `openapi_v2`."""
    info = _text(1, document["info"]["title"]) + _text(2, document["info"]["version"])
    return b"".join(
        [
            _text(1, document["swagger"]),
            _bytes(2, info),
            _bytes(8, _named(2, document["paths"], _path_item)),
            _bytes(9, _named(1, document["definitions"], _schema)),
            _bytes(10, _named(1, document["parameters"], _parameter)),
            *(_bytes(12, _named(1, need, _string_array)) for need in document["security"]),
            _bytes(13, _named(1, document["securityDefinitions"], _api_key)),
        ]
    )


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _bytes(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _text(number: int, text: str) -> bytes:
    return _bytes(number, text.encode(errors="replace"))


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _any(number: int, value: Any) -> bytes:
    return _bytes(number, _bytes(2, json.dumps(value).encode() + b"\n"))


def _named(number: int, items: JsonObject, encode_item: Any) -> bytes:
    """The `additional_properties` of a message that is a map: name = 1, value = 2."""
    return b"".join(
        _bytes(number, _text(1, name) + _bytes(2, encode_item(item))) for name, item in items.items()
    )


def _extensions(number: int, part: JsonObject) -> Iterable[bytes]:
    for name, value in part.items():
        if name.startswith("x-"):
            yield _bytes(number, _text(1, name) + _any(2, value))


def _string_array(values: list[str]) -> bytes:
    return b"".join(_text(1, value) for value in values)


def _api_key(scheme: JsonObject) -> bytes:
    numbers = {"type": 1, "name": 2, "in": 3, "description": 4}
    return _bytes(2, b"".join(_text(number, scheme[key]) for key, number in numbers.items()))


def _path_item(item: JsonObject) -> bytes:
    operations = b"".join(
        _bytes(number, _operation(item[method])) for method, number in _PATH_ITEM.items() if method in item
    )
    return operations + b"".join(_bytes(9, _parameter_item(part)) for part in item.get("parameters", ()))


def _operation(operation: JsonObject) -> bytes:
    parts = [_text(number, operation[key]) for key, number in _OPERATION_TEXTS.items() if key in operation]
    for key, number in _OPERATION_LISTS.items():
        parts += [_text(number, value) for value in operation.get(key, ())]
    parts += [_bytes(8, _parameter_item(part)) for part in operation.get("parameters", ())]
    parts.append(_bytes(9, _named(1, operation["responses"], _response)))
    return b"".join([*parts, *_extensions(13, operation)])


def _response(answer: JsonObject) -> bytes:
    content = _text(1, answer["description"])
    if "schema" in answer:
        content += _bytes(2, _bytes(1, _schema(answer["schema"])))
    return _bytes(1, content)


def _parameter_item(parameter: JsonObject) -> bytes:
    if "$ref" in parameter:
        return _bytes(2, _text(1, parameter["$ref"]))
    return _bytes(1, _parameter(parameter))


def _parameter(parameter: JsonObject) -> bytes:
    if parameter["in"] == "body":
        content = _text(2, parameter["name"]) + _text(3, "body") + _bytes(5, _schema(parameter["schema"]))
        return _bytes(1, content + (_integer(4, 1) if parameter.get("required") else b""))
    member, texts, unique = _PARAMETERS[parameter["in"]]
    content = b"".join(_text(number, parameter[key]) for key, number in texts.items() if key in parameter)
    if parameter.get("required"):
        content += _integer(1, 1)
    if parameter.get("uniqueItems"):
        content += _integer(unique, 1)
    return _bytes(2, _bytes(member, content))


def _schema(schema: JsonObject) -> bytes:
    parts: list[bytes] = []
    for key, value in schema.items():
        if key in _SCHEMA_TEXTS:
            parts.append(_text(_SCHEMA_TEXTS[key], value))
        elif key == "type":
            parts.append(_bytes(22, _text(1, value)))
        elif key == "properties":
            parts.append(_bytes(25, _named(1, value, _schema)))
        elif key == "items":
            parts.append(_bytes(23, _bytes(1, _schema(value))))
        elif key == "additionalProperties":
            inner = _integer(2, value) if isinstance(value, bool) else _bytes(1, _schema(value))
            parts.append(_bytes(21, inner))
        elif key == "required":
            parts += [_text(19, name) for name in value]
        elif key == "enum":
            parts += [_any(20, choice) for choice in value]
        elif key in _SCHEMA_DOUBLES:
            parts.append(_double(_SCHEMA_DOUBLES[key], value))
        elif key in _SCHEMA_INTEGERS:
            parts.append(_integer(_SCHEMA_INTEGERS[key], value))
        elif key in _SCHEMA_SWITCHES and value:
            parts.append(_integer(_SCHEMA_SWITCHES[key], 1))
    return b"".join([*parts, *_extensions(31, schema)])
