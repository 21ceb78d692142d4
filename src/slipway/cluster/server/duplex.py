"""A connection after its upgrade: raw bytes both ways, reading paused while nobody takes them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

BUFFERED = 256 * 1024  # bytes kept unread before we stop reading from the socket


class ConnectionDuplex:
    """The `Duplex` of an upgraded HTTP connection; connection.py feeds it."""

    def __init__(self, transport: asyncio.Transport, drain: Callable[[], Awaitable[None]]) -> None:
        self._transport = transport
        self._drain = drain
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._reader: asyncio.Future[None] | None = None

    def feed(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        if self._size > BUFFERED and not self._transport.is_closing():
            self._transport.pause_reading()
        self._wake()

    def feed_eof(self) -> None:
        self._ended = True
        self._wake()

    def lost(self) -> None:
        self.feed_eof()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    async def read(self) -> bytes:
        while not self._chunks:
            if self._ended:
                return b""
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        paused, self._size = self._size > BUFFERED, 0
        if paused and not self._transport.is_closing():
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("the connection is closed")
        self._transport.write(data)
        await self._drain()

    async def close(self) -> None:
        self._ended = True
        self._wake()
        if not self._transport.is_closing():
            self._transport.close()
