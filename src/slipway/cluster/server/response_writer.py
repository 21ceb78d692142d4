"""Answers onto one connection: heads, bodies, streams of chunks, never faster than the client reads.

Large bodies go in slices, streams chunk by chunk, and both wait while the transport has enough: a slow reader costs
one chunk and the transport's buffer, never more. Small chunks that come together are sent together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import lru_cache

from slipway.cluster.exchange import Request, Response
from slipway.cluster.server.compression import accepts_gzip, gzip
from slipway.cluster.server.wire import GZIP_THRESHOLD, LAST_CHUNK, encode_head

WRITE_BUFFER = 64 * 1024  # bytes that wait for a slow reader, whatever the size of what is written
_WITHOUT_BODY = (204, 304)


class ResponseWriter:
    """`gathers` is told when there are chunks that `flush` is to send once this turn of the loop is over.

    Waiting ends with ConnectionResetError when the client goes (`lose`).
    """

    __slots__ = (
        "_chunked",
        "_gathered",
        "_gathered_size",
        "_gathers",
        "_lost",
        "_paused",
        "_sized",
        "_transport",
        "_writable",
    )

    def __init__(self, transport: asyncio.Transport, gathers: Callable[[ResponseWriter], None]) -> None:
        transport.set_write_buffer_limits(high=WRITE_BUFFER)
        self._transport = transport
        self._gathers = gathers
        self._gathered: list[bytes] = []
        self._gathered_size = 0
        self._chunked = True  # of the stream that is being written
        self._sized = False
        self._writable: asyncio.Future[None] | None = None
        self._paused = False
        self._lost = False

    # What the transport says.

    def pause(self) -> None:
        self._paused = True

    def resume(self) -> None:
        self._paused = False
        self._wake()

    def lose(self) -> None:
        self._lost = True
        self._wake()

    def _wake(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)

    async def drain(self) -> None:
        """Wait until the transport takes bytes again."""
        while self._paused and not self._lost:
            self._writable = asyncio.get_running_loop().create_future()
            try:
                await self._writable
            finally:
                self._writable = None
        if self._lost:
            raise ConnectionResetError("the client has gone")

    # Answers; `framing` is the line about the connection, if it needs one.

    async def write(self, request: Request, response: Response, body: bytes, framing: str) -> None:
        """An answer whose body is there."""
        headers = response.headers
        if len(body) > GZIP_THRESHOLD and accepts_gzip(request) and "Content-Encoding" not in headers:
            body = await gzip(body)
            headers = {**headers, "Content-Encoding": "gzip", "Vary": "Accept-Encoding"}
        if response.status not in _WITHOUT_BODY:
            framing += f"Content-Length: {len(body)}\r\n"
        head = encode_head(response, headers, framing)
        if request.method == "HEAD" or response.status in _WITHOUT_BODY:
            body = b""
        if len(body) < WRITE_BUFFER:
            self._transport.write(head + body)
            if self._paused:
                await self.drain()
        else:
            self._transport.write(head)
            await self._write_large(body)

    def begin_stream(self, response: Response, framing: str, *, chunked: bool) -> None:
        """The head of an answer whose body comes in pieces. It ends with its `content-length` where it has one, else with
        the last chunk, and without `chunked` with the connection."""
        self._sized = "content-length" in response.headers
        self._chunked = chunked and not self._sized
        if self._chunked:
            framing = "Transfer-Encoding: chunked\r\n" + framing
        elif not self._sized:
            framing = "Connection: close\r\n"
        self._transport.write(encode_head(response, response.headers, framing))

    async def stream(self, body: AsyncIterator[bytes]) -> None:
        """The chunks as they come."""
        write = self._transport.write
        async for chunk in body:
            if not chunk:
                continue
            if len(chunk) < WRITE_BUFFER:
                self._gather(chunk)
                if self._paused:
                    await self.drain()
            else:
                self.flush()
                write(b"%x\r\n" % len(chunk) if self._chunked else b"")
                await self._write_large(chunk)
                write(b"\r\n" if self._chunked else b"")
            if self._lost:
                raise ConnectionResetError("the client has gone")

    def take(self, chunk: bytes) -> bool:
        """As `exchange.Sink` has it: between two chunks of `stream`, by who has the next one."""
        if self._paused or self._lost:
            return False
        self.flush()
        self._transport.write(_framed(chunk) if self._chunked else chunk)
        return True

    def end_stream(self) -> None:
        self.flush()
        if self._chunked:
            self._transport.write(LAST_CHUNK)
        elif not self._sized:
            self._transport.close()

    def _gather(self, chunk: bytes) -> None:
        """Keep small chunks until the iterator has to wait: events that come together are sent together."""
        if not self._gathered:
            self._gathers(self)
        self._gathered.append(_framed(chunk) if self._chunked else chunk)
        self._gathered_size += len(chunk)
        if self._gathered_size >= WRITE_BUFFER:
            self.flush()

    def flush(self) -> None:
        """Send what was gathered."""
        if not self._gathered:
            return
        if not self._lost:
            self._transport.write(b"".join(self._gathered))
        self._gathered.clear()
        self._gathered_size = 0

    async def _write_large(self, data: bytes) -> None:
        """In slices: the transport copies what it cannot send at once, and watchers share the bytes of an event."""
        view = memoryview(data)
        for start in range(0, len(view), WRITE_BUFFER):
            self._transport.write(view[start : start + WRITE_BUFFER])
            if self._paused:
                await self.drain()


@lru_cache(maxsize=4)  # a thousand watchers are given the same bytes one after the other
def _framed(chunk: bytes) -> bytes:
    """As a chunk of HTTP/1.1."""
    return b"%x\r\n%b\r\n" % (len(chunk), chunk)
