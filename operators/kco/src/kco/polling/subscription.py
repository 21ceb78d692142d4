"""State by subscription: graphql-transport-ws through gql, instead of asking again and again.

While the socket delivers, the instance is not polled; when it breaks, polling takes over at once and the
socket is tried again with growing pauses. gql is imported here only: TargetApps without subscriptions do not
pay for it.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

from kco.net.guard import Guard
from kco.net.tls import TlsSettings, build_context
from kco.net.url import Address
from operator_kit.clock import Clock
from operator_kit.logging import record

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0


class Subscription:
    """One instance's socket. `received` gets data and error messages; `up` is told when it begins and stops."""

    def __init__(
        self,
        *,
        address: Address,
        query: str,
        variables: Mapping[str, Any],
        headers: Mapping[str, str],
        tls: TlsSettings,
        guard: Guard,
        clock: Clock,
        timeout: float,
        limit: int,
        received: Callable[[dict[str, Any], tuple[str, ...]], None],
        up: Callable[[bool, str], None],
    ) -> None:
        self._address = address
        self._query = query
        self._variables = dict(variables)
        self._headers = {
            name: text for name, text in headers.items() if name.lower() not in ("content-type", "accept")
        }
        self._tls = tls
        self._guard = guard
        self._clock = clock
        self._timeout = timeout
        self._limit = limit
        self._received = received
        self._up = up
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"subscription to {self._address.shown}")

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            delivered = False
            try:
                async for data, errors in self._stream():
                    if not delivered:
                        delivered = True
                        pause = FIRST_PAUSE
                        self._up(True, "")
                    self._received(data, errors)
                reason = "the server ended the subscription"
            except asyncio.CancelledError:
                raise
            except Exception as failure:
                # gql and websockets raise a dozen unrelated classes; all mean: poll instead, try later.
                reason = str(failure) or type(failure).__name__
            if delivered:
                self._up(False, reason)
            record(log, logging.DEBUG, "subscription_ended", reason=reason[:200])
            await self._clock.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    async def _stream(self) -> Any:
        from gql import gql
        from gql.transport.websockets import WebsocketsTransport

        address = self._address
        # The guard's address is the one that is connected to, so that a rebound name changes nothing.
        host = (await self._guard.addresses(address.host, address.port))[0]
        secure = address.scheme == "https"
        options: dict[str, Any] = {"host": host, "port": address.port, "max_size": self._limit}
        if secure:
            options["server_hostname"] = self._tls.server_name or address.host
        transport = WebsocketsTransport(
            url=f"{'wss' if secure else 'ws'}://{address.authority}{address.path}",
            headers=self._headers,
            ssl=await asyncio.to_thread(build_context, self._tls) if secure else False,
            subprotocols=[WebsocketsTransport.GRAPHQLWS_SUBPROTOCOL],
            connect_timeout=self._timeout,
            ack_timeout=self._timeout,
            ping_interval=20,
            pong_timeout=20,
            connect_args=options,
        )
        await transport.connect()
        try:
            request = gql(self._query)
            request.variable_values = self._variables
            async for result in transport.subscribe(request):
                errors = tuple(str(getattr(entry, "message", entry))[:200] for entry in result.errors or [])
                if result.data is not None:
                    yield result.data, errors
        finally:
            await transport.close()
