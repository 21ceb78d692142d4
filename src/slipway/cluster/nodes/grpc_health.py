"""One call of grpc.health.v1.Health/Check over HTTP/2 without TLS, as gRPC probes make it.

Only so much of HTTP/2 as one call takes: headers of answers are not decoded, since the answer's message says whether
the service serves, and what has no message has failed.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator

from slipway.cluster.exchange import Duplex

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_ACK = _END_STREAM = 0x1
_END_HEADERS, _PADDED = 0x4, 0x8
_STATUSES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}


class GrpcError(Exception):
    """The call had no answer; the text says why."""


async def health(connection: Duplex, authority: str, service: str) -> str:
    """The status that the server says the service has: SERVING, NOT_SERVING, … GrpcError when it says none."""
    await connection.write(
        _PREFACE
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, 1, _headers(authority))
        + _frame(_DATA, _END_STREAM, 1, _message(service))
    )
    said = bytearray()
    async for kind, flags, stream, body in _frames(connection):
        if kind == _SETTINGS and not flags & _ACK:
            await connection.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            await connection.write(_frame(_PING, _ACK, 0, body))
        elif kind == _DATA and stream == 1:
            said += body[1 : len(body) - body[0]] if flags & _PADDED else body
        elif kind == _GOAWAY or (kind == _RESET and stream == 1):
            raise GrpcError("the server has ended the call")
        if stream == 1 and kind in (_DATA, _HEADERS) and flags & _END_STREAM:
            return _status(bytes(said), service)
    raise GrpcError("the server has closed the connection")


async def _frames(connection: Duplex) -> AsyncIterator[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and content of each that comes."""
    buffer = b""
    while data := await connection.read():
        buffer += data
        while len(buffer) >= 9:
            length = int.from_bytes(buffer[:3], "big")
            if len(buffer) < 9 + length:
                break
            kind, flags, stream = struct.unpack("!BBI", buffer[3:9])
            yield kind, flags, stream & 0x7FFFFFFF, buffer[9 : 9 + length]
            buffer = buffer[9 + length :]


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + struct.pack("!BBI", kind, flags, stream) + body


def _headers(authority: str) -> bytes:
    """HPACK: POST and http by their numbers in the static table, all else as literals that are not to be remembered."""
    return (
        b"\x83\x86"
        + b"\x04" + _text("/grpc.health.v1.Health/Check")
        + b"\x01" + _text(authority)
        + b"\x0f\x10" + _text("application/grpc")
        + b"\x0f\x2b" + _text("kube-probe/1.37")
        + b"\x00" + _text("te") + _text("trailers")
    )  # fmt: skip


def _text(value: str) -> bytes:
    data = value.encode()[:126]
    return bytes([len(data)]) + data


def _message(service: str) -> bytes:
    """A HealthCheckRequest, with gRPC's five bytes before."""
    name = service.encode()
    body = b"\x0a" + _varint(len(name)) + name if name else b""
    return b"\0" + struct.pack("!I", len(body)) + body


def _varint(number: int) -> bytes:
    data = b""
    while number > 0x7F:
        data += bytes([number & 0x7F | 0x80])
        number >>= 7
    return data + bytes([number])


def _status(said: bytes, service: str) -> str:
    """Of a HealthCheckResponse, whose only field it is; left out it is UNKNOWN."""
    if len(said) < 5:
        what = f"or does not know the service {service!r}" if service else "or has failed"
        raise GrpcError(f"the server answered without a status: it does not implement it, {what}")
    body = said[5:]
    return _STATUSES.get(body[1] if len(body) > 1 and body[0] == 0x08 else 0, "UNKNOWN")
