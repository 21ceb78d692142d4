"""Bytes from and to file descriptors of processes, and the exec and attach sessions made of them."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import termios
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable

_CHUNK = 64 * 1024
_MOST_WAITING = 1024 * 1024  # bytes that a slow reader may leave before the process is held up


class Flow:
    """Bytes on their way to one reader. `full` says that the writer should wait."""

    def __init__(self, drained: Callable[[], None] = lambda: None) -> None:
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._ended = False
        self._more = asyncio.Event()
        self._drained = drained

    @property
    def full(self) -> bool:
        return self._size >= _MOST_WAITING

    def feed(self, data: bytes) -> None:
        self._chunks.append(data)
        self._size += len(data)
        self._more.set()

    def end(self) -> None:
        self._ended = True
        self._more.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._chunks:
                data = self._chunks.popleft()
                was_full = self.full
                self._size -= len(data)
                if was_full and not self.full:
                    self._drained()
                yield data
            if self._ended:
                return
            self._more.clear()
            await self._more.wait()


class Source:
    """Reads a descriptor as data comes and hands it on; closes it at its end. `wait` waits for that."""

    def __init__(self, descriptor: int, take: Callable[[bytes], None]) -> None:
        self._descriptor = descriptor
        self._take = take
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._reading = False
        os.set_blocking(descriptor, False)
        self.resume()

    def pause(self) -> None:
        if self._reading:
            self._loop.remove_reader(self._descriptor)
            self._reading = False

    def resume(self) -> None:
        if not self._reading and not self._ended.is_set():
            self._loop.add_reader(self._descriptor, self._read)
            self._reading = True

    def _read(self) -> None:
        try:
            data = os.read(self._descriptor, _CHUNK)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.EIO:  # a pseudo-terminal whose other end is closed
                self.close()
                return
            data = b""
        if data:
            self._take(data)
        else:
            self.close()

    def close(self) -> None:
        if not self._ended.is_set():
            self.pause()
            self._ended.set()
            os.close(self._descriptor)

    async def wait(self) -> None:
        await self._ended.wait()


class Sink:
    """Writes to a descriptor, waiting while the other end is slow; a closed other end swallows everything."""

    def __init__(self, descriptor: int, *, owned: bool = True) -> None:
        self._descriptor: int | None = descriptor
        self._owned = owned
        os.set_blocking(descriptor, False)

    async def write(self, data: bytes) -> None:
        while data and self._descriptor is not None:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                await self._writable(self._descriptor)
            except OSError:
                self.close()

    async def _writable(self, descriptor: int) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        loop.add_writer(descriptor, _settle, ready)
        try:
            await ready
        finally:
            loop.remove_writer(descriptor)

    def close(self) -> None:
        if self._descriptor is not None:
            if self._owned:
                with contextlib.suppress(OSError):
                    os.close(self._descriptor)
            self._descriptor = None


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def set_window(descriptor: int, columns: int, rows: int) -> None:
    """Tell a pseudo-terminal its size; the process in it hears of it by SIGWINCH."""
    with contextlib.suppress(OSError):
        fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


class LocalSession:
    """An exec or attach of a local process. With `input_over`, stdin is not this session's to close: that is called
    when the client has nothing more to say."""

    def __init__(
        self,
        out: Flow,
        err: Flow,
        stdin: Sink | None,
        exit_code: Awaitable[int],
        abandon: Callable[[], Awaitable[None]],
        terminal: int | None = None,
        end_of_input: bytes = b"",
        input_over: Callable[[], None] | None = None,
    ) -> None:
        self._out = out
        self._err = err
        self._stdin = stdin
        self._exit_code = asyncio.ensure_future(exit_code)
        self._abandon = abandon
        self._terminal = terminal
        self._end_of_input = end_of_input
        self._input_over = input_over

    def stdout(self) -> AsyncIterator[bytes]:
        return self._out.__aiter__()

    def stderr(self) -> AsyncIterator[bytes]:
        return self._err.__aiter__()

    async def write_stdin(self, data: bytes) -> None:
        if self._stdin is not None:
            await self._stdin.write(data)

    async def close_stdin(self) -> None:
        if self._input_over is not None:
            self._input_over()
        elif self._stdin is not None:
            if self._end_of_input:
                await self._stdin.write(self._end_of_input)
            self._stdin.close()

    async def resize(self, columns: int, rows: int) -> None:
        if self._terminal is not None:
            set_window(self._terminal, columns, rows)

    async def wait(self) -> int:
        return await asyncio.shield(self._exit_code)

    async def abandon(self) -> None:
        await self._abandon()


class SocketDuplex:
    """A connected, non-blocking socket as a Duplex."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        try:
            return await self._reader.read(_CHUNK)
        except ConnectionError:
            return b""

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()
