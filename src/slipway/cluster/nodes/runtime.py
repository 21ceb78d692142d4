"""What a node agent asks of the thing that runs containers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from slipway.cluster.exchange import Duplex
from slipway.cluster.kubelet import Session


class RuntimeFailure(Exception):
    """A sandbox or container could not be made; `reason` is what its status shows (`StartError`, …)."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of the host, seen at `path` in the container."""

    source: Path
    path: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """What an image name stands for here.

    `root` is the root file system (None: the host's own). `command` and `arguments` are ENTRYPOINT and CMD.
    """

    name: str
    id: str
    root: Path | None = None
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    user: str = ""
    folder: str = ""


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """Everything needed to start one container."""

    name: str
    image: Image
    argv: tuple[str, ...]
    variables: dict[str, str]
    folder: str  # working directory; empty: the image's, else /
    mounts: tuple[Mount, ...]
    log: Path
    tty: bool = False
    stdin: bool = False
    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] = ()
    read_only: bool = False  # the root file system


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """What the containers of a pod share."""

    uid: str
    name: str
    namespace: str
    hostname: str
    folder: Path  # for the runtime's own files
    host_network: bool = False
    hosts: tuple[tuple[str, str], ...] = ()  # extra lines of /etc/hosts: address, name
    resolver: str = ""  # content of /etc/resolv.conf


class Container(Protocol):
    """A started container."""

    id: str

    async def wait(self) -> int:
        """Exit code; 128 + number when a signal ended it."""

    async def signal(self, number: int) -> None:
        """To its first process."""

    async def exec(self, argv: Sequence[str], *, stdin: bool, tty: bool) -> Session: ...

    async def attach(self, *, stdin: bool, tty: bool) -> Session: ...


class Sandbox(Protocol):
    """A pod's shared part: its address, and the containers in it."""

    address: str

    async def start(self, config: ContainerConfig) -> Container:
        """RuntimeFailure when the command cannot be run."""

    async def connect(self, port: int) -> Duplex:
        """A TCP connection to a port inside the pod; OSError when nobody listens."""

    async def remove(self) -> None:
        """End whatever still runs in it and forget it."""


class Runtime(Protocol):
    """`name` is what `containerRuntimeVersion` of the Node says."""

    name: str

    async def create_sandbox(self, config: SandboxConfig) -> Sandbox: ...

    async def stats(self) -> dict[str, Any]:
        """CPU seconds and memory bytes by pod uid and container name."""

    async def close(self) -> None:
        """Remove what the runtime itself made (bridges, …)."""


Lines = AsyncIterator[bytes]
