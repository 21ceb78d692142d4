"""Modbus TCP, plain or inside TLS (Sungrow's port 516)."""

from __future__ import annotations

import asyncio
import ssl
import struct

from sungrow_simulator.wire.listener import Listener, RegisterState

HEADER = struct.Struct(">HHHB")
"""Transaction id, protocol id (0), length of what follows, unit id."""
LONGEST = 254
"""Unit id and at most 253 bytes of request or reply."""


def frame(transaction: int, unit: int, body: bytes) -> bytes:
    """A whole frame around a request or reply."""
    return HEADER.pack(transaction, 0, len(body) + 1, unit) + body


class ModbusTcp(Listener):
    """Answers frames in the order of their arrival, also when several come at once (pipelining)."""

    def __init__(
        self, state: RegisterState, *, connections: int = 4, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(connections=connections, tls=tls)
        self._state = state

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            transaction, protocol, length, unit = HEADER.unpack(await reader.readexactly(HEADER.size))
            if protocol != 0 or not 2 <= length <= LONGEST:
                return  # the stream cannot be followed any further: the connection ends, as on real devices
            reply = self.answer(unit, await reader.readexactly(length - 1))
            if reply is not None:
                writer.write(frame(transaction, unit, reply))
                await writer.drain()

    def answer(self, unit: int, request: bytes) -> bytes | None:
        """What the registers say."""
        return self._state.answer(unit, request)
