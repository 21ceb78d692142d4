"""How a request reaches an API server: the `Transport` protocol and the one that stays in this process."""

from __future__ import annotations

from typing import Protocol

from slipway.cluster.exchange import Handler, Identity, Peer, Request, Response


class Transport(Protocol):
    """Carries a request there and its answer back; OSError when there is nobody to answer."""

    async def send(self, request: Request) -> Response:
        """Send and wait for the answer's head; a body that is an iterator streams after that."""

    async def close(self) -> None:
        """Let go of connections; harmless when there are none."""


class InProcessTransport:
    """Calls the API's handler by reference, as `identity`: no bytes on a wire, no HTTP to parse."""

    __slots__ = ("_handler", "_peer")

    def __init__(self, handler: Handler, identity: Identity) -> None:
        self._handler = handler
        self._peer = Peer(address="127.0.0.1", identity=identity)

    async def send(self, request: Request) -> Response:
        request.peer = self._peer
        return await self._handler(request)

    async def close(self) -> None:
        return None
