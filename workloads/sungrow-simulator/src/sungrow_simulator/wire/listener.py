"""Listener: one TCP or TLS port, its connections, their limit and what goes wrong with them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol

from sungrow_simulator.faults import ON_CONNECT, Fault, Faults
from sungrow_simulator.wire.certificate import Certificate

GRACE = 0.05
"""Seconds in which a connection that its client ended a moment ago makes room for the next one."""

PLAIN = ON_CONNECT - {Fault.CERTIFICATE_CHANGED}
"""What can go wrong with a connection that has no TLS."""


class RegisterState(Protocol):
    """What every protocol asks: Modbus requests in, replies out, whatever frames are around them."""

    def answer(self, unit: int, request: bytes) -> bytes | None:
        """The reply to a Modbus request (function byte first); None when no such unit answers."""
        ...


class Listener:
    """Accepts connections up to a limit; a protocol says in `converse` what happens on one.

    `name` is the port's name in the schedule of faults and in its counters.
    """

    def __init__(
        self, name: str, faults: Faults, *, connections: int, certificate: Certificate | None = None
    ) -> None:
        self.name, self.faults = name, faults
        self._limit = connections
        self._certificate = certificate
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._server: asyncio.Server | None = None
        self.host = "127.0.0.1"
        self.port = 0

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one, shown in `port`."""
        tls = self._certificate.context if self._certificate else None
        self._server = await asyncio.start_server(self._accept, host, port, ssl=tls)
        self.host, self.port = host, self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End every connection and free the port; who is still in a TLS handshake is not waited for."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        talks = list(self._open)
        for talk, writer in self._open.items():
            writer.transport.abort()
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until the client leaves or breaks the protocol."""
        raise NotImplementedError

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= self._limit:
            await asyncio.sleep(GRACE)
        if self._server is None or len(self._open) >= self._limit:
            self.faults.counters[f"turned-away.{self.name}"] += 1
            writer.close()
            return
        fault = self.faults.on_connection(self.name, ON_CONNECT if self._certificate else PLAIN)
        if fault is not None:
            if fault is Fault.CERTIFICATE_CHANGED and self._certificate:
                self._certificate.change()  # this client has seen the old one: it must come again
            writer.transport.abort()
            return
        talk = asyncio.current_task()
        assert talk is not None
        self._open[talk] = writer
        try:
            with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
                await self.converse(reader, writer)
        except asyncio.CancelledError:
            if self._server is not None:  # else it is stop() that ends this talk, and nobody waits for it
                raise
        finally:
            del self._open[talk]
            writer.close()
