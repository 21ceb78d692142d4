"""DNS messages (RFC 1035, 2782): reading a question, writing an answer. No input or output here."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass

A, CNAME, PTR, TXT, AAAA, SRV, ANY = 1, 5, 12, 16, 28, 33, 255
NO_ERROR, FORMAT_ERROR, SERVER_FAILURE, NAME_ERROR, NOT_IMPLEMENTED = 0, 1, 2, 3, 4
_IN = 1
LONGEST_DATAGRAM = 1232


class MessageError(ValueError):
    """Not a DNS question that can be answered."""


@dataclass(frozen=True, slots=True)
class Question:
    """`name` is lower-case without the last dot; `raw` the question section as it came."""

    id: int
    recursion: bool
    name: str
    kind: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Record:
    name: str
    kind: int
    data: bytes
    ttl: int = 5


def parse_question(packet: bytes) -> Question:
    """The one question of a query. MessageError for anything else."""
    if len(packet) < 12:
        raise MessageError("shorter than a header")
    id, flags, questions, _, _, _ = struct.unpack("!6H", packet[:12])
    if flags & 0x8000 or questions != 1 or (flags >> 11) & 0xF:
        raise MessageError("not a standard query with one question")
    labels, position = [], 12
    while True:
        if position >= len(packet):
            raise MessageError("the name does not end")
        length = packet[position]
        if length == 0:
            position += 1
            break
        if length > 63 or position + 1 + length > len(packet):
            raise MessageError("a label that is too long, or compressed")
        labels.append(packet[position + 1 : position + 1 + length])
        position += 1 + length
    if position + 4 > len(packet):
        raise MessageError("no type and class")
    kind, _ = struct.unpack("!2H", packet[position : position + 4])
    name = b".".join(labels).decode("ascii", errors="replace").lower()
    return Question(id, bool(flags & 0x0100), name, kind, packet[12 : position + 4])


def answer(
    question: Question,
    code: int,
    answers: Sequence[Record] = (),
    extra: Sequence[Record] = (),
    *,
    most: int = 65535,
) -> bytes:
    """The reply; cut short with the truncation flag when longer than `most`."""
    flags = 0x8000 | 0x0400 | 0x0080 | code | (0x0100 if question.recursion else 0)
    body = b"".join(map(_encoded, answers))
    more = b"".join(map(_encoded, extra))
    if 12 + len(question.raw) + len(body) + len(more) > most:
        more, extra = b"", ()
    if 12 + len(question.raw) + len(body) > most:
        return struct.pack("!6H", question.id, flags | 0x0200, 1, 0, 0, 0) + question.raw
    return struct.pack("!6H", question.id, flags, 1, len(answers), 0, len(extra)) + question.raw + body + more


def failure(packet: bytes, code: int) -> bytes:
    """A reply to something that could not be read."""
    id = struct.unpack("!H", packet[:2])[0] if len(packet) >= 2 else 0
    return struct.pack("!6H", id, 0x8000 | code, 0, 0, 0, 0)


def encode_name(name: str) -> bytes:
    out = b""
    for label in name.rstrip(".").split("."):
        data = label.encode()
        out += bytes([len(data)]) + data
    return out + b"\0"


def address(name: str, ip: str) -> Record:
    return Record(name, A, socket.inet_aton(ip))


def alias(name: str, target: str) -> Record:
    return Record(name, CNAME, encode_name(target))


def pointer(name: str, target: str) -> Record:
    return Record(name, PTR, encode_name(target))


def service(name: str, port: int, target: str, weight: int = 100) -> Record:
    return Record(name, SRV, struct.pack("!3H", 0, weight, port) + encode_name(target))


def _encoded(record: Record) -> bytes:
    head = struct.pack("!HHIH", record.kind, _IN, record.ttl, len(record.data))
    return encode_name(record.name) + head + record.data
