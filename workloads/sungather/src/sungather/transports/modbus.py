"""Modbus TCP: requests, replies and their checks, over plain TCP or TLS.

Facts: Modbus application protocol V1.1b3 (functions 3, 4, 6, 16; header of 7 bytes). Sungrow's TLS port is 516.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import struct
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sungather.errors import os_reason
from sungather.registers.register import Kind
from sungather.transports.pins import Pins
from sungather.transports.transport import (
    Asked,
    BrokenReply,
    NoReply,
    NotTls,
    Outcome,
    Refusal,
    TransportError,
    UnknownHost,
    Unreachable,
)

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

    A scan is a dozen small questions. They are asked from here, each as soon as the one before is answered, because
    waking a task in between would cost as much as the question.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._frames: Sequence[bytes] = ()
        self._answers: list[bytes] = []
        self._timeout = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._done: asyncio.Future[TransportError | None] | None = None
        self._ended: TransportError | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()

    async def converse(
        self, frames: Sequence[bytes], timeout: float
    ) -> tuple[list[bytes], TransportError | None]:
        """Ask frame after frame; what answered them (without header), and what ended the session if it did."""
        if self._ended is not None:
            return [], self._ended
        if self._received:
            return [], BrokenReply(f"{len(self._received)} bytes that nobody asked for")
        self._frames, self._answers, self._timeout = frames, [], timeout
        self._done = self._loop.create_future()
        try:
            self._ask_next()
            return self._answers, await self._done
        finally:
            self._rest()
            self._done = None

    def _ask_next(self) -> None:
        assert self._transport is not None
        self._alarm = self._loop.call_later(self._timeout, self._late)
        self._transport.write(self._frames[len(self._answers)])

    def _late(self) -> None:
        self._finish(NoReply(f"no complete reply within {self._timeout:g} s"))

    def _rest(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _finish(self, error: TransportError | None) -> None:
        self._rest()
        if self._done is not None and not self._done.done():
            self._done.set_result(error)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if len(received) < 7 or self._done is None or self._done.done():
            return
        transaction, protocol, length, unit = _HEADER.unpack_from(received)
        asked, _, _, asked_unit = _HEADER.unpack_from(self._frames[len(self._answers)])
        if protocol != 0 or not 2 <= length <= _LONGEST:
            self._finish(BrokenReply(f"not a Modbus TCP reply (protocol {protocol}, length {length})"))
        elif transaction != asked:
            self._finish(BrokenReply(f"reply to request {transaction}, asked {asked}"))
        elif unit != asked_unit:
            self._finish(BrokenReply(f"reply from unit {unit}, asked unit {asked_unit}"))
        elif len(received) >= 6 + length:
            self._rest()
            self._answers.append(bytes(received[7 : 6 + length]))
            del received[: 6 + length]
            if len(self._answers) == len(self._frames):
                self._finish(None)
            elif received:
                self._finish(BrokenReply(f"{len(received)} bytes that nobody asked for"))
            else:
                self._ask_next()

    def connection_lost(self, error: Exception | None) -> None:
        told = f"connection ended after {len(self._received)} bytes of a reply"
        self._ended = BrokenReply(f"connection lost: {error}" if error else told)
        self._finish(self._ended)
        if not self._closed.done():
            self._closed.set_result(None)

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

    async def read_all(self, asked: Sequence[Asked]) -> list[Outcome]:
        requests = [read_request(*read) for read in asked]
        payloads, ended = await self._converse(requests)
        outcomes: list[Outcome] = []
        for request, payload, (_, _, count) in zip(requests, payloads, asked, strict=False):
            try:
                outcomes.append(words_from_reply(check_reply(request, payload), count))
            except Refusal as refusal:
                outcomes.append(refusal)
            except BrokenReply as error:
                return [*outcomes, error]
        return [*outcomes, ended] if ended else outcomes

    async def _ask(self, request: bytes) -> bytes:
        payloads, ended = await self._converse([request])
        if ended is not None:
            raise ended
        return check_reply(request, payloads[0])

    async def _converse(self, requests: Sequence[bytes]) -> tuple[list[bytes], TransportError | None]:
        if self._link is None:
            return [], Unreachable("no open session")
        frames = []
        for request in requests:
            self._transaction = (self._transaction + 1) & 0xFFFF
            frames.append(_HEADER.pack(self._transaction, 0, len(request) + 1, self._unit) + request)
        return await self._link.converse(frames, self._timeout)


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
    except socket.gaierror as error:
        raise UnknownHost(f"{host}: {os_reason(error)}") from error
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
