"""What the runtimes that start real processes share: their output to log files, exec, attach, and their ends.

A subclass says how a container or an exec is started through the helper process (`spawning`), and what a sandbox is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import pty
import signal
import socket
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from slipway.cluster.clock import Clock
from slipway.cluster.exchange import Duplex
from slipway.cluster.kubelet import Session, StreamError
from slipway.cluster.nodes.ignored_fields import BY_ALL
from slipway.cluster.nodes.leftovers import Owner, end_processes
from slipway.cluster.nodes.logs import LogWriter
from slipway.cluster.nodes.runtime import (
    ContainerRequest,
    Exit,
    RuntimeFailure,
    RuntimeListener,
    Sandbox,
    SandboxRequest,
)
from slipway.cluster.nodes.spawning.spawner import Spawner, SpawnError
from slipway.cluster.nodes.streams import Flow, LocalSession, Sink, SocketDuplex, Source

logger = logging.getLogger(__name__)

_KILLED = 128 + signal.SIGKILL
_FIRST_DELAY, _LONGEST_DELAY = 1.0, 60.0  # seconds before a helper that has ended is started again
_STEADY = 60.0  # after so long it counts as the first time
_TO_COME = -1  # in the place of a descriptor
_DRAIN = 0.5  # seconds that output may still come after a process has ended


@dataclass(slots=True)
class Streams:
    """The cluster's ends of a process's streams, and the four descriptors that the process gets.

    A terminal `inside` a container is opened there: the process gets a socket, and sends its master through that.
    """

    given: list[int]
    stdin: int | None
    stdout: int
    stderr: int | None  # None when a terminal joins both
    trouble: int | None
    way: socket.socket | None = None  # for the master of a terminal inside, until it has come

    @classmethod
    def open(cls, *, stdin: bool, tty: bool, inside: bool) -> Streams:
        trouble, trouble_write = os.pipe()
        if tty and inside:
            way, theirs = socket.socketpair()
            way.setblocking(False)
            given = [theirs.detach(), os.open(os.devnull, os.O_RDWR), os.open(os.devnull, os.O_RDWR)]
            # stdin is said to be wanted by a number that no descriptor has, until the master comes.
            return cls([*given, trouble_write], _TO_COME if stdin else None, _TO_COME, None, trouble, way)
        if tty:
            master, slave = pty.openpty()
            given = [slave, os.dup(slave), os.dup(slave), trouble_write]
            return cls(given, master if stdin else None, master, None, trouble)
        if stdin:
            stdin_read, stdin_write = os.pipe()
        else:
            stdin_read, stdin_write = os.open(os.devnull, os.O_RDONLY), None
        out, out_write = os.pipe()
        err, err_write = os.pipe()
        return cls([stdin_read, out_write, err_write, trouble_write], stdin_write, out, err, trouble)

    def take_terminal(self) -> None:
        """Receive the master of a terminal inside, once the program has started."""
        if self.way is None:
            return
        _, (master, *_), _, _ = socket.recv_fds(self.way, 1, 1)
        os.set_inheritable(master, False)
        self.way.close()
        self.way = None
        self.stdout = master
        self.stdin = master if self.stdin is not None else None

    def close_given(self) -> None:
        for descriptor in self.given:
            os.close(descriptor)
        self.given = []

    def close(self) -> None:
        self.close_given()
        if self.way is not None:
            self.way.close()
        for descriptor in {self.stdin, self.stdout, self.stderr, self.trouble} - {None, _TO_COME}:
            assert descriptor is not None
            os.close(descriptor)


@dataclass(slots=True)
class Running:
    """A container that was started; `exit` is set when it has ended and all its output was read."""

    id: str
    sandbox: str
    request: ContainerRequest
    pid: int = 0
    stdin: Sink | None = None
    terminal: int | None = None
    attached: list[tuple[Flow, Flow]] = field(default_factory=list)
    exit: asyncio.Future[Exit] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    waiting: asyncio.Task[None] | None = None


class LocalRuntime(ABC):
    name = "slipway"
    real = True
    # Whether SIGKILL goes to the whole process group; other signals are for the program alone, as in a container.
    kills_group = True
    ignores: Collection[str] = BY_ALL
    terminals_inside = False  # whether containers have a /dev/pts of their own

    def __init__(self, cluster: str, clock: Clock, random: Random, wrap: Sequence[str] = ()) -> None:
        self.cluster = cluster
        self.clock = clock
        self.random = random
        self.owner = Owner.this_process()
        self.spawner = Spawner(self.owner.mark(cluster, "helper"), self._helper_lost, wrap)
        self.containers: dict[str, Running] = {}
        self.listeners: list[RuntimeListener] = []
        self._trouble = ""
        self._delay = 0.0  # seconds until a helper that has ended is started again
        self._started_at = 0.0
        self._recovery: asyncio.Task[None] | None = None

    @abstractmethod
    async def create_sandbox(self, request: SandboxRequest) -> Sandbox: ...

    @abstractmethod
    async def remove_sandbox(self, sandbox: str) -> None: ...

    @abstractmethod
    async def launch(self, running: Running, descriptors: Sequence[int]) -> int:
        """Have the helper start the container's process; its process id."""

    @abstractmethod
    async def launch_exec(
        self, id: str, running: Running, command: Sequence[str], descriptors: Sequence[int], tty: bool
    ) -> int: ...

    @abstractmethod
    async def pod_socket(self, sandbox: str) -> tuple[socket.socket, str]:
        """A new TCP socket in the pod's network, and the address of the pod's loopback there."""

    def trouble(self) -> str:
        return self._trouble

    def node_address(self, node: str) -> str:
        return "127.0.0.1"

    def pod_range(self, node: str) -> str:
        return ""

    async def start(self) -> None:
        """Start the helper process; again, when it has ended."""
        await self.spawner.start()
        self._started_at = self.clock.now()

    def _helper_lost(self) -> None:
        lived = self.clock.now() - self._started_at
        self._delay = (
            _FIRST_DELAY if lived > _STEADY else min(self._delay * 2 or _FIRST_DELAY, _LONGEST_DELAY)
        )
        self._say_lost("the process that starts the pods' containers was killed, and with it all of them")
        self._recovery = asyncio.create_task(self._recover(), name=f"{self.cluster} runtime's recovery")

    def _say_lost(self, why: str) -> None:
        self._trouble = f"{why}; it is started again in {self._delay:g} s"
        logger.error(self._trouble)
        for listener in self.listeners:
            listener.runtime_lost(self._trouble)

    async def _recover(self) -> None:
        while True:
            await self.clock.sleep(self._delay)
            await asyncio.to_thread(end_processes, self.owner.mark(self.cluster))
            try:
                await self.start()
                break
            except (OSError, RuntimeFailure) as error:
                self._delay = min(self._delay * 2, _LONGEST_DELAY)
                self._say_lost(f"the process that starts the pods' containers cannot be started: {error}")
        self._trouble = ""
        for listener in self.listeners:
            listener.runtime_back()

    async def stop(self) -> None:
        if self._recovery is not None:
            self._recovery.cancel()
            await asyncio.gather(self._recovery, return_exceptions=True)
        await self.spawner.stop()
        waiting = [running.waiting for running in self.containers.values() if running.waiting]
        await asyncio.gather(*waiting, return_exceptions=True)

    def new_id(self) -> str:
        return f"{self.random.getrandbits(256):064x}"

    async def start_container(self, sandbox: str, request: ContainerRequest) -> str:
        running = Running(self.new_id(), sandbox, request)
        streams = Streams.open(stdin=request.stdin, tty=request.tty, inside=self.terminals_inside)
        log = LogWriter(request.log, self.clock)
        self.spawner.watch(running.id)
        try:
            running.pid = await self.launch(running, streams.given)
            streams.close_given()
            trouble = await _trouble(streams)
        except SpawnError as error:
            self._failed(streams, log, running.id)
            raise RuntimeFailure("RunContainerError", _task_error(str(error))) from None
        if trouble:
            self._failed(streams, log, running.id)
            raise RuntimeFailure("StartError", _task_error(f"error during container init: {trouble}"))
        streams.take_terminal()
        self.containers[running.id] = running
        self._connect(running, streams, log)
        return running.id

    def _failed(self, streams: Streams, log: LogWriter, id: str) -> None:
        streams.close()
        log.close()
        self.spawner.forget(id)

    def _connect(self, running: Running, streams: Streams, log: LogWriter) -> None:
        def out(data: bytes) -> None:
            log.write("stdout", data)
            for flow, _ in running.attached:
                flow.feed(data)

        def err(data: bytes) -> None:
            log.write("stderr", data)
            for _, flow in running.attached:
                flow.feed(data)

        sources = [Source(streams.stdout, out)]
        if streams.stderr is not None:
            sources.append(Source(streams.stderr, err))
        else:
            running.terminal = streams.stdout
        if streams.stdin is not None:
            running.stdin = Sink(streams.stdin, owned=streams.stderr is not None)
        running.waiting = asyncio.create_task(self._wait(running, sources, log))

    async def _wait(self, running: Running, sources: list[Source], log: LogWriter) -> None:
        code = await self.spawner.exit_code(running.id)
        await _drain(sources, ())
        for source in sources:
            source.close()
        running.terminal = None
        log.close()
        if running.stdin is not None:
            running.stdin.close()
        for out, err in running.attached:
            out.end()
            err.end()
        starved = code == _KILLED and running.id in self.spawner.out_of_memory
        self.spawner.forget(running.id)
        if not running.exit.done():
            running.exit.set_result(Exit(code, "OOMKilled" if starved else ""))

    async def wait_container(self, container: str) -> Exit:
        return await asyncio.shield(self._running(container).exit)

    def _running(self, container: str) -> Running:
        running = self.containers.get(container)
        if running is None:
            raise RuntimeFailure("NotFound", f"container {container} is not known")
        return running

    async def signal_container(self, container: str, number: int) -> None:
        running = self.containers.get(container)
        if running is not None and not running.exit.done():
            group = self.kills_group and number == signal.SIGKILL
            await self.spawner.signal(running.id, number, group=group)

    def _live(self, container: str) -> Running:
        running = self.containers.get(container)
        if running is None or running.exit.done():
            raise StreamError(500, f"container {container} is not running")
        return running

    async def exec(self, container: str, command: Sequence[str], *, stdin: bool, tty: bool) -> Session:
        running = self._live(container)
        id = self.new_id()
        streams = Streams.open(stdin=stdin, tty=tty, inside=self.terminals_inside)
        self.spawner.watch(id)
        try:
            await self.launch_exec(id, running, command, streams.given, tty)
            streams.close_given()
            trouble = await _trouble(streams)
        except SpawnError as error:
            streams.close()
            raise StreamError(500, f"error executing command: {error}") from None
        if trouble:
            streams.close()
            self.spawner.forget(id)
            raise StreamError(
                500,
                f"Internal error occurred: error executing command in container: failed to exec in container:"
                f' failed to start exec "{id}": OCI runtime exec failed: exec failed: unable to start container'
                f" process: {trouble}",
            )
        streams.take_terminal()
        return self._session(id, streams)

    def _session(self, id: str, streams: Streams) -> Session:
        sources: list[Source] = []
        out = Flow(lambda: sources[0].resume())
        err = Flow(lambda: sources[1].resume())

        def taker(flow: Flow, number: int) -> None:
            def take(data: bytes) -> None:
                flow.feed(data)
                if flow.full:
                    sources[number].pause()

            descriptor = streams.stdout if number == 0 else streams.stderr
            assert descriptor is not None
            sources.append(Source(descriptor, take))

        taker(out, 0)
        if streams.stderr is not None:
            taker(err, 1)
        terminal = streams.stdout if streams.stderr is None else None
        stdin = Sink(streams.stdin, owned=terminal is None) if streams.stdin is not None else None

        async def end() -> int:
            code = await self.spawner.exit_code(id)
            await _drain(sources, (out, err))
            self.spawner.forget(id)
            if stdin is not None:
                stdin.close()
            for flow in (out, err):
                flow.end()
            return code

        async def abandon() -> None:
            await self.spawner.signal(id, signal.SIGKILL, group=True)
            for source in sources:
                source.close()

        return LocalSession(
            out, err, stdin, end(), abandon, terminal, b"\x04" if terminal is not None else b""
        )

    async def attach(self, container: str, *, stdin: bool, tty: bool) -> Session:
        running = self._live(container)
        out, err = Flow(), Flow()
        pair = (out, err)
        running.attached.append(pair)
        detached = asyncio.Event()

        async def code() -> int:
            left = asyncio.ensure_future(detached.wait())
            try:
                await asyncio.wait((running.exit, left), return_when=asyncio.FIRST_COMPLETED)
            finally:
                left.cancel()
            return running.exit.result().code if running.exit.done() else 0

        def detach() -> None:
            if pair in running.attached:
                running.attached.remove(pair)
            for flow in pair:
                flow.end()
            detached.set()

        async def abandon() -> None:
            detach()
            if stdin and running.request.stdin_once and running.stdin is not None:
                running.stdin.close()

        sink = running.stdin if stdin else None
        # Who attaches to a container whose stdin outlives its clients leaves when it has nothing more to say.
        leaves = stdin and not running.request.stdin_once
        return LocalSession(
            out, err, sink, code(), abandon, running.terminal, input_over=detach if leaves else None
        )

    async def connect(self, sandbox: str, port: int, host: str = "") -> Duplex:
        found, loopback = await self.pod_socket(sandbox)
        try:
            await asyncio.get_running_loop().sock_connect(found, (host or loopback, port))
        except BaseException:
            found.close()
            raise
        return SocketDuplex(*await asyncio.open_connection(sock=found))

    async def reach(self, sandbox: Sandbox, port: int) -> Duplex:
        return await self.connect(sandbox.id, port, sandbox.address)

    async def reach_node(self, node: str, port: int) -> Duplex:
        return SocketDuplex(*await asyncio.open_connection(self.node_address(node), port))

    async def usage(self, container: str) -> tuple[float, int]:
        return await asyncio.to_thread(tree_usage, self._running(container).pid)

    async def resize(self, container: str, resources: Mapping[str, Any]) -> None:
        self._running(container)  # which has no limits that could be changed

    async def written(self, container: str) -> int:
        return 0  # nothing is kept apart from the host's root

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """The container's environment with the mark by which `leftovers` knows our processes."""
        return {**given, "SLIPWAY_OWNER": self.owner.mark(self.cluster)}


async def _drain(sources: Sequence[Source], flows: Sequence[Flow]) -> None:
    """Wait for the rest of an ended process's output: for as long as a slow reader holds it up, but not for a
    grandchild that may keep the pipe open for ever."""
    while True:
        try:
            async with asyncio.timeout(_DRAIN):
                await asyncio.gather(*(source.wait() for source in sources))
            return
        except TimeoutError:
            if not any(flow.full for flow in flows):
                return


async def _trouble(streams: Streams) -> str:
    """What kept the program from starting; empty once it has started. Closes that pipe."""
    said = bytearray()
    assert streams.trouble is not None
    source = Source(streams.trouble, said.extend)
    streams.trouble = None
    await source.wait()
    return said.decode(errors="replace")


def _task_error(what: str) -> str:
    return (
        "failed to create containerd task: failed to create shim task: OCI runtime create failed:"
        f" runc create failed: unable to start container process: {what}"
    )


def tree_usage(root: int) -> tuple[float, int]:
    """CPU seconds and resident bytes of a process and all below it, from /proc; zeros where there is none."""
    tick, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    processes: dict[int, tuple[int, float, int]] = {}
    try:
        folders = [path for path in Path("/proc").iterdir() if path.name.isdigit()]
    except OSError:
        return 0.0, 0
    for folder in folders:
        try:
            text = (folder / "stat").read_text()
        except OSError:
            continue
        fields = text.rpartition(")")[2].split()
        cpu = sum(int(value) for value in fields[11:15]) / tick
        processes[int(folder.name)] = (int(fields[1]), cpu, int(fields[21]) * page)
    wanted, grew = {root}, True
    while grew:
        more = {pid for pid, (parent, _, _) in processes.items() if parent in wanted} - wanted
        wanted |= more
        grew = bool(more)
    rows = [processes[pid] for pid in wanted if pid in processes]
    return sum(row[1] for row in rows), sum(row[2] for row in rows)
