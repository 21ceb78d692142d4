"""The operator's process: builds every part once, starts them in order, stops them in reverse.

Start: reach the API server and find the CRD (or say what is missing and exit) → open the ports → compete for
the Lease → take over → watch. Stop (SIGTERM): no new polls → let running actions finish or record them → write
what is waiting → release the Lease.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry

from kco.actions.ledger import ACTION_RUNS
from kco.history.store import HistoryError
from kco.metrics import KcoCollector, TargetReading
from kco.net.guard import Unresolvable, system_resolver
from kco.operator.assembly import assemble
from kco.operator.controller import TARGET_APPS, Controller
from kco.operator.watch import Watch
from kco.settings import Settings
from kco.targets.credentials import Redactor
from operator_kit.clock import Clock, SystemClock
from operator_kit.exposition import Exposition, PortBusy
from operator_kit.kube.client import KubeClient
from operator_kit.kube.config import ClusterConfig
from operator_kit.kube.failure import ApiFailure
from operator_kit.kube.lease import Leadership, Membership, owner_of
from operator_kit.logging import record

log = logging.getLogger(__name__)

LEASE = "kco-leader"


class CannotStart(Exception):
    """Something is missing without which the operator is of no use; the text says what and what to do."""


class Operator:
    """One replica."""

    def __init__(
        self,
        settings: Settings,
        config: ClusterConfig,
        *,
        clock: Clock | None = None,
        redactor: Redactor | None = None,
        host: str = "0.0.0.0",
        hostname: Callable[[], str] = socket.gethostname,
    ) -> None:
        self.settings = settings
        self._config = config
        self._clock = clock or SystemClock()
        self._redactor = redactor or Redactor()
        self.identity = settings.identity or f"{hostname()}-{secrets.token_hex(3)}"
        self._stopping = asyncio.Event()
        self._lost = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._election: asyncio.Task[None] | None = None
        self.started = asyncio.Event()
        self._blind = ""
        self.client = KubeClient(config, user_agent="kco")
        self.metrics = KcoCollector(self._readings, per_target=settings.metrics_per_target)
        self.services = assemble(
            settings,
            clock=self._clock,
            client=self.client,
            metrics=self.metrics,
            redactor=self._redactor,
            identity=self.identity,
            controller=lambda: self.controller,
        )
        self.controller: Controller = Controller(self.services, owns=self._owns)
        self.leadership = self._leadership()
        self.membership = self._membership()
        self.registry = self._registry()
        self.exposition = Exposition(
            registry=self.registry if settings.metrics_enabled else None,
            healthy=self._unhealthy,
            ready=self._unready,
            host=host,
            health_port=settings.health_port,
            metrics_port=settings.metrics_port,
        )

    def _leadership(self) -> Leadership:
        duration = self.settings.lease_duration
        return Leadership(
            self.client,
            namespace=self.lease_namespace,
            name=LEASE,
            identity=self.identity,
            clock=self._clock,
            duration=duration,
            renew_deadline=duration * 2 / 3,
            retry_period=duration / 8,
            changed=self._leadership_changed,
        )

    def _membership(self) -> Membership:
        duration = self.settings.lease_duration
        return Membership(
            self.client,
            namespace=self.lease_namespace,
            group="kco",
            identity=self.identity,
            clock=self._clock,
            duration=duration,
            period=duration / 4,
            changed=self._members_changed,
        )

    def _registry(self) -> CollectorRegistry:
        """The metrics as Prometheus reads them."""
        registry = CollectorRegistry()
        self.metrics.register(registry)
        polls, queue = self.services.engine.polls, self.services.queue
        self.metrics.gauges = {
            "operator_kco_active_monitors": ("Instances that are polled", lambda: float(len(polls))),
            "operator_kco_actions_waiting": ("Orders in the queue", lambda: float(queue.waiting())),
            "operator_kco_leader": ("1 while this replica acts", lambda: float(self.controller.acting)),
        }
        return registry

    @property
    def lease_namespace(self) -> str:
        return self.settings.operator_namespace or self._config.namespace

    # -- probes ------------------------------------------------------------------------------------------

    def _readings(self) -> list[TargetReading]:
        return self.controller.readings()

    def _unhealthy(self) -> list[str]:
        stood = asyncio.get_running_loop().time() - self.services.engine.beat_at
        if self.services.engine.beat_at and stood > self.settings.stall_seconds:
            return [f"the poll scheduler has stood still for {stood:.0f} s"]
        return []

    def _unready(self) -> list[str]:
        reasons = []
        if not self.started.is_set():
            reasons.append("starting")
        answered = self.client.last_answer_at
        if answered is None or asyncio.get_running_loop().time() - answered > 90:
            reasons.append("the API server has not answered lately")
        if self._acts_by_lease and not self.leadership.held and not self.leadership.holder:
            reasons.append("no replica holds the Lease")
        if (self.leadership.held or not self._acts_by_lease) and not self.controller.synced:
            reasons.append("the TargetApps have not been read yet")
        if self._blind:
            reasons.append(f"the TargetApps are not watched: {self._blind}")
        return reasons

    # -- sharing -----------------------------------------------------------------------------------------

    @property
    def _acts_by_lease(self) -> bool:
        return self.settings.leader_election and self.settings.sharing == "leader"

    def _owns(self, uid: str) -> bool:
        if self.settings.sharing != "shares" or not self.settings.leader_election:
            return True
        return owner_of(uid, self.membership.live) == self.identity

    def _leadership_changed(self, held: bool) -> None:
        record(log, logging.INFO, "leadership", held=held, identity=self.identity)
        if not held and not self._stopping.is_set():
            # Another replica may act from now on. The cleanest way to be sure that this one does nothing
            # more is to end the process; the Deployment starts it again as a standby.
            self._lost.set()

    def _members_changed(self, live: tuple[str, ...]) -> None:
        record(log, logging.INFO, "replicas", live=list(live))
        if self.controller.acting:
            self._tasks.append(asyncio.create_task(self.controller.reshare()))

    # -- life --------------------------------------------------------------------------------------------

    async def run(self, *, signals: bool = True) -> int:
        """Run until stopped; the process's exit code."""
        loop = asyncio.get_running_loop()
        try:
            await self._start()
        except BaseException:
            await self._close()
            raise
        if signals:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self.stop)
        try:
            await self._wait()
        finally:
            await self._shut_down()
        return 1 if self._lost.is_set() else 0

    def stop(self) -> None:
        """Ask for a graceful end."""
        self._stopping.set()

    async def _start(self) -> None:
        await self._check_cluster()
        self._refuse_api_server(await self._api_addresses())
        if self.services.history is not None:
            try:
                await self.services.history.open()
            except HistoryError as failure:
                raise CannotStart(f"KCO_HISTORY_URL: {failure}") from None
        self.services.engine.start()
        try:
            await self.exposition.start()
        except PortBusy as busy:
            raise CannotStart(str(busy)) from None
        record(log, logging.INFO, "started", identity=self.identity, ports=self.exposition.ports)

    async def _wait(self) -> None:
        if self._acts_by_lease:
            self._election = asyncio.create_task(self.leadership.run(), name="leader election")
            while not self.leadership.held and not self._stopping.is_set():
                if self.leadership.holder not in ("", self.identity):
                    # A standby is as ready as it can be.
                    self.started.set()
                await asyncio.sleep(0.05)
        elif self.settings.leader_election:
            await self.membership.beat()
            self._election = asyncio.create_task(self.membership.run(), name="membership")
        if self._stopping.is_set():
            return
        await self._insist_take_over()
        self.started.set()
        ends: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(event.wait()) for event in (self._stopping, self._lost)
        ]
        watch = self._watch()
        try:
            while not any(end.done() for end in ends):
                assert watch.ended is not None
                await asyncio.wait({watch.ended, *ends}, return_when=asyncio.FIRST_COMPLETED)
                if watch.ended.done() and not any(end.done() for end in ends):
                    self._blind = str(watch.ended.exception() or "the watch ended")
                    record(log, logging.ERROR, "watch_ended", error=self._blind)
                    await asyncio.wait(ends, timeout=2.0, return_when=asyncio.FIRST_COMPLETED)
                    await self._resync()
                    watch = self._watch()
        finally:
            for end in ends:
                end.cancel()
            await self._quiesce()
            await watch.stop()

    def _watch(self) -> Watch:
        """A running watch of TargetApps."""
        watch = Watch(
            self.client,
            namespace=self.settings.namespace,
            identity=self.identity,
            observe=self.controller.observe,
            vanished=self.controller.vanished,
            began=self._sees,
        )
        watch.start()
        return watch

    def _sees(self) -> None:
        self._blind = ""

    async def _resync(self) -> None:
        """What vanished while nobody watched is told by nobody: look for it."""
        try:
            await self.controller.resync()
        except ApiFailure as failure:
            record(log, logging.WARNING, "resync_failed", error=str(failure))

    async def _insist_take_over(self) -> None:
        wait = 0.5
        while not self._stopping.is_set():
            try:
                await self.controller.take_over()
                return
            except ApiFailure as failure:
                record(log, logging.WARNING, "take_over_failed", error=str(failure))
                await self._clock.sleep(wait)
                wait = min(wait * 2, 15)

    async def _quiesce(self) -> None:
        """Finish what runs, write what waits."""
        grace = self.settings.shutdown_grace if not self._lost.is_set() else 0.0
        await self.services.engine.stop()
        await self.services.queue.stop(grace)
        if not self._lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):
                    await self.controller.flush()
        await self.services.recorder.drain(4)
        await self.controller.lay_down()
        if self.services.history is not None:
            await self.services.history.close()

    async def _shut_down(self) -> None:
        if self._election is not None:
            self._election.cancel()
            await asyncio.gather(self._election, return_exceptions=True)
        if not self._lost.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(3):
                    await self.leadership.release()
                    if self.settings.sharing == "shares":
                        await self.membership.leave()
        await self._close()
        record(log, logging.INFO, "stopped")

    async def _close(self) -> None:
        await self.services.engine.stop()
        await self.exposition.close()
        await self.services.clusters.close()
        if self.services.history is not None:
            await self.services.history.close()
        for task in self._tasks:
            task.cancel()
        await self.client.close()

    # -- checks ------------------------------------------------------------------------------------------

    async def _check_cluster(self) -> None:
        namespace = self.settings.namespace or None
        for resource in (TARGET_APPS, ACTION_RUNS):
            try:
                await self.client.list(resource, namespace)
            except ApiFailure as failure:
                name = f"{resource.plural}.{resource.group}"
                if failure.not_found:
                    raise CannotStart(
                        f"the CRD {name} is not installed in {self._config.server}; "
                        "install the chart, or: kubectl apply -f operators/kco/crds"
                    ) from None
                if failure.forbidden:
                    raise CannotStart(
                        f"{failure.message}; the operator's role lacks list on {name}"
                    ) from None
                raise CannotStart(
                    f"the API server {self._config.server} (from {self._config.source}) cannot be used: {failure}"
                ) from None

    async def _api_addresses(self) -> list[str]:
        parts = urlsplit(self._config.server)
        try:
            return list(await system_resolver(parts.hostname or "", parts.port or 443))
        except Unresolvable:
            return []

    def _refuse_api_server(self, addresses: list[str]) -> None:
        hosts = [*addresses, os.environ.get("KUBERNETES_SERVICE_HOST", "")]
        for address in hosts:
            with contextlib.suppress(ValueError):
                if address:
                    self.services.guard.refuse(address)
