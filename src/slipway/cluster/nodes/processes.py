"""Containers as plain child processes of this one: no privileges, no isolation, any Unix.

A pod's address is one of 127.0.0.0/8, which reaches whatever its processes bind to 0.0.0.0. Volumes cannot be
mounted, so a container sees each at the path where it lies: in mount order the environment variable
SLIPWAY_MOUNT_<n> names them, and absolute mount paths that do not exist yet are linked there where we may.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from slipway.cluster.clock import Clock
from slipway.cluster.exchange import Duplex
from slipway.cluster.kubelet import Session
from slipway.cluster.nodes.logs import LogWriter
from slipway.cluster.nodes.runtime import Container, ContainerConfig, RuntimeFailure, Sandbox, SandboxConfig
from slipway.cluster.nodes.sessions import ProcessSession, SocketDuplex, start_session


class ProcessRuntime:
    name = "slipway-process://1.0"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sandboxes: set[ProcessSandbox] = set()
        self._next = 2

    async def create_sandbox(self, config: SandboxConfig) -> Sandbox:
        number = self._next
        self._next = number + 1 if number < 2**16 - 2 else 2
        address = "127.0.0.1" if config.host_network else f"127.244.{number >> 8}.{number & 255}"
        sandbox = ProcessSandbox(config, address, self._clock, self._sandboxes)
        self._sandboxes.add(sandbox)
        return sandbox

    async def stats(self) -> dict[str, Any]:
        return {
            sandbox.config.uid: {name: usage(c.pid) for name, c in sandbox.containers.items()}
            for sandbox in self._sandboxes
        }

    async def close(self) -> None:
        await asyncio.gather(*(sandbox.remove() for sandbox in list(self._sandboxes)))


class ProcessSandbox:
    def __init__(
        self, config: SandboxConfig, address: str, clock: Clock, siblings: set[ProcessSandbox]
    ) -> None:
        self.config = config
        self.address = address
        self.containers: dict[str, ProcessContainer] = {}
        self._clock = clock
        self._siblings = siblings

    async def start(self, config: ContainerConfig) -> Container:
        variables = {**_host_variables(), **config.variables}
        for number, mount in enumerate(config.mounts):
            variables[f"SLIPWAY_MOUNT_{number}"] = str(mount.source)
            _link(mount.source, mount.path)
        container = ProcessContainer(config, variables, self._clock)
        await container.start()
        self.containers[config.name] = container
        return container

    async def connect(self, port: int) -> Duplex:
        try:
            reader, writer = await asyncio.open_connection(self.address, port)
        except OSError:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        return SocketDuplex(reader, writer)

    async def remove(self) -> None:
        self._siblings.discard(self)
        for container in self.containers.values():
            await container.signal(signal.SIGKILL)
            await container.wait()


def _host_variables() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": os.environ.get("LANG", "C.UTF-8")}


def _link(source: Path, path: str) -> None:
    """Make a volume visible at its mount path where that path is free and we may; else the variable must do."""
    place = Path(path)
    if place.is_symlink() and not place.exists():
        with contextlib.suppress(OSError):
            place.unlink()
    if os.path.lexists(place):
        return
    with contextlib.suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(source)


class ProcessContainer:
    """One child in a process group of its own; its output goes to the log and to whoever is attached."""

    def __init__(self, config: ContainerConfig, variables: dict[str, str], clock: Clock) -> None:
        self.id = f"slipway://{uuid.uuid4().hex}"
        self._config = config
        self._variables = variables
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        self._done: asyncio.Task[int] | None = None
        self._listeners: set[ProcessSession] = set()

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def _folder(self) -> str:
        wanted = self._config.folder or self._config.image.folder
        return wanted if wanted and Path(wanted).is_dir() else "/"

    async def start(self) -> None:
        argv = self._config.argv
        program = shutil.which(argv[0], path=self._variables.get("PATH"))
        if program is None:
            raise RuntimeFailure(
                "StartError",
                f'failed to start container: exec: "{argv[0]}": executable file not found in $PATH',
            )
        try:
            self._process = await asyncio.create_subprocess_exec(
                program,
                *argv[1:],
                stdin=asyncio.subprocess.PIPE if self._config.stdin else asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._variables,
                cwd=self._folder(),
                start_new_session=True,
                limit=256 * 1024,
            )
        except OSError as error:
            raise RuntimeFailure("StartError", f"failed to start container: {error}") from None
        self._done = asyncio.create_task(self._run(self._process))

    async def _run(self, process: asyncio.subprocess.Process) -> int:
        writer = LogWriter(self._config.log, self._clock)
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            pumps = [
                asyncio.create_task(self._pump(process.stdout, "stdout", writer)),
                asyncio.create_task(self._pump(process.stderr, "stderr", writer)),
            ]
            code = await process.wait()
            # Grandchildren may hold the pipes open: what they say after the end is not the container's.
            await asyncio.wait(pumps, timeout=0.5)
            for pump in pumps:
                pump.cancel()
        finally:
            writer.close()
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            for session in list(self._listeners):
                session.feed_end()
        return 128 - code if code < 0 else code

    async def _pump(self, reader: asyncio.StreamReader, stream: str, writer: LogWriter) -> None:
        while data := await reader.read(65536):
            writer.write(stream, data)
            for session in list(self._listeners):
                session.feed(stream, data)

    async def wait(self) -> int:
        assert self._done is not None
        return await asyncio.shield(self._done)

    async def signal(self, number: int) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                # Without a PID namespace nobody ends the rest of the group when its first process ends.
                os.killpg(self._process.pid, number)

    async def exec(self, argv: Sequence[str], *, stdin: bool, tty: bool) -> Session:
        return await start_session(argv, self._variables, self._folder(), stdin=stdin, tty=tty)

    async def attach(self, *, stdin: bool, tty: bool) -> Session:
        assert self._process is not None
        session = ProcessSession(self._process.stdin if stdin else None, self.wait)
        self._listeners.add(session)
        session.on_end(lambda: self._listeners.discard(session))
        return session


def usage(pid: int) -> dict[str, float]:
    """CPU seconds and resident bytes of a process, where the system tells."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return {"cpu_seconds": 0.0, "memory_bytes": 0.0}
    ticks = os.sysconf("SC_CLK_TCK")
    return {
        "cpu_seconds": (int(fields[11]) + int(fields[12])) / ticks,
        "memory_bytes": float(int(fields[21]) * os.sysconf("SC_PAGE_SIZE")),
    }
