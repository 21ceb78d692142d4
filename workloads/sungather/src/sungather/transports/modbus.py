"""Modbus TCP: requests, replies and their checks, over plain TCP or TLS.

Facts: Modbus application protocol V1.1b3 (functions 3, 4, 6, 16; header of 7 bytes). Sungrow's TLS port is 516.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sungather.errors import os_reason
from sungather.registers.register import Kind
from sungather.transports.pins import Pins
from sungather.transports.transport import BrokenReply, NoReply, NotTls, Refusal, TransportError, Unreachable

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


class Questions(ABC):
    """Reads and writes, for whatever can carry a request there and the payload of its reply back."""

    @abstractmethod
    async def _ask(self, request: bytes) -> bytes: ...

    async def read(self, kind: Kind, address: int, count: int) -> Sequence[int]:
        return words_from_reply(await self._ask(read_request(kind, address, count)), count)

    async def write(self, address: int, words: Sequence[int]) -> None:
        request = write_request(address, words)
        if await self._ask(request) != request[1:5]:
            raise BrokenReply("write was confirmed with another address or value")


class Link(asyncio.Protocol):
    """The bytes of one connection: one request under way at a time, and the frame that answers it.

    A protocol of its own instead of asyncio's streams: a scan is a dozen small questions, and each costs a third less.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._waiting: asyncio.Future[bytes] | None = None
        self._ended: BrokenReply | None = None
        self._closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) < 7 or self._waiting is None or self._waiting.done():
            return
        _, protocol, length, _ = _HEADER.unpack_from(self._received)
        if protocol != 0 or not 2 <= length <= _LONGEST:
            self._fail(BrokenReply(f"not a Modbus TCP reply (protocol {protocol}, length {length})"))
        elif len(self._received) >= 6 + length:
            frame = bytes(self._received[: 6 + length])
            del self._received[: 6 + length]
            self._waiting.set_result(frame)

    def connection_lost(self, error: Exception | None) -> None:
        told = f"connection ended after {len(self._received)} bytes of a reply"
        self._ended = BrokenReply(f"connection lost: {error}" if error else told)
        self._fail(self._ended)
        if not self._closed.done():
            self._closed.set_result(None)

    def _fail(self, error: TransportError) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)

    async def ask(self, frame: bytes, timeout: float) -> bytes:
        """Send a frame; the next whole frame that comes."""
        if self._ended is not None or self._transport is None:
            raise self._ended or Unreachable("no open session")
        if self._received:
            raise BrokenReply(f"{len(self._received)} bytes that nobody asked for")
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        late = NoReply(f"no complete reply within {timeout:g} s")
        alarm = loop.call_later(timeout, self._fail, late)
        try:
            self._transport.write(frame)
            return await self._waiting
        finally:
            alarm.cancel()
            self._waiting = None

    def certificate(self) -> bytes:
        """The other side's certificate, when this is TLS."""
        assert self._transport is not None
        found: bytes = self._transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return found

    async def close(self) -> None:
        """Close without waiting for the other side's goodwill."""
        if self._transport is None or self._closed.done():
            return
        self._transport.close()
        try:
            async with asyncio.timeout(0.5):
                await asyncio.shield(self._closed)
        except TimeoutError:
            self._transport.abort()


class ModbusTcp(Questions):
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
        self._link: Link | None = None
        self._transaction = 0

    async def open(self) -> None:
        await self.close()
        async with reaching(self._host, self._port, self._timeout):
            loop = asyncio.get_running_loop()
            _, self._link = await loop.create_connection(Link, self._host, self._port, ssl=self._tls)
        if self._tls and self._pins:
            try:
                self._pins.check(self.name, hashlib.sha256(self._link.certificate()).hexdigest())
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _ask(self, request: bytes) -> bytes:
        if self._link is None:
            raise Unreachable("no open session")
        self._transaction = (self._transaction + 1) & 0xFFFF
        frame = _HEADER.pack(self._transaction, 0, len(request) + 1, self._unit) + request
        reply = await self._link.ask(frame, self._timeout)
        transaction, _, _, unit = _HEADER.unpack_from(reply)
        if transaction != self._transaction:
            raise BrokenReply(f"reply to request {transaction}, asked {self._transaction}")
        if unit != self._unit:
            raise BrokenReply(f"reply from unit {unit}, asked unit {self._unit}")
        return check_reply(request, reply[7:])


@asynccontextmanager
async def reaching(host: str, port: int, timeout: float) -> AsyncIterator[None]:
    """What goes wrong while connecting, as Unreachable with the reason."""
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError:
        raise Unreachable(f"{host}:{port} did not accept a connection within {timeout:g} s") from None
    except ssl.SSLError as error:
        raise NotTls(f"{host}:{port}: TLS handshake failed: {error.reason}") from error
    except OSError as error:
        raise Unreachable(f"{host}:{port}: {os_reason(error)}") from error


async def connect(host: str, port: int, timeout: float) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TCP connection as streams, or Unreachable with the reason."""
    async with reaching(host, port, timeout):
        return await asyncio.open_connection(host, port)


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
