"""A listening port: opens Connections, closes silent ones, shuts all down in order."""

from __future__ import annotations

import asyncio
import socket
import ssl

from slipway.cluster.exchange import Handler
from slipway.cluster.server.connection import Connection
from slipway.cluster.server.response_writer import ResponseWriter

BACKLOG = 4096
SWEEP_SECONDS = 5.0
IDLE_SECONDS = 90.0  # as the API server's IdleTimeout
HANDSHAKE_SECONDS = 32.0  # as its ReadHeaderTimeout, which bounds the handshake too
UNFINISHED_SECONDS = 60.0  # for the whole of a request to arrive


class Listener:
    """A server that accepts connections on `host`:`port`. Made by `serve`."""

    def __init__(self, handler: Handler, loop: asyncio.AbstractEventLoop) -> None:
        self._handler = handler
        self._loop = loop
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._empty: asyncio.Future[None] | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._gathering: list[ResponseWriter] = []
        self.host = ""
        self.port = 0

    async def start(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        self._server = await self._loop.create_server(
            lambda: Connection(self._handler, self, self._loop),
            host,
            port,
            ssl=tls,
            backlog=BACKLOG,
            ssl_handshake_timeout=HANDSHAKE_SECONDS if tls else None,
        )
        bound: socket.socket = self._server.sockets[0]
        self.host, self.port = bound.getsockname()[:2]
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    @property
    def connections(self) -> int:
        return len(self._connections)

    def open_connections(self) -> list[Connection]:
        return list(self._connections)

    def opened(self, connection: Connection) -> None:
        self._connections.add(connection)

    def closed(self, connection: Connection) -> None:
        self._connections.discard(connection)
        if not self._connections and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    def gathers(self, writer: ResponseWriter) -> None:
        """It has something to send when this turn of the loop is over: one callback does for a thousand watchers."""
        if not self._gathering:
            self._loop.call_soon(self._flush)
        self._gathering.append(writer)

    def _flush(self) -> None:
        gathering, self._gathering = self._gathering, []
        for writer in gathering:
            writer.flush()

    def _sweep(self) -> None:
        now = self._loop.time()
        for connection in list(self._connections):
            age = now - connection.since
            if (connection.idle and age > IDLE_SECONDS) or (
                connection.unfinished and age > UNFINISHED_SECONDS
            ):
                connection.time_out()
        self._sweeper = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    async def close(self, grace: float = 5.0) -> None:
        """Stop listening, let answers under way be finished for up to `grace` seconds, close all."""
        if self._server is None:
            return
        server, self._server = self._server, None
        if self._sweeper is not None:
            self._sweeper.cancel()
        server.close()
        for connection in list(self._connections):
            connection.shut_down()
        if self._connections:
            self._empty = self._loop.create_future()
            await asyncio.wait([self._empty], timeout=grace)
            for connection in list(self._connections):
                connection.abort()
        await asyncio.sleep(0)


async def serve(handler: Handler, host: str, port: int, tls: ssl.SSLContext | None) -> Listener:
    """Listen on `host`:`port` (0: any free one; see `Listener.port`) and answer with `handler`."""
    listener = Listener(handler, asyncio.get_running_loop())
    await listener.start(host, port, tls)
    return listener
