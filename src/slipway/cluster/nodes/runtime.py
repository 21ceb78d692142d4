"""What a node agent asks of whatever runs containers: the `Runtime` protocol and its plain data.

A sandbox is a pod's identity on the network; containers run in one. Images are resolved before (`images`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from slipway.cluster.exchange import Duplex
from slipway.cluster.kubelet import Session
from slipway.cluster.nodes.images import Image


class RuntimeFailure(Exception):
    """The runtime could not do it. `reason` is what containerStatuses or an Event say, as kubelet words it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class InMemory:
    """A volume that lies in memory: at most `size` bytes, 0 for as much as the system gives."""

    path: Path
    size: int
    mode: int = 0o777
    group: int | None = None


@dataclass(frozen=True, slots=True)
class SandboxRequest:
    """`host_network` means no address of its own. `folder` is the pod's, for resolv.conf and the like.

    `processes` says with whom its containers share theirs.
    """

    namespace: str
    pod: str
    uid: str
    node: str
    hostname: str
    own_names: tuple[str, ...]  # in the pod's /etc/hosts beside its address
    folder: Path
    host_network: bool = False
    host_ipc: bool = False
    processes: Literal["own", "pod", "host"] = "own"
    in_memory: tuple[InMemory, ...] = ()
    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    hosts: tuple[tuple[str, tuple[str, ...]], ...] = ()  # additional lines of /etc/hosts
    owner: str = ""  # kind of the controller
    annotations: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    sysctls: Mapping[str, str] = field(default_factory=dict)  # heeded by runtimes that isolate pods


@dataclass(frozen=True, slots=True)
class Sandbox:
    id: str
    address: str


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of the host that a container sees at `target`."""

    source: Path
    target: str
    read_only: bool = False
    in_memory: bool = False


@dataclass(frozen=True, slots=True)
class ContainerRequest:
    """Everything that a container is started with. `argv` is the image's and the pod's command put together.

    Only runtimes that isolate pods heed the capabilities.
    """

    name: str
    attempt: int
    image: Image
    argv: tuple[str, ...]
    env: Mapping[str, str]
    working_dir: str
    log: Path
    kind: str = "app"  # init, sidecar, app, ephemeral
    target: str = ""  # the container whose processes an ephemeral one sees
    mounts: tuple[Mount, ...] = ()
    user: int | None = None
    group: int | None = None
    groups: tuple[int, ...] = ()
    privileged: bool = False  # with all capabilities
    dropped: tuple[str, ...] = ()  # capabilities without CAP_, or ALL
    added: tuple[str, ...] = ()
    escalates: bool = True  # whether setuid programs give rights
    read_only_root: bool = False
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    resources: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended; `code` is 128 + signal number when a signal ended it."""

    code: int
    reason: str = ""  # OOMKilled, StartError, …; empty for Completed or Error by the code
    message: str = ""


class RuntimeListener(Protocol):
    """Who wants to know that everything that ran is gone at once, and when something can run again."""

    def runtime_lost(self, why: str) -> None: ...

    def runtime_back(self) -> None: ...


class Runtime(Protocol):
    """Every method raises RuntimeFailure for what cannot be. Ids are the runtime's own."""

    name: str  # as containerID has it: `<name>://<id>`
    real: bool  # whether programs run, so that what they listen on may speak TLS
    listeners: list[RuntimeListener]
    ignores: Collection[str]  # fields of pods that are not heeded, see `ignored_fields`

    async def start(self) -> None: ...

    async def stop(self) -> None:
        """End everything that runs."""

    def trouble(self) -> str:
        """Why no container can start now; empty while all is well."""

    def node_address(self, node: str) -> str:
        """The address under which a node's own programs are reached."""

    def pod_range(self, node: str) -> str:
        """The CIDR of the addresses of a node's pods; empty where pods have none of their own."""

    async def create_sandbox(self, request: SandboxRequest) -> Sandbox: ...

    async def remove_sandbox(self, sandbox: str) -> None:
        """Kill what still runs in it and let it go; harmless when it is gone."""

    async def start_container(self, sandbox: str, request: ContainerRequest) -> str: ...

    async def wait_container(self, container: str) -> Exit: ...

    async def signal_container(self, container: str, number: int) -> None:
        """Send a signal; harmless when it has ended."""

    async def exec(self, container: str, command: Sequence[str], *, stdin: bool, tty: bool) -> Session: ...

    async def attach(self, container: str, *, stdin: bool, tty: bool) -> Session: ...

    async def connect(self, sandbox: str, port: int, host: str = "") -> Duplex:
        """A TCP connection to a port of the pod: on its loopback, or on `host`, from within its network."""

    async def reach(self, sandbox: Sandbox, port: int) -> Duplex:
        """A TCP connection to a port of the pod's address, as the rest of the cluster makes it."""

    async def reach_node(self, node: str, port: int) -> Duplex:
        """A TCP connection to a port of the node's own address."""

    async def usage(self, container: str) -> tuple[float, int]:
        """CPU seconds used so far, and memory in bytes."""

    async def written(self, container: str) -> int:
        """Bytes that it has written to its own root, volumes apart."""

    async def resize(self, container: str, resources: Mapping[str, Any]) -> None:
        """Give a running container other limits."""
