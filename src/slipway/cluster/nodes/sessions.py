"""exec and attach: a process's streams as `kubelet.Session`, with or without a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import shutil
import signal
import struct
import termios
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from slipway.cluster.kubelet import Session, StreamError


class ProcessSession:
    """Output that is fed in, input that is written out; `wait` gives the exit code."""

    def __init__(
        self, stdin: asyncio.StreamWriter | None, wait: Callable[[], Awaitable[int]], pid: int | None = None
    ) -> None:
        self._stdin = stdin
        self._wait = wait
        self._pid = pid  # of a process that belongs to this session alone
        self._queues: dict[str, asyncio.Queue[bytes]] = {
            "stdout": asyncio.Queue(),
            "stderr": asyncio.Queue(),
        }
        self._ended: list[Callable[[], object]] = []

    def feed(self, stream: str, data: bytes) -> None:
        self._queues[stream].put_nowait(data)

    def feed_end(self) -> None:
        for queue in self._queues.values():
            queue.put_nowait(b"")

    def on_end(self, callback: Callable[[], object]) -> None:
        self._ended.append(callback)

    async def _stream(self, name: str) -> AsyncIterator[bytes]:
        while data := await self._queues[name].get():
            yield data

    def stdout(self) -> AsyncIterator[bytes]:
        return self._stream("stdout")

    def stderr(self) -> AsyncIterator[bytes]:
        return self._stream("stderr")

    async def write_stdin(self, data: bytes) -> None:
        if self._stdin is not None:
            self._stdin.write(data)
            await self._stdin.drain()

    async def close_stdin(self) -> None:
        if self._stdin is not None:
            self._stdin.close()

    async def resize(self, columns: int, rows: int) -> None:
        return None

    async def wait(self) -> int:
        return await self._wait()

    async def abandon(self) -> None:
        for callback in self._ended:
            callback()
        if self._pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)


class TerminalSession(ProcessSession):
    """The same through a pseudo-terminal, whose other end is `master`."""

    def __init__(self, master: int, wait: Callable[[], Awaitable[int]], pid: int) -> None:
        super().__init__(None, wait, pid)
        self._master = master

    async def write_stdin(self, data: bytes) -> None:
        await asyncio.get_running_loop().run_in_executor(None, os.write, self._master, data)

    async def close_stdin(self) -> None:
        await self.write_stdin(b"\x04")

    async def resize(self, columns: int, rows: int) -> None:
        with contextlib.suppress(OSError):
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


async def start_session(
    argv: Sequence[str], variables: dict[str, str], folder: str, *, stdin: bool, tty: bool
) -> Session:
    """Run a command beside a container; StreamError 500 when there is no such program, in runc's words."""
    program = shutil.which(argv[0], path=variables.get("PATH"))
    if program is None:
        raise StreamError(
            500,
            f'Internal error occurred: OCI runtime exec failed: exec: "{argv[0]}": executable file not found in $PATH',
        )
    if tty:
        return await _terminal(program, argv, variables, folder)
    process = await asyncio.create_subprocess_exec(
        program,
        *argv[1:],
        stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=variables,
        cwd=folder,
        start_new_session=True,
    )
    ending: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def wait() -> int:
        return await asyncio.shield(ending)

    session = ProcessSession(process.stdin, wait, process.pid)
    task = asyncio.create_task(_feed(process, session, ending))
    session.on_end(task.cancel)
    return session


async def _feed(
    process: asyncio.subprocess.Process, session: ProcessSession, ending: asyncio.Future[int]
) -> None:
    async def pump(reader: asyncio.StreamReader, stream: str) -> None:
        while data := await reader.read(65536):
            session.feed(stream, data)

    assert process.stdout is not None
    assert process.stderr is not None
    try:
        await asyncio.gather(pump(process.stdout, "stdout"), pump(process.stderr, "stderr"))
    finally:
        session.feed_end()
        code = await process.wait()
        if not ending.done():
            ending.set_result(128 - code if code < 0 else code)


async def _terminal(program: str, argv: Sequence[str], variables: dict[str, str], folder: str) -> Session:
    loop = asyncio.get_running_loop()
    master, slave = pty.openpty()

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = await asyncio.create_subprocess_exec(
        program,
        *argv[1:],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={"TERM": "xterm", **variables},
        cwd=folder,
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(slave)

    async def wait() -> int:
        code = await process.wait()
        return 128 - code if code < 0 else code

    session = TerminalSession(master, wait, process.pid)
    os.set_blocking(master, False)

    def readable() -> None:
        try:
            data = os.read(master, 65536)
        except BlockingIOError:
            return
        except OSError:  # EIO: the last holder of the terminal is gone
            data = b""
        if data:
            session.feed("stdout", data)
            return
        loop.remove_reader(master)
        session.feed_end()

    def close() -> None:
        loop.remove_reader(master)
        with contextlib.suppress(OSError):
            os.close(master)

    loop.add_reader(master, readable)
    session.on_end(close)
    return session


class SocketDuplex:
    """A TCP connection as `exchange.Duplex`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        return await self._reader.read(65536)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
