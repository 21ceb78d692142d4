"""Listen on a port and serve each connection by a handler."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from slipway.cluster.exchange import Handler
from slipway.cluster.server.connection import Connection


class Listener:
    """An open port. `close` ends every connection, also those in the middle of a stream."""

    def __init__(self, server: asyncio.Server, serving: set[Connection]) -> None:
        self._server = server
        self._serving = serving
        self.port: int = server.sockets[0].getsockname()[1]

    @property
    def connections(self) -> int:
        return len(self._serving)

    async def close(self) -> None:
        self._server.close()
        workers = [connection.worker for connection in self._serving if connection.worker is not None]
        for connection in list(self._serving):
            connection.shut()
        for worker in workers:
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await worker
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._server.wait_closed(), 2)


async def serve(handler: Handler, host: str, port: int, tls: ssl.SSLContext | None = None) -> Listener:
    """Listen on `host`; port 0 takes a free one. OSError when the port is taken or may not be used."""
    serving: set[Connection] = set()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(handler, serving), host, port, ssl=tls, backlog=1024
    )
    return Listener(server, serving)
