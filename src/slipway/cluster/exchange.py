"""One HTTP request and its answer as plain data, whatever carried them.

`server` turns bytes into a `Request` and a `Response` into bytes; the in-process transport of `client` passes
both by reference. A `Handler` answers one request. Nothing here knows Kubernetes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is calling: what authentication found out (authentication.k8s.io UserInfo)."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection.

    `certificate` is the verified client certificate in DER. `identity` is set only by the in-process
    transport, whose callers are part of this process and say who they are.
    """

    address: str = ""
    certificate: bytes | None = None
    identity: Identity | None = None


@dataclass(slots=True)
class Request:
    """`path` is still percent-encoded and `query` is what followed `?`; header names are lower-case.

    `by_reference` is for callers in this process that only read: they would rather have the answer's objects
    than their bytes (`Response.objects`).
    """

    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    peer: Peer = Peer()
    by_reference: bool = False


class Duplex(Protocol):
    """A connection after an upgrade: raw bytes both ways."""

    async def read(self) -> bytes:
        """The next bytes, b"" at the end."""

    async def write(self, data: bytes) -> None:
        """Send; waits while the other end is slow. ConnectionError when it is gone."""

    async def close(self) -> None:
        """Close both ways; harmless when closed already."""


class Sink(Protocol):
    """Where a streamed body goes, for who has the next chunk at hand while the body's reader waits for it."""

    def take(self, chunk: bytes) -> bool:
        """Send it now. False, and it was not sent, while the client reads slowly: the body has to bring it."""


class PushedBody(AsyncIterator[bytes]):
    """A streamed body that gives some of its chunks to the sink that was attached, and none of those to its reader.

    Who puts another iterator around it sees all of them: nobody attaches a sink to that.
    """

    def __init__(self, chunks: AsyncGenerator[bytes, None], attach: Callable[[Sink], None]) -> None:
        self._chunks = chunks
        self.attach = attach

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._chunks

    async def __anext__(self) -> bytes:
        return await anext(self._chunks)

    async def aclose(self) -> None:
        await self._chunks.aclose()


@dataclass(slots=True)
class Response:
    """An answer.

    `body` is all of it, or an async iterator of chunks that are sent as they come (a watch, a log): in HTTP's
    chunks, or plainly when `headers` has the `content-length` of a backend that is passed on. When
    `upgrade` is set the status is 101 and the connection is handed to it after the headers. `objects` may be
    given to who asked `by_reference`, in place of the body: what the body would have said, to be read and never
    changed: a list object, or an async iterator of a watch's (type, object).
    """

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | AsyncIterator[bytes] = b""
    warnings: list[str] = field(default_factory=list)  # each a Warning header of its own
    repeated: list[tuple[str, str]] = field(default_factory=list)  # headers beside others of the same name
    upgrade: Callable[[Duplex], Awaitable[None]] | None = None
    objects: Any = None


Handler = Callable[[Request], Awaitable[Response]]
