"""Modbus TCP, plain or inside TLS (Sungrow's port 516)."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

from sungrow_simulator.faults import Fault, Faults
from sungrow_simulator.wire.certificate import Certificate
from sungrow_simulator.wire.listener import Listener, RegisterState
from sungrow_simulator.wire.spoiling import ON_BYTES, ON_FRAME, ON_REPLY, send, spoiled_frame, spoiled_reply

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
        self,
        state: RegisterState,
        faults: Faults,
        *,
        name: str = "modbus",
        connections: int = 4,
        certificate: Certificate | None = None,
    ) -> None:
        super().__init__(name, faults, connections=connections, certificate=certificate)
        self._state = state

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await self.plain(b"", reader, writer):
            pass

    async def plain(self, start: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One plain frame whose first bytes may be here already; False when the stream cannot be followed."""
        header = start + await reader.readexactly(HEADER.size - len(start))
        transaction, protocol, length, unit = HEADER.unpack(header)
        if protocol != 0 or not 2 <= length <= LONGEST:
            return False
        await self.exchange(writer, transaction, unit, await reader.readexactly(length - 1))
        return True

    async def exchange(
        self,
        writer: asyncio.StreamWriter,
        transaction: int,
        unit: int,
        request: bytes,
        seal: Callable[[bytes], bytes] = bytes,
    ) -> Fault | None:
        """Answer one request, or spoil the answer as the schedule says; `seal` is what goes around the frame."""
        fault = self.faults.on_request(self.name, request[0], ON_BYTES | ON_REPLY | ON_FRAME)
        reply = spoiled_reply(fault, request, lambda: self.answer(unit, request))
        if reply is not None:
            await send(fault, writer, seal(spoiled_frame(fault, frame(transaction, unit, reply))))
        return fault

    def answer(self, unit: int, request: bytes) -> bytes | None:
        """What the registers say."""
        return self._state.answer(unit, request)
