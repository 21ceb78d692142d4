"""Modbus TCP: requests, replies and their checks, over plain TCP or TLS.

Facts: Modbus application protocol V1.1b3 (functions 3, 4, 6, 16; header of 7 bytes). Sungrow's TLS port is 516.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import struct
from collections.abc import Sequence

from sungather.errors import os_reason
from sungather.registers.register import Kind
from sungather.transports.pins import Pins
from sungather.transports.transport import BrokenReply, NoReply, Refusal, Unreachable

READ_HOLDING, READ_INPUT, WRITE_ONE, WRITE_MANY = 3, 4, 6, 16
_HEADER = struct.Struct(">HHHB")
_LONGEST = 254
"""The header's length field counts unit id and at most 253 bytes of request or reply."""


def read_request(kind: Kind, address: int, count: int) -> bytes:
    """The body of a read, for a documented address."""
    return struct.pack(">BHH", READ_INPUT if kind is Kind.INPUT else READ_HOLDING, address - 1, count)


def write_request(address: int, words: Sequence[int]) -> bytes:
    """The body of a write: function 6 for one word, 16 for several."""
    if len(words) == 1:
        return struct.pack(">BHH", WRITE_ONE, address - 1, words[0])
    return struct.pack(">BHHB", WRITE_MANY, address - 1, len(words), 2 * len(words)) + struct.pack(
        f">{len(words)}H", *words
    )


def check_reply(request: bytes, reply: bytes) -> bytes:
    """The reply's payload after the function byte; Refusal or BrokenReply when it is not the answer."""
    if not reply:
        raise BrokenReply("empty reply")
    if reply[0] == request[0] | 0x80:
        if len(reply) != 2:
            raise BrokenReply(f"exception reply of {len(reply)} bytes instead of 2")
        raise Refusal(reply[1])
    if reply[0] != request[0]:
        raise BrokenReply(f"reply to function {reply[0]}, asked function {request[0]}")
    return reply[1:]


def words_from_reply(payload: bytes, count: int) -> tuple[int, ...]:
    """The words of a read reply, after the function byte."""
    if not payload or payload[0] != 2 * count or len(payload) != 1 + 2 * count:
        size = (len(payload) - 1) // 2 if payload else 0
        raise BrokenReply(f"reply has {size} words, asked for {count}")
    return struct.unpack(f">{count}H", payload[1:])


class ModbusTcp:
    """Plain Modbus TCP, or inside TLS when a context is given."""

    max_words = 125

    def __init__(
        self,
        host: str,
        port: int,
        *,
        unit: int,
        timeout: float,
        tls: ssl.SSLContext | None = None,
        pins: Pins | None = None,
    ) -> None:
        self.name = f"{'tls' if tls else 'modbus'}://{host}:{port}"
        self._host, self._port, self._unit, self._timeout = host, port, unit, timeout
        self._tls, self._pins = tls, pins
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._transaction = 0

    async def open(self) -> None:
        await self.close()
        self._reader, self._writer = await connect(self._host, self._port, self._timeout, self._tls)
        if self._tls and self._pins:
            certificate = self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            try:
                self._pins.check(self.name, hashlib.sha256(certificate).hexdigest())
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        writer, self._reader, self._writer = self._writer, None, None
        await end(writer)

    async def read(self, kind: Kind, address: int, count: int) -> Sequence[int]:
        return words_from_reply(await self._ask(read_request(kind, address, count)), count)

    async def write(self, address: int, words: Sequence[int]) -> None:
        request = write_request(address, words)
        if await self._ask(request) != request[1:5]:
            raise BrokenReply("write was confirmed with another address or value")

    async def _ask(self, request: bytes) -> bytes:
        if self._reader is None or self._writer is None:
            raise Unreachable("no open session")
        self._transaction = (self._transaction + 1) & 0xFFFF
        frame = _HEADER.pack(self._transaction, 0, len(request) + 1, self._unit) + request
        try:
            async with asyncio.timeout(self._timeout):
                self._writer.write(frame)  # a dozen bytes: the reply is what is waited for
                reply = await self._receive(self._reader)
        except TimeoutError:
            raise NoReply(f"no complete reply within {self._timeout:g} s") from None
        except asyncio.IncompleteReadError as error:
            raise BrokenReply(f"connection ended after {len(error.partial)} bytes of a reply") from error
        except OSError as error:
            raise BrokenReply(f"connection lost: {error}") from error
        return check_reply(request, reply)

    async def _receive(self, reader: asyncio.StreamReader) -> bytes:
        transaction, protocol, length, unit = _HEADER.unpack(await reader.readexactly(7))
        if protocol != 0 or not 2 <= length <= _LONGEST:
            raise BrokenReply(f"not a Modbus TCP reply (protocol {protocol}, length {length})")
        if transaction != self._transaction:
            raise BrokenReply(f"reply to request {transaction}, asked {self._transaction}")
        if unit != self._unit:
            raise BrokenReply(f"reply from unit {unit}, asked unit {self._unit}")
        return await reader.readexactly(length - 1)


async def connect(
    host: str, port: int, timeout: float, tls: ssl.SSLContext | None = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TCP (or TLS) connection, or Unreachable with the reason."""
    try:
        async with asyncio.timeout(timeout):
            return await asyncio.open_connection(host, port, ssl=tls)
    except TimeoutError:
        raise Unreachable(f"{host}:{port} did not accept a connection within {timeout:g} s") from None
    except ssl.SSLError as error:
        raise Unreachable(f"{host}:{port}: TLS handshake failed: {error.reason}") from error
    except OSError as error:
        raise Unreachable(f"{host}:{port}: {os_reason(error)}") from error


async def end(writer: asyncio.StreamWriter | None) -> None:
    """Close without waiting for the other side's goodwill."""
    if writer is None:
        return
    writer.close()
    try:
        async with asyncio.timeout(0.5):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()
