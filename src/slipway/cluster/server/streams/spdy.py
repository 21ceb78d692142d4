"""A SPDY/3.1 connection as a server sees it: streams that the client opens, over any Duplex."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from slipway.cluster.exchange import Duplex
from slipway.cluster.server.streams import spdy_frames as frames

MAX_STREAMS = 1024
BUFFERED = 1024 * 1024  # unread bytes of one stream before the whole connection waits


class SpdyStream:
    """One stream. `read` gives b"" when the client has closed its half, and raises ConnectionError after a reset."""

    def __init__(self, connection: SpdyConnection, number: int, headers: dict[str, str]) -> None:
        self.headers = headers
        self._connection = connection
        self._number = number
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._changed = asyncio.Event()
        self._remote_closed = False
        self._local_closed = False
        self._reset = False

    def feed(self, data: bytes, fin: bool) -> None:
        if data:
            self._chunks.append(data)
            self._size += len(data)
        self._remote_closed = self._remote_closed or fin
        self._changed.set()

    @property
    def full(self) -> bool:
        return self._size > BUFFERED

    @property
    def done(self) -> bool:
        """Closed both ways."""
        return self._remote_closed and self._local_closed

    def end(self) -> None:
        """The client has reset this stream, or gone."""
        self._remote_closed = self._local_closed = self._reset = True
        self._changed.set()

    async def read(self) -> bytes:
        while not self._chunks:
            if self._reset:
                raise ConnectionResetError("the stream has been reset")
            if self._remote_closed:
                return b""
            self._changed.clear()
            await self._changed.wait()
        data = self._chunks.popleft()
        self._size -= len(data)
        self._connection.taken()
        return data

    async def write(self, data: bytes) -> None:
        """Send; ConnectionError when the stream or the connection has ended."""
        for start in range(0, len(data), frames.MAX_DATA):
            if self._local_closed:
                raise ConnectionResetError("the stream is closed")
            await self._connection.send(
                frames.data_frame(self._number, data[start : start + frames.MAX_DATA])
            )

    async def close(self) -> None:
        """Close our half."""
        if not self._local_closed:
            self._local_closed = True
            await self._connection.send(frames.data_frame(self._number, b"", fin=True))
        if self.done:
            self._connection.forget(self._number)


class SpdyConnection:
    """`on_stream` is called with each stream that the client opens; `run` ends when the client has gone."""

    def __init__(self, duplex: Duplex, on_stream: Callable[[SpdyStream], None]) -> None:
        self._duplex = duplex
        self._on_stream = on_stream
        self._framing = frames.SpdyFraming()
        self._streams: dict[int, SpdyStream] = {}
        self._last = 0
        self._room = asyncio.Event()

    async def run(self) -> None:
        try:
            while data := await self._duplex.read():
                for frame in self._framing.receive(data):
                    if frame.kind == frames.GOAWAY:
                        return
                    await self._take(frame)
                while any(stream.full for stream in self._streams.values()):
                    self._room.clear()
                    await self._room.wait()
        except (frames.SpdyError, ConnectionError):
            return
        finally:
            for stream in list(self._streams.values()):
                stream.end()
            self._streams.clear()

    async def _take(self, frame: frames.Frame) -> None:
        stream = self._streams.get(frame.stream)
        match frame.kind:
            case 0:
                if stream is None:
                    await self.send(frames.rst_stream(frame.stream, frames.INVALID_STREAM))
                else:
                    stream.feed(frame.data, frame.fin)
            case frames.SYN_STREAM:
                await self._open(frame)
            case frames.RST_STREAM if stream is not None:
                stream.end()
                self.forget(frame.stream)
            case frames.HEADERS if stream is not None:
                stream.feed(b"", frame.fin)
            case frames.PING if frame.number % 2:  # the client's are odd
                await self.send(frames.ping(frame.number))

    async def _open(self, frame: frames.Frame) -> None:
        if frame.stream <= self._last or frame.stream % 2 == 0:
            raise frames.SpdyError(f"stream {frame.stream} cannot be opened after {self._last}")
        self._last = frame.stream
        if len(self._streams) >= MAX_STREAMS:
            await self.send(frames.rst_stream(frame.stream, frames.REFUSED_STREAM))
            return
        stream = SpdyStream(self, frame.stream, frame.headers)
        self._streams[frame.stream] = stream
        await self.send(self._framing.syn_reply(frame.stream))
        if frame.fin:
            stream.feed(b"", True)
        self._on_stream(stream)

    async def send(self, data: bytes) -> None:
        await self._duplex.write(data)

    def taken(self) -> None:
        self._room.set()

    def forget(self, number: int) -> None:
        self._streams.pop(number, None)
        self._room.set()

    async def close(self) -> None:
        try:
            await self.send(frames.goaway(self._last))
        except ConnectionError:
            pass
        await self._duplex.close()
