"""Keep-alive connections, shared by everything that goes to the same place with the same TLS settings."""

import asyncio
import ssl
from collections.abc import Mapping
from typing import NamedTuple

from kco.net.connection import Answer, Connection
from kco.net.guard import Guard
from kco.net.tls import DEFAULT, TlsSettings, build_context
from kco.net.url import Address


class Place(NamedTuple):
    """What decides whether two requests may use one connection."""

    scheme: str
    host: str
    port: int
    tls: TlsSettings


class ExchangeFailed(Exception):
    """No answer: refused, reset, not HTTP, too large, too late."""


def take_from(shelf: list[Connection]) -> Connection | None:
    """The most recently used connection of a shelf that is still open."""
    while shelf:
        connection = shelf.pop()
        if not connection.closed:
            return connection
    return None


def place_of(address: Address, tls: TlsSettings = DEFAULT) -> Place:
    return Place(address.scheme, address.host, address.port, tls)


def prepare(method: str, address: Address, headers: Mapping[str, str], body: bytes) -> bytes:
    """A whole request as bytes. Header values must already be free of line breaks."""
    lines = [f"{method} {address.path} HTTP/1.1", f"Host: {address.authority}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body or method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1", "replace") + b"\r\n\r\n" + body


class Pool:
    """Idle connections by place; opens new ones to guarded addresses."""

    def __init__(self, guard: Guard, *, idle_seconds: float = 75.0) -> None:
        self._guard = guard
        self._idle: dict[Place, list[Connection]] = {}
        self._contexts: dict[TlsSettings, ssl.SSLContext] = {}
        self._idle_seconds = idle_seconds
        self.opened = 0

    def shelf(self, place: Place) -> list[Connection]:
        """Where the idle connections to a place are kept; always the same list, so that callers may hold it."""
        return self._idle.setdefault(place, [])

    def take(self, place: Place) -> Connection | None:
        """An idle connection, the most recently used first, or None."""
        return take_from(self.shelf(place))

    def give(self, connection: Connection, moment: float) -> None:
        """Put a connection back after a complete exchange."""
        if not connection.closed:
            connection.idle_since = moment
            connection.shelf.append(connection)

    async def open(self, place: Place) -> Connection:
        """A new connection; raises Refused, Unresolvable, OSError, ssl.SSLError or InvalidCertificate."""
        loop = asyncio.get_running_loop()
        shelf = self.shelf(place)
        context = None
        name = None
        if place.scheme == "https":
            context = self._contexts.get(place.tls)
            if context is None:
                context = self._contexts[place.tls] = await asyncio.to_thread(build_context, place.tls)
            name = place.tls.server_name or place.host
        failure: OSError | None = None
        for address in await self._guard.addresses(place.host, place.port):
            try:
                _, connection = await loop.create_connection(
                    lambda: Connection(shelf), address, place.port, ssl=context, server_hostname=name
                )
            except ssl.SSLError:
                raise
            except OSError as refusal:
                failure = refusal
                continue
            self.opened += 1
            return connection
        assert failure is not None
        raise failure

    async def exchange(
        self,
        method: str,
        address: Address,
        *,
        headers: Mapping[str, str],
        body: bytes,
        limit: int,
        tls: TlsSettings = DEFAULT,
    ) -> Answer:
        """One request and its answer, redirects not followed; for callers that can afford a coroutine."""
        place = place_of(address, tls)
        request = prepare(method, address, headers, body)
        loop = asyncio.get_running_loop()
        connection = self.take(place)
        if connection is None:
            connection = await self.open(place)
        answered: asyncio.Future[Answer] = loop.create_future()

        def done(_: Connection, answer: Answer | None, reason: str) -> None:
            if answered.done():
                return
            if answer is None:
                answered.set_exception(ExchangeFailed(reason))
            else:
                answered.set_result(answer)

        connection.send(request, limit, done)
        try:
            answer = await answered
        except asyncio.CancelledError:
            connection.abort("given up")
            raise
        self.give(connection, loop.time())
        return answer

    def sweep(self, moment: float) -> None:
        """Close connections that have been idle for too long."""
        for waiting in self._idle.values():
            if not waiting:
                continue
            fresh = []
            for connection in waiting:
                if connection.closed or moment - connection.idle_since > self._idle_seconds:
                    connection.close()
                else:
                    fresh.append(connection)
            waiting[:] = fresh

    def forget(self, place: Place) -> None:
        """Nobody goes to this place any more."""
        for connection in self._idle.pop(place, []):
            connection.close()

    def close(self) -> None:
        for waiting in self._idle.values():
            for connection in waiting:
                connection.close()
        self._idle.clear()
