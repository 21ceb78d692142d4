"""Modbus TCP as the "sungrow" connection has it: frames inside AES-128-ECB under a key that changes every day.

A client fetches the key with a plain read of eight words from unit 247 and then connects again: the inverter ends
the connection that fetched it. An inverter may offer no key (all 0 or all FF); frames are then plain. A frame is four
bytes (1, 0, length, padding) and the encrypted rest, in which 68 68 stands for the transaction id. The length has one
byte, so that a reply holds at most 123 words.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from datetime import date

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sungrow_simulator.faults import Fault, Faults
from sungrow_simulator.wire.answers import ILLEGAL_VALUE, refusal
from sungrow_simulator.wire.listener import RegisterState
from sungrow_simulator.wire.modbus import HEADER, ModbusTcp, frame

MARK = 0x6868
KEY_UNIT, KEY_REQUEST = 247, bytes.fromhex("040ae70008")
KEY_FRAME = frame(MARK, KEY_UNIT, KEY_REQUEST)
SECRET = b"Grow#0*2Sun68CbE"
"""Known to every client, and to this side: what is offered XOR this is the key."""
MOST_WORDS = 123
NO_KEY = {"zeros": b"\0" * 16, "ones": b"\xff" * 16}


class Envelope:
    """Opens and closes the encrypted frames of one day."""

    def __init__(self, offered: bytes) -> None:
        key = bytes(a ^ b for a, b in zip(offered, SECRET, strict=True))
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())

    def open(self, length: int, body: bytes) -> bytes:
        """The frame inside; nothing when it was closed with another day's key."""
        opener = self._cipher.decryptor()
        inner = (opener.update(body) + opener.finalize())[:length]
        return inner if inner[:2] == MARK.to_bytes(2, "big") else b""

    def close(self, inner: bytes) -> bytes:
        """The whole encrypted frame."""
        padding = 16 - len(inner) % 16
        closer = self._cipher.encryptor()
        body = closer.update(inner + b"\xff" * padding) + closer.finalize()
        return bytes((1, 0, len(inner), padding)) + body


class EncryptedModbus(ModbusTcp):
    """`day` is the inverter's own date: the key changes at its midnight. `offer` is key, zeros or ones."""

    def __init__(
        self,
        state: RegisterState,
        faults: Faults,
        *,
        day: Callable[[], date],
        serial: str,
        offer: str = "key",
        connections: int = 4,
    ) -> None:
        super().__init__(state, faults, name="sungrow", connections=connections)
        self._day, self._serial = day, serial
        self._instead = NO_KEY.get(offer)

    @property
    def encrypts(self) -> bool:
        return self._instead is None

    def offered(self) -> bytes:
        """The sixteen bytes that the inverter gives away today."""
        if self._instead is not None:
            return self._instead
        return hashlib.sha256(f"{self._serial} {self._day().isoformat()}".encode()).digest()[:16]

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        going_on = True
        while going_on:
            start = await reader.readexactly(4)
            if not self.encrypts:
                going_on = await self.plain(start, reader, writer)
            elif start[:2] == b"\1\0":
                going_on = await self._encrypted(start[2], start[3], reader, writer)
            else:
                going_on = start == KEY_FRAME[:4] and await self._key(reader, writer)

    def answer(self, unit: int, request: bytes) -> bytes | None:
        if unit == KEY_UNIT and request == KEY_REQUEST:
            self.faults.counters["keys"] += 1
            return b"\x04\x10" + self.offered()
        if self.encrypts and request[0] in (3, 4) and int.from_bytes(request[3:], "big") > MOST_WORDS:
            return refusal(request[0], ILLEGAL_VALUE)
        return super().answer(unit, request)

    async def _key(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """The rest of the one plain frame that an encrypting inverter takes; the answer ends the connection."""
        if await reader.readexactly(len(KEY_FRAME) - 4) != KEY_FRAME[4:]:
            return False
        fault = await self.exchange(writer, MARK, KEY_UNIT, KEY_REQUEST)
        return fault in (Fault.SILENT, Fault.HALF)  # such a client waits for the rest

    async def _encrypted(
        self, length: int, padding: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if (length + padding) % 16 or length < HEADER.size + 1:
            return False
        envelope = Envelope(self.offered())
        inner = envelope.open(length, await reader.readexactly(length + padding))
        if not inner:
            return False
        await self.exchange(writer, MARK, inner[6], inner[7:], envelope.close)
        return True
