"""What the API server asks of a node: logs, exec, attach, port-forward, stats.

A real API server calls the kubelet's own HTTPS port; here the node agent (`nodes`) is in the same process and
is called through this interface. `server` translates WebSocket and SPDY streams to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from slipway.cluster.exchange import Duplex


class StreamError(Exception):
    """The node cannot do what was asked; `status` is the HTTP code for it, the text is for people."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class LogOptions:
    """PodLogOptions: which lines of a container's log."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    since: float | None = None  # seconds since 1970
    tail_lines: int | None = None
    limit_bytes: int | None = None


class Session(Protocol):
    """A running exec or attach. Output ends when the process has closed it."""

    def stdout(self) -> AsyncIterator[bytes]: ...
    def stderr(self) -> AsyncIterator[bytes]: ...
    async def write_stdin(self, data: bytes) -> None: ...
    async def close_stdin(self) -> None: ...
    async def resize(self, columns: int, rows: int) -> None: ...
    async def wait(self) -> int:
        """Exit code; 128 + signal number when a signal ended it."""

    async def abandon(self) -> None:
        """The client has gone: end what was started for it alone (an exec's process; never the container)."""


class Kubelet(Protocol):
    """One node's agent, as the API server sees it. Every method raises StreamError for what cannot be."""

    def logs(self, namespace: str, pod: str, container: str, options: LogOptions) -> AsyncIterator[bytes]: ...

    async def exec(
        self, namespace: str, pod: str, container: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> Session: ...

    async def attach(
        self, namespace: str, pod: str, container: str, *, stdin: bool, tty: bool
    ) -> Session: ...

    async def port_forward(self, namespace: str, pod: str, port: int) -> Duplex: ...

    async def reach_pod(self, namespace: str, pod: str, port: int) -> Duplex:
        """A connection to the pod's address, as others in the cluster make it; OSError when nobody takes it."""

    async def reach_node(self, port: int) -> Duplex:
        """A connection to the node's own address; OSError when nobody takes it."""

    async def stats(self) -> dict[str, Any]:
        """The node's and its pods' CPU (cores) and memory (bytes), for metrics.k8s.io."""
