"""MQTT packets, versions 5 and 3.1.1: only those that a publisher needs.

Facts: OASIS MQTT 5.0 and 3.1.1. Version 5 is used first, because only there a broker can say that it refuses a message.
"""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass

CONNACK, PUBLISH, PUBACK, SUBACK, PINGRESP, DISCONNECT = 2, 3, 4, 9, 13, 14

REASONS = {
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x84: "protocol version not supported",
    0x85: "client id not valid",
    0x86: "bad user name or password",
    0x87: "not authorised",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
    0x8B: "server shutting down",
    0x8D: "keep alive timeout",
    0x8E: "another client took over this client id",
    0x90: "topic name not valid",
    0x95: "packet too large",
    0x97: "quota exceeded",
    0x99: "payload format not valid",
}
_OLD_REASONS = {1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}


class Malformed(Exception):
    """The broker sent something that is not MQTT."""


@dataclass(frozen=True)
class Message:
    """An application message."""

    topic: str
    payload: bytes
    retain: bool = False
    qos: int = 1


@dataclass(frozen=True)
class Packet:
    """A received packet: type, flags and body."""

    kind: int
    flags: int
    body: bytes


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">H", len(data)) + data


def _packet(kind: int, flags: int, body: bytes) -> bytes:
    length, size = bytearray(), len(body)
    while True:
        length.append(size & 0x7F | (0x80 if size > 0x7F else 0))
        size >>= 7
        if not size:
            return bytes((kind << 4 | flags,)) + bytes(length) + body


def connect(
    version: int,
    client_id: str,
    *,
    user: str | None,
    password: str | None,
    keepalive: int,
    will: Message | None,
) -> bytes:
    flags = 0x02  # clean start: the outbox is the session
    payload = text(client_id)
    if will:
        flags |= 0x04 | will.qos << 3 | (0x20 if will.retain else 0)
        payload += (b"\0" if version == 5 else b"") + text(will.topic)
        payload += struct.pack(">H", len(will.payload)) + will.payload
    if user is not None:
        flags |= 0x80
        payload += text(user)
        if password is not None:
            flags |= 0x40
            payload += text(password)
    properties = b"\0" if version == 5 else b""
    return _packet(
        1, 0, text("MQTT") + bytes((version, flags)) + struct.pack(">H", keepalive) + properties + payload
    )


def publish(version: int, message: Message, packet_id: int) -> bytes:
    flags = message.qos << 1 | (1 if message.retain else 0)
    body = text(message.topic)
    if message.qos:
        body += struct.pack(">H", packet_id)
    return _packet(PUBLISH, flags, body + (b"\0" if version == 5 else b"") + message.payload)


def subscribe(version: int, topic: str, packet_id: int) -> bytes:
    properties = b"\0" if version == 5 else b""
    return _packet(8, 2, struct.pack(">H", packet_id) + properties + text(topic) + b"\0")


def puback(packet_id: int) -> bytes:
    return _packet(PUBACK, 0, struct.pack(">H", packet_id))


PINGREQ = _packet(12, 0, b"")
GOODBYE = _packet(DISCONNECT, 0, b"")


async def receive(reader: asyncio.StreamReader) -> Packet:
    """The next packet. IncompleteReadError at the end of the stream."""
    first = (await reader.readexactly(1))[0]
    size = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        size |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
        if shift > 21:
            raise Malformed("length of more than four bytes")
    if size > 1 << 20:
        raise Malformed(f"packet of {size} bytes")
    return Packet(first >> 4, first & 0x0F, await reader.readexactly(size))


def connack_reason(version: int, body: bytes) -> int:
    """0 for accepted, else a version 5 reason code."""
    if len(body) < 2:
        raise Malformed("CONNACK of less than two bytes")
    code = body[1]
    return _OLD_REASONS.get(code, 0x80 if code else 0) if version < 5 or 0 < code < 0x80 else code


def puback_reason(body: bytes) -> tuple[int, int]:
    """(packet id, reason code)."""
    if len(body) < 2:
        raise Malformed("PUBACK of less than two bytes")
    return struct.unpack(">H", body[:2])[0], body[2] if len(body) > 2 else 0


def message_in(version: int, packet: Packet) -> tuple[Message, int]:
    """A received PUBLISH and its packet id (0 for QoS 0)."""
    body = packet.body
    try:
        size = struct.unpack(">H", body[:2])[0]
        topic, rest = body[2 : 2 + size].decode("utf-8", "replace"), body[2 + size :]
        qos, packet_id = packet.flags >> 1 & 3, 0
        if qos:
            packet_id, rest = struct.unpack(">H", rest[:2])[0], rest[2:]
        if version == 5:
            rest = rest[1 + rest[0] :]  # properties: brokers send none worth reading here
    except (struct.error, IndexError):
        raise Malformed("PUBLISH cut short") from None
    return Message(topic, rest, bool(packet.flags & 1), qos), packet_id
