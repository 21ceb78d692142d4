"""The cluster's side of the helper process: ask for processes, hear when they end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# The folder that holds the package `slipway`, for an interpreter started without any site-packages.
_SOURCE = Path(__file__).parents[4]
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from slipway.cluster.nodes.spawning.process import main; main()"


class SpawnError(Exception):
    """The helper could not do it; `errno` is the system's, 0 if it was not the system."""

    def __init__(self, message: str, errno: int = 0) -> None:
        super().__init__(message)
        self.errno = errno


class Spawner:
    """`title` names the helper in the process list, so that leftovers are recognised; `lost` is called when the helper
    ends unasked, after which it may be started again. `wrap` are words of a command (such as unshare) under which the
    helper itself runs."""

    def __init__(self, title: str, lost: Callable[[], None], wrap: Sequence[str] = ()) -> None:
        self._title = title
        self._lost = lost
        self._wrap = tuple(wrap)
        self._number = 0
        self._answers: dict[int, asyncio.Future[tuple[Any, list[int]]]] = {}
        self._exits: dict[str, asyncio.Future[int]] = {}
        self.out_of_memory: set[str] = set()  # ids that ended for want of it
        self._process: asyncio.subprocess.Process | None = None
        self._control: socket.socket | None = None
        self._reading: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._stopping = False

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        await self.stop()  # what is left of one that has ended
        self._stopping = False
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._control = ours
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *self._wrap, sys.executable, "-I", "-S", "-E", "-c", _PROGRAM,
                str(_SOURCE), str(theirs.fileno()), self._title,
                pass_fds=[theirs.fileno()], stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
                cwd="/", env={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
            )  # fmt: skip
        self._reading = asyncio.create_task(self._read(), name=f"{self._title} helper")

    async def stop(self) -> None:
        """End the helper, and with it everything that it started."""
        self._stopping = True
        if self._control is not None:
            with contextlib.suppress(OSError):  # the other end is gone
                self._control.shutdown(socket.SHUT_RDWR)
        if self._process is not None:
            try:
                async with asyncio.timeout(10):
                    await self._process.wait()
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
            self._process = None
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
            self._reading = None
        if self._control is not None:
            self._control.close()
            self._control = None

    async def ask(self, do: str, descriptors: Sequence[int] = (), **words: Any) -> Any:
        """The recipe's result. SpawnError for what it could not do."""
        result, received = await self._ask(do, descriptors, words)
        for descriptor in received:
            os.close(descriptor)
        return result

    async def ask_socket(self, do: str, **words: Any) -> socket.socket:
        """The socket that the recipe made, non-blocking."""
        _, received = await self._ask(do, (), words)
        found = socket.socket(fileno=received[0])
        found.setblocking(False)
        return found

    def watch(self, id: str) -> None:
        """Remember how the process of that id ends; to be called before it is started."""
        self._exits[id] = asyncio.get_running_loop().create_future()

    async def exit_code(self, id: str) -> int:
        """Wait for the end of a watched process; 137 when the helper ended first."""
        return await asyncio.shield(self._exits[id])

    def forget(self, id: str) -> None:
        self._exits.pop(id, None)
        self.out_of_memory.discard(id)

    async def signal(self, id: str, number: int, *, group: bool = False) -> None:
        with contextlib.suppress(SpawnError):
            await self.ask("signal", id=id, signal=number, group=group)

    async def _ask(self, do: str, descriptors: Sequence[int], words: dict[str, Any]) -> tuple[Any, list[int]]:
        if self._control is None:
            raise SpawnError("the helper process has ended")
        self._number += 1
        number = self._number
        message = {"do": do, "number": number, "descriptors": len(descriptors), **words}
        data = json.dumps(message).encode()
        packet = struct.pack("!I", len(data)) + data
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        try:
            async with self._sending:
                await self._send(packet, descriptors)
            received: tuple[Any, list[int]] = await answer
            return received
        except OSError as error:
            raise SpawnError(f"the helper process has ended: {error}") from None
        finally:
            self._answers.pop(number, None)

    async def _send(self, packet: bytes, descriptors: Sequence[int]) -> None:
        control = self._control
        assert control is not None
        while True:
            try:
                sent = socket.send_fds(control, [packet], list(descriptors))
                break
            except BlockingIOError:
                await asyncio.sleep(0.001)
        if sent < len(packet):
            await asyncio.get_running_loop().sock_sendall(control, packet[sent:])

    async def _read(self) -> None:
        control = self._control
        assert control is not None
        loop = asyncio.get_running_loop()
        buffer, descriptors = b"", list[int]()
        readable = asyncio.Event()
        loop.add_reader(control.fileno(), readable.set)
        try:
            while True:
                await readable.wait()
                readable.clear()
                try:
                    data, received, _, _ = socket.recv_fds(control, 65536, 16)
                except BlockingIOError:
                    continue
                except ConnectionError:
                    return
                if not data:
                    return
                readable.set()  # there may be more
                buffer += data
                descriptors += received
                buffer = self._take(buffer, descriptors)
        finally:
            loop.remove_reader(control.fileno())
            self._over()
            if not self._stopping:
                self._lost()

    def _take(self, buffer: bytes, descriptors: list[int]) -> bytes:
        while len(buffer) >= 4:
            (length,) = struct.unpack("!I", buffer[:4])
            if len(buffer) < 4 + length:
                break
            message = json.loads(buffer[4 : 4 + length])
            buffer = buffer[4 + length :]
            if message.get("event") == "exit":
                waiting = self._exits.get(message["id"])
                if message.get("out_of_memory"):
                    self.out_of_memory.add(message["id"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(message["code"])
                continue
            count = message.get("descriptors", 0)
            mine = descriptors[:count]
            del descriptors[:count]
            answer = self._answers.get(message["answer"])
            if answer is None or answer.done():
                for descriptor in mine:
                    os.close(descriptor)
            elif "error" in message:
                answer.set_exception(SpawnError(message["error"], message.get("errno") or 0))
            else:
                answer.set_result((message.get("result"), mine))
        return buffer

    def _over(self) -> None:
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(SpawnError("the helper process has ended"))
        for waiting in self._exits.values():
            if not waiting.done():
                waiting.set_result(137)
