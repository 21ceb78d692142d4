"""SPDY/3.1 frames as bytes and back (SPDY Protocol Draft 3.1, section 2), without any I/O.

Kubernetes clients speak the part that moby/spdystream speaks: SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING,
GOAWAY, HEADERS, WINDOW_UPDATE and data. That library neither sends nor heeds windows: TCP is the flow control.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

VERSION = 3
FIN = 0x01
MAX_FRAME = 4 * 1024 * 1024  # of 16 MiB that the format allows; clients send far less
MAX_HEADERS = 64 * 1024
MAX_DATA = 32 * 1024  # in one frame of ours

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9

PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, CANCEL = 1, 2, 3, 5


class SpdyError(Exception):
    """The peer does not speak SPDY/3.1."""


@dataclass(frozen=True, slots=True)
class Frame:
    """`kind` is a control type, or 0 for data. `number` is what a RST_STREAM or PING carries."""

    kind: int
    stream: int = 0
    flags: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    data: bytes = b""
    number: int = 0

    @property
    def fin(self) -> bool:
        return bool(self.flags & FIN)


@cache
def dictionary() -> bytes:
    """What both ends prime zlib with."""
    source = json.loads((Path(__file__).parent / "spdy_dictionary.json").read_text())
    words = b"".join(struct.pack(">I", len(word)) + word.encode() for word in source["words"])
    return words + bytes(source["rest"], "ascii")


class SpdyFraming:
    """Both directions of one connection: the header compression remembers what went before."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=dictionary())
        self._deflate = zlib.compressobj(zdict=dictionary())

    # --- in ---

    def receive(self, data: bytes) -> list[Frame]:
        """The frames that are whole with these bytes; SpdyError when they cannot be frames."""
        self._buffer += data
        frames = []
        while len(self._buffer) >= 8:
            first, second = struct.unpack_from(">II", self._buffer)
            length = second & 0xFFFFFF
            if length > MAX_FRAME:
                raise SpdyError(f"a frame of {length} bytes is longer than {MAX_FRAME}")
            if len(self._buffer) < 8 + length:
                break
            body = bytes(self._buffer[8 : 8 + length])
            del self._buffer[: 8 + length]
            frame = self._frame(first, second >> 24, body)
            if frame is not None:
                frames.append(frame)
        return frames

    def _frame(self, first: int, flags: int, body: bytes) -> Frame | None:
        if not first & 0x80000000:
            return Frame(0, first, flags, data=body)
        version, kind = first >> 16 & 0x7FFF, first & 0xFFFF
        if version != VERSION:
            raise SpdyError(f"SPDY version {version} is not spoken; 3 is")
        try:
            return self._control(kind, flags, body)
        except struct.error:
            raise SpdyError(f"a control frame of type {kind} is too short") from None

    def _control(self, kind: int, flags: int, body: bytes) -> Frame | None:
        match kind:
            case 1:  # SYN_STREAM
                return Frame(kind, _id(body), flags, self._headers(body[10:]))
            case 2 | 8:  # SYN_REPLY, HEADERS
                return Frame(kind, _id(body), flags, self._headers(body[4:]))
            case 3:  # RST_STREAM
                return Frame(kind, _id(body), flags, number=struct.unpack_from(">I", body, 4)[0])
            case 6:  # PING
                return Frame(kind, number=struct.unpack_from(">I", body)[0])
            case 7:  # GOAWAY
                return Frame(kind, _id(body))
            case 9:  # WINDOW_UPDATE
                return Frame(kind, _id(body), number=struct.unpack_from(">I", body, 4)[0])
        return None  # SETTINGS, CREDENTIAL and what may come: nothing here depends on them

    def _headers(self, block: bytes) -> dict[str, str]:
        try:
            text = self._inflate.decompress(block, MAX_HEADERS)
        except zlib.error as error:
            raise SpdyError(f"a header block cannot be read: {error}") from None
        if self._inflate.unconsumed_tail:
            raise SpdyError(f"a header block is longer than {MAX_HEADERS} bytes")
        (count,) = struct.unpack_from(">I", text)
        if count > len(text) // 8:
            raise SpdyError(f"a header block of {len(text)} bytes cannot hold {count} headers")
        position, headers = 4, {}
        for _ in range(count):
            name, position = _text(text, position)
            value, position = _text(text, position)
            headers[name.lower()] = value.split("\0")[0]
        return headers

    # --- out ---

    def syn_stream(self, stream: int, headers: dict[str, str]) -> bytes:
        body = struct.pack(">IIH", stream, 0, 0) + self._block(headers)
        return _control_frame(SYN_STREAM, 0, body)

    def syn_reply(self, stream: int) -> bytes:
        return _control_frame(SYN_REPLY, 0, struct.pack(">I", stream) + self._block({}))

    def _block(self, headers: dict[str, str]) -> bytes:
        parts = [struct.pack(">I", len(headers))]
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                parts += [struct.pack(">I", len(text)), text]
        return self._deflate.compress(b"".join(parts)) + self._deflate.flush(zlib.Z_SYNC_FLUSH)


def data_frame(stream: int, data: bytes, *, fin: bool = False) -> bytes:
    return struct.pack(">II", stream, (FIN if fin else 0) << 24 | len(data)) + data


def rst_stream(stream: int, status: int) -> bytes:
    return _control_frame(RST_STREAM, 0, struct.pack(">II", stream, status))


def ping(number: int) -> bytes:
    return _control_frame(PING, 0, struct.pack(">I", number))


def goaway(last_stream: int) -> bytes:
    return _control_frame(GOAWAY, 0, struct.pack(">II", last_stream, 0))


def _control_frame(kind: int, flags: int, body: bytes) -> bytes:
    return struct.pack(">HHI", 0x8000 | VERSION, kind, flags << 24 | len(body)) + body


def _id(body: bytes) -> int:
    stream: int = struct.unpack_from(">I", body)[0]
    return stream & 0x7FFFFFFF


def _text(block: bytes, position: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">I", block, position)
    end = position + 4 + length
    if end > len(block):
        raise SpdyError("a header is longer than its block")
    return block[position + 4 : end].decode("utf-8", "replace"), end
