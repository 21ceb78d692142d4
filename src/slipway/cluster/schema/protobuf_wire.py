"""Protobuf's wire format: numbers, spans of bytes, and the fields of a message one after the other.

Everything works on spans (start, end) of the whole body, so that nothing is copied before it is needed and every
error can say at which byte it was found.
"""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Iterator
from typing import Any

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
Span = tuple[int, int]


class ProtobufError(ValueError):
    """A body that is no protobuf message of its kind; `offset` is the byte at which that shows."""

    def __init__(self, why: str, offset: int) -> None:
        self.why, self.offset = why, offset
        super().__init__(f"protobuf: {why} (at byte {offset})")


def varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    """(value, where the next byte is)."""
    value = shift = 0
    for place in range(at, min(end, at + 10)):
        byte = body[place]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, place + 1
        shift += 7
    raise ProtobufError("a number does not end", at)


def fields_of(body: bytes, start: int, end: int) -> Iterator[tuple[int, int, Any, int]]:
    """(number, wire type, value, offset) of each field: an int for VARINT, a span for everything else."""
    at = start
    while at < end:
        offset = at
        tag, at = varint(body, at, end)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise ProtobufError("field number 0", offset)
        if wire_type == VARINT:
            value, at = varint(body, at, end)
            yield number, VARINT, value, offset
            continue
        if wire_type == BYTES:
            length, at = varint(body, at, end)
        elif wire_type in (FIXED64, FIXED32):
            length = 8 if wire_type == FIXED64 else 4
        else:
            raise ProtobufError(f"wire type {wire_type} of field {number} is not used by Kubernetes", offset)
        if length > end - at:
            raise ProtobufError(f"field {number} says {length} bytes where {end - at} are left", offset)
        yield number, wire_type, (at, at + length), offset
        at += length


def field_bytes(wire_type: int, value: Any, offset: int) -> Span:
    """The span of a field that must be a string, bytes or message."""
    if wire_type != BYTES:
        raise ProtobufError(f"a field has wire type {wire_type} where {BYTES} is due", offset)
    span: Span = value
    return span


def text(body: bytes, start: int, end: int) -> str:
    try:
        return body[start:end].decode()
    except UnicodeDecodeError as error:
        raise ProtobufError("a string is not UTF-8", start + error.start) from None


def scalar(of: str, body: bytes, wire_type: int, value: Any, offset: int) -> Any:
    """The JSON value of one scalar field."""
    if of == "string":
        return text(body, *field_bytes(wire_type, value, offset))
    if of == "bytes":
        start, end = field_bytes(wire_type, value, offset)
        return base64.b64encode(body[start:end]).decode()
    if of == "double":
        if wire_type != FIXED64:
            raise ProtobufError(f"a double has wire type {wire_type} where {FIXED64} is due", offset)
        return _double(body, value[0])
    if wire_type != VARINT:
        raise ProtobufError(f"a number has wire type {wire_type} where {VARINT} is due", offset)
    return number(of, value)


def number(of: str, value: int) -> int | bool:
    """A varint as its type has it: `bool`, `int32`, `int64`, `uint32`, `uint64`."""
    if of == "bool":
        return value != 0
    if of == "uint64":
        return value
    if of == "uint32":
        return value & 0xFFFF_FFFF
    bits = 32 if of == "int32" else 64
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def packed_numbers(of: str, body: bytes, start: int, end: int) -> list[Any]:
    """A repeated number in its packed form."""
    found: list[Any] = []
    at = start
    while at < end:
        if of == "double":
            if end - at < 8:
                raise ProtobufError("a packed double is cut short", at)
            found.append(_double(body, at))
            at += 8
        else:
            value, at = varint(body, at, end)
            found.append(number(of, value))
    return found


def _double(body: bytes, at: int) -> float:
    (value,) = struct.unpack_from("<d", body, at)
    if not math.isfinite(value):
        raise ProtobufError(f"JSON has no {value}", at)
    found: float = value
    return found
