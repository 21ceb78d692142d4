"""The HTTP endpoints that a cluster looks at: `/healthz`, `/readyz` and `/metrics`.

Health and metrics may be on two ports or on one. Each probe is a function that answers with the reasons
why not: an empty list is 200, anything else 503 with one reason per line.
"""

from collections.abc import Awaitable, Callable, Sequence

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

Probe = Callable[[], Sequence[str]]


class PortBusy(Exception):
    """The port that the operator was told to serve on cannot be taken."""

    def __init__(self, setting: str, port: int, cause: str) -> None:
        super().__init__(f"{setting}={port}: cannot listen on port {port}: {cause}")
        self.setting = setting
        self.port = port


class Exposition:
    """Serves probes and metrics until closed; either every port opens or none stays open."""

    def __init__(
        self,
        *,
        registry: CollectorRegistry | None,
        healthy: Probe,
        ready: Probe,
        host: str = "0.0.0.0",
        health_port: int,
        metrics_port: int,
    ) -> None:
        self._registry = registry
        self._healthy = healthy
        self._ready = ready
        self._host = host
        self._health_port = health_port
        self._metrics_port = metrics_port
        self._runners: list[web.AppRunner] = []
        self.ports: dict[str, int] = {}

    async def start(self) -> None:
        """Open the ports (0 takes a free one; see `ports` afterwards)."""
        health = web.Application()
        health.router.add_get("/healthz", self._probe(self._healthy))
        health.router.add_get("/readyz", self._probe(self._ready))
        shared = self._registry is not None and self._metrics_port == self._health_port != 0
        try:
            if shared:
                health.router.add_get("/metrics", self._metrics)
            await self._open("HEALTH_PORT", health, self._health_port)
            if self._registry is not None and not shared:
                metrics = web.Application()
                metrics.router.add_get("/metrics", self._metrics)
                await self._open("METRICS_PORT", metrics, self._metrics_port)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        runners, self._runners = self._runners, []
        for runner in runners:
            await runner.cleanup()

    async def _open(self, setting: str, application: web.Application, port: int) -> None:
        runner = web.AppRunner(application, access_log=None, handle_signals=False)
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, self._host, port, reuse_address=True)
        try:
            await site.start()
        except OSError as failure:
            raise PortBusy(setting, port, failure.strerror or str(failure)) from None
        self.ports[setting] = runner.addresses[0][1]

    def _probe(self, probe: Probe) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(_: web.Request) -> web.StreamResponse:
            reasons = list(probe())
            return web.Response(status=503 if reasons else 200, text="\n".join(reasons or ["ok"]) + "\n")

        return answer

    async def _metrics(self, _: web.Request) -> web.Response:
        assert self._registry is not None
        # headers= and not content_type=: aiohttp refuses a charset inside its content_type argument.
        return web.Response(
            body=generate_latest(self._registry), headers={"Content-Type": CONTENT_TYPE_LATEST}
        )
