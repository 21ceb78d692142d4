"""Listener: one TCP or TLS port, its connections and their limit."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Protocol

GRACE = 0.05
"""Seconds in which a connection that its client ended a moment ago makes room for the next one."""


class RegisterState(Protocol):
    """What every protocol asks: Modbus requests in, replies out, whatever frames are around them."""

    def answer(self, unit: int, request: bytes) -> bytes | None:
        """The reply to a Modbus request (function byte first); None when no such unit answers."""
        ...


class Listener:
    """Accepts connections up to a limit; a protocol says in `converse` what happens on one."""

    def __init__(self, *, connections: int, tls: ssl.SSLContext | None = None) -> None:
        self._limit = connections
        self._tls = tls
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self.host = "127.0.0.1"
        self.port = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one, shown in `port`."""
        self._server = await asyncio.start_server(self._accept, host, port, ssl=self._tls)
        self.host, self.port = host, self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End every connection and free the port."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        talks = list(self._open)
        for talk, writer in self._open.items():
            writer.transport.abort()
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
        await server.wait_closed()

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until the client leaves or breaks the protocol."""
        raise NotImplementedError

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= self._limit:
            await asyncio.sleep(GRACE)
        if self._server is None or len(self._open) >= self._limit:
            writer.close()
            return
        talk = asyncio.current_task()
        assert talk is not None
        self._open[talk] = writer
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                await self.converse(reader, writer)
        finally:
            del self._open[talk]
            writer.close()
