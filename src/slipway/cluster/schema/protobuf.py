"""Bodies in `application/vnd.kubernetes.protobuf` become the JSON objects that a JSON client would have sent.

A body is the four bytes `k8s\\0`, then a `runtime.Unknown` with the object's type and its bytes. What a field is
called, and when JSON leaves it out, comes from `data/<minor>/messages.json.gz` (`scripts/kubernetes_messages.py`);
`protobuf_wire` reads the bytes, `protobuf_scalars` holds the messages whose JSON form is a plain value. Encoding is
not needed: every client that sends protobuf accepts JSON.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from slipway.cluster.schema import builtin
from slipway.cluster.schema.protobuf_scalars import ABSENT, SPECIAL_MESSAGES
from slipway.cluster.schema.protobuf_wire import (
    BYTES,
    ProtobufError,
    field_bytes,
    fields_of,
    packed_numbers,
    scalar,
    text,
)

__all__ = ["MAGIC", "MEDIA_TYPE", "ProtobufError", "decode", "is_protobuf"]

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"
_DEEPEST = 100  # nested messages; JSONSchemaProps is the deepest that is in use

JsonObject = dict[str, Any]
_META = "k8s.io.apimachinery.pkg.apis.meta.v1"
_EMPTY_AS_ZERO = {"string": "", "bytes": "", "bool": False}


def is_protobuf(body: bytes) -> bool:
    """Whether a body is an envelope, whatever its Content-Type says."""
    return body.startswith(MAGIC)


def decode(body: bytes, minor: str = builtin.DEFAULT_MINOR) -> JsonObject:
    """The object in an envelope, with `kind` and `apiVersion`. Raises ProtobufError."""
    if not is_protobuf(body):
        raise ProtobufError("the body does not begin with the four bytes 'k8s\\0'", 0)
    api_version = kind = content_type = content_encoding = ""
    start = end = len(body)
    for number, wire_type, value, offset in fields_of(body, len(MAGIC), len(body)):
        if number == 1:
            api_version, kind = _type_meta(body, *field_bytes(wire_type, value, offset))
        elif number == 2:
            start, end = field_bytes(wire_type, value, offset)
        elif number in (3, 4):
            said = text(body, *field_bytes(wire_type, value, offset))
            content_encoding, content_type = (said, content_type) if number == 3 else (content_encoding, said)
    if content_encoding or content_type not in ("", MEDIA_TYPE):
        said = f"{content_type!r} {content_encoding!r}"
        raise ProtobufError(f"the envelope's content is {said}, not plain protobuf", start)
    message = _message_of(api_version, kind, minor)
    if message is None:
        raise ProtobufError(f"no kind {kind!r} is registered for version {api_version!r}", len(MAGIC))
    content = _decode(_Tables(minor), message, body, start, end, 0)
    return {"kind": kind, "apiVersion": api_version, **content}


def _type_meta(body: bytes, start: int, end: int) -> tuple[str, str]:
    found = {1: "", 2: ""}
    for number, wire_type, value, offset in fields_of(body, start, end):
        if number in found:
            found[number] = text(body, *field_bytes(wire_type, value, offset))
    return found[1], found[2]


def _message_of(api_version: str, kind: str, minor: str) -> str | None:
    """Options (DeleteOptions, …) and Status belong to every group version."""
    table = _messages(minor)
    package = table["packages"].get(api_version)
    for name in (f"{package}.{kind}", f"{_META}.{kind}"):
        if name in table["messages"]:
            return name
    return None


class _Field:
    """How one field of a message becomes a property."""

    __slots__ = ("drops_zero", "inline", "is_map", "is_scalar", "name", "of", "repeated", "stands_alone")

    def __init__(self, name: str, of: str, flags: str) -> None:
        self.name = name
        self.of = of
        self.is_scalar = "." not in of
        self.repeated = "r" in flags
        self.is_map = "m" in flags
        self.inline = "i" in flags
        self.drops_zero = "z" in flags
        self.stands_alone = "u" in flags


class _Tables:
    """Fields of messages by number; each message's table is made when it is first met."""

    def __init__(self, minor: str) -> None:
        self._minor = minor

    def of(self, message: str) -> dict[int, _Field]:
        return _fields(self._minor, message)


@cache
def _messages(minor: str) -> JsonObject:
    return builtin.messages(minor)


@cache
def _fields(minor: str, message: str) -> dict[int, _Field]:
    rows = _messages(minor)["messages"][message]
    return {int(number): _Field(*row) for number, row in rows.items()}


def _decode(tables: _Tables, message: str, body: bytes, start: int, end: int, depth: int) -> Any:
    """A message's properties; `depth` counts the messages around it."""
    if depth > _DEEPEST:
        raise ProtobufError(f"messages are nested more than {_DEEPEST} deep", start)
    special = SPECIAL_MESSAGES.get(message)
    if special is not None:
        return special(body, start, end, lambda name, s, e: _decode(tables, name, body, s, e, depth + 1))
    fields = tables.of(message)
    content: JsonObject = {}
    for number, wire_type, value, offset in fields_of(body, start, end):
        field = fields.get(number)
        if field is None:  # a newer client's field; JSON clients' unknown fields are dropped as well
            continue
        _take(tables, content, field, body, (wire_type, value, offset), depth)
    alone = next((field for field in fields.values() if field.stands_alone), None)
    return content.get(alone.name, []) if alone is not None else content


def _take(
    tables: _Tables,
    content: JsonObject,
    field: _Field,
    body: bytes,
    wire: tuple[int, Any, int],
    depth: int,
) -> None:
    wire_type, value, offset = wire
    if field.is_map:
        name, entry = _entry(tables, field, body, field_bytes(wire_type, value, offset), depth)
        content.setdefault(field.name, {})[name] = entry
        return
    if field.repeated and field.is_scalar and field.of not in ("string", "bytes") and wire_type == BYTES:
        content.setdefault(field.name, []).extend(packed_numbers(field.of, body, *value))
        return
    if field.is_scalar:
        found = scalar(field.of, body, wire_type, value, offset)
    else:
        found = _decode(tables, field.of, body, *field_bytes(wire_type, value, offset), depth + 1)
    if field.repeated:
        content.setdefault(field.name, []).append(None if found is ABSENT else found)
    elif field.inline:
        content.update(found)
    elif found is ABSENT:
        content.pop(field.name, None)
    elif not (field.drops_zero and field.is_scalar and found == _EMPTY_AS_ZERO.get(field.of, 0)):
        content[field.name] = found


def _entry(tables: _Tables, field: _Field, body: bytes, span: tuple[int, int], depth: int) -> tuple[str, Any]:
    """One entry of a map: key = 1, value = 2; what is missing is empty."""
    name = ""
    wire: tuple[int, Any, int] | None = None
    for number, wire_type, value, offset in fields_of(body, *span):
        if number == 1:
            name = text(body, *field_bytes(wire_type, value, offset))
        elif number == 2:
            wire = (wire_type, value, offset)
    if field.is_scalar:
        return name, scalar(field.of, body, *wire) if wire else _EMPTY_AS_ZERO.get(field.of, 0)
    start, end = field_bytes(*wire) if wire else (span[1], span[1])
    found = _decode(tables, field.of, body, start, end, depth + 1)
    return name, None if found is ABSENT else found
