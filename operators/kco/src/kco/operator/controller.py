"""All TargetApps of this replica: which are followed, when they are configured, how a restart takes over.

`observe` and `vanished` are called for every change of a TargetApp (by kopf's handlers); `take_over` when this
replica begins to act, `lay_down` when it must stop. Between the two, each TargetApp has one worker task that
configures it after each change and again when something it refers to was missing.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from kco.actions.handler import FINISHED
from kco.actions.ledger import key_of, phase_of
from kco.actions.queue import Ended, Order
from kco.events.recorder import Subject
from kco.metrics import EVENTS, TargetReading
from kco.net.guard import Refused, Unresolvable
from kco.operator import configuration, following, reporting
from kco.operator import runs as runs_of
from kco.operator.preparation import Unusable, missing_permissions, prepare, refers
from kco.operator.services import Services
from kco.operator.target import NOW, ROUTINE, SOON, Target
from kco.spec.document import InvalidQuery
from kco.spec.reading import InvalidSpec
from kco.spec.targetapp import GROUP, VERSION
from kco.targets.credentials import MissingValue
from kco.targets.instance import needs_pods
from operator_kit.clock import from_rfc3339
from operator_kit.kube.client import Resource
from operator_kit.kube.config import KubeConfigError
from operator_kit.kube.failure import ApiFailure
from operator_kit.logging import record

log = logging.getLogger(__name__)

TARGET_APPS = Resource(GROUP, VERSION, "targetapps")
RECHECK = 15.0
REVIEW = 60.0
COMPARE = 300.0
STATUS_SPACING = {NOW: 0.2, SOON: 5.0, ROUTINE: 60.0}


class _Known(NamedTuple):
    """What is kept of every TargetApp, followed or not: whole bodies would be most of the memory."""

    namespace: str
    name: str
    generation: int

    @classmethod
    def of(cls, body: dict[str, Any]) -> "_Known":
        metadata = body["metadata"]
        return cls(metadata["namespace"], metadata["name"], int(metadata.get("generation") or 0))


class Controller:
    """Holds every target of this replica."""

    def __init__(self, services: Services, *, owns: Callable[[str], bool] = lambda uid: True) -> None:
        self._services = services
        self._owns = owns
        self._known: dict[str, _Known] = {}
        self._runs: dict[str, list[dict[str, Any]]] = {}
        self.targets: dict[str, Target] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._wake: dict[str, asyncio.Event] = {}
        self._writer: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()
        self.acting = False
        self.synced = False

    # -- what the watch says -----------------------------------------------------------------------------

    def observe(self, body: dict[str, Any]) -> None:
        """A TargetApp is there, or has changed."""
        uid = body["metadata"]["uid"]
        if body["metadata"].get("deletionTimestamp") and not body["metadata"].get("finalizers"):
            self.vanished(uid)
            return
        known = self._known.get(uid)
        self._known[uid] = seen = _Known.of(body)
        target = self.targets.get(uid)
        if target is None:
            if self.acting and self._owns(uid):
                self._follow(body)
            return
        # Status writes, labels and annotations leave the generation as it is, and need nothing.
        if known is None or known.generation != seen.generation:
            target.update(body)
            self._wake[uid].set()

    def vanished(self, uid: str) -> None:
        """A TargetApp is gone."""
        self._known.pop(uid, None)
        self._runs.pop(uid, None)
        self._unfollow(uid, gone=True)

    async def resync(self) -> None:
        """Forget TargetApps that are gone although nobody told; changed ones come with the watch."""
        # Those that come while the list is on its way are not in it, and not gone.
        before = list(self._known)
        listing = await self._services.client.list(TARGET_APPS, self._services.settings.namespace or None)
        present = {body["metadata"]["uid"] for body in listing.get("items") or []}
        for uid in before:
            if uid not in present:
                self.vanished(uid)

    def pods_changed(self, cluster: str, namespace: str) -> None:
        """Pods of a namespace appeared, vanished or changed readiness."""
        for target in self.targets.values():
            prepared = target.prepared
            if prepared is not None and target.namespace == namespace and prepared.cluster.key == cluster:
                following.resolve(target)

    # -- acting ------------------------------------------------------------------------------------------

    async def take_over(self) -> None:
        """Begin to act: read TargetApps and ledger afresh, then follow what is ours."""
        services = self._services
        namespace = services.settings.namespace or None
        listing = await services.client.list(TARGET_APPS, namespace)
        runs = await services.ledger.all(namespace)
        bodies = {body["metadata"]["uid"]: body for body in listing.get("items") or []}
        self._known = {uid: _Known.of(body) for uid, body in bodies.items()}
        self._runs = {}
        for run in runs:
            self._runs.setdefault(key_of(run).uid, []).append(run)
        self.acting = True
        for uid, body in bodies.items():
            if self._owns(uid):
                self._follow(body)
        self._writer = asyncio.create_task(self._write_statuses(), name="status writer")
        self.synced = True
        record(log, logging.INFO, "acting", targets=len(self.targets))

    async def lay_down(self) -> None:
        """Stop acting at once; what runs is cancelled by the queue's owner."""
        self.acting = False
        for uid in list(self.targets):
            self._unfollow(uid, gone=False)
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
            self._writer = None

    async def reshare(self) -> None:
        """The live replicas have changed: follow what is ours now, and nothing else."""
        if not self.acting:
            return
        # Targets come and go while this waits.
        for uid, target in list(self.targets.items()):
            if not self._owns(uid):
                await self._flush(target)
                self._unfollow(uid, gone=False)
        for uid, known in list(self._known.items()):
            if uid not in self.targets and self._owns(uid):
                await self._take(uid, known)

    async def _take(self, uid: str, known: _Known) -> None:
        """Follow a TargetApp that another replica had."""
        try:
            body = await self._services.client.get(TARGET_APPS, known.namespace, known.name)
            runs = await self._services.ledger.of_target(known.namespace, uid)
        except ApiFailure as failure:
            record(log, logging.WARNING, "reshare_failed", error=str(failure))
            return
        if body["metadata"]["uid"] == uid and uid in self._known and self.acting and self._owns(uid):
            self._runs[uid] = runs
            self._follow(body)

    async def flush(self) -> None:
        """Write every status that has something new."""
        await asyncio.gather(
            *(self._flush(target) for target in self.targets.values() if target.urgency),
            return_exceptions=True,
        )

    def _follow(self, body: dict[str, Any]) -> None:
        uid = body["metadata"]["uid"]
        if uid in self.targets:
            return
        target = self.targets[uid] = Target(body, self._services)
        self._wake[uid] = asyncio.Event()
        self._wake[uid].set()
        self._workers[uid] = asyncio.create_task(self._work(target), name=f"target {target.name}")

    def _unfollow(self, uid: str, *, gone: bool) -> None:
        target = self.targets.pop(uid, None)
        if target is None:
            return
        worker = self._workers.pop(uid, None)
        if worker is not None:
            worker.cancel()
        self._wake.pop(uid, None)
        following.stop(target)
        if target.prepared is not None:
            target.prepared.cluster.pods.release(target.namespace, uid)
        if gone:
            self._services.queue.forget(uid)
            self._services.recorder.forget(uid)

    # -- one target's worker -----------------------------------------------------------------------------

    async def _work(self, target: Target) -> None:
        """Configure after each change; look again later where something was missing."""
        wake = self._wake[target.uid]
        first = True
        while True:
            wait: float = REVIEW
            if wake.is_set() or target.prepared is None:
                wake.clear()
                wait = await self._configure(target) or REVIEW
                if first and target.prepared is not None:
                    first = False
                    self._resume(target)
            elif target.prepared.actions or refers(target.prepared.spec):
                # Permissions may have been given or taken, Secrets rotated.
                wait = await self._configure(target, review=True) or REVIEW
            try:
                async with asyncio.timeout(wait):
                    await wake.wait()
            except TimeoutError:
                continue

    async def _configure(self, target: Target, *, review: bool = False) -> float | None:
        """One configuration; the seconds after which to try again, where that may help.

        A `review` is of an object that has not changed: it goes on as it was unless what it refers to has.
        """
        services = self._services
        try:
            spec = target.spec()
            if spec.suspend:
                configuration.suspended(target)
                return None
            prepared = await prepare(
                spec,
                target.namespace,
                services.clusters,
                services.registry,
                services.settings.enabled_actions,
            )
            missing = await missing_permissions(prepared, target.namespace) if prepared.actions else []
        except InvalidSpec as invalid:
            configuration.failed(target, "Ready", "InvalidSpec", "; ".join(invalid.problems[:5]))
            return None
        except Unusable as unusable:
            configuration.failed(target, unusable.condition, unusable.reason, str(unusable))
            return None
        except InvalidQuery as invalid:
            configuration.failed(target, "QueryValid", "InvalidSchema", str(invalid))
            return RECHECK
        except (MissingValue, KubeConfigError, Refused, Unresolvable) as absent:
            configuration.failed(target, "Ready", "MissingValue", str(absent))
            return RECHECK
        except ApiFailure as failure:
            if review:
                record(log, logging.WARNING, "review_failed", tapp=target.name, error=str(failure))
            else:
                configuration.failed(target, "Ready", "ApiFailure", str(failure))
            return RECHECK
        except Exception as surprise:
            # Whatever a spec or a plugin provokes stays with its TargetApp.
            log.exception("configuring failed", extra={"fields": {"tapp": target.name}})
            configuration.failed(target, "Ready", "InternalError", f"{type(surprise).__name__}: {surprise}")
            return RECHECK
        if review and target.prepared is not None and prepared.asks_like(target.prepared):
            configuration.authorization(target, missing)
            return None
        if needs_pods(spec) or not spec.selector.empty:
            prepared.cluster.pods.follow(target.namespace, target.uid)
        configuration.configured(target, prepared, missing)
        return None

    def _resume(self, target: Target) -> None:
        """Take over what the ledger shows: later transitions, runs that never began, runs that were cut off."""
        runs = self._runs.pop(target.uid, [])
        assert target.book is not None
        for run in sorted(runs, key=lambda body: key_of(body).transition):
            key = key_of(run)
            created = from_rfc3339(run["metadata"]["creationTimestamp"])
            target.book.already_ran(key.rule, key.instance, key.transition, created)
            if (
                phase_of(run) not in FINISHED
                and run["metadata"]["name"] not in self._services.queue.executing
            ):
                followed = target.followed.get(key.instance)
                reason = str(run["spec"].get("reason", ""))
                order = runs_of.make_order(
                    target, key, followed, reason, [], self._services.correlation(), run
                )
                if order is not None:
                    record(log, logging.INFO, "action_resumed", run=key.name, phase=phase_of(run))
                    self._services.queue.submit(order)

    # -- runs --------------------------------------------------------------------------------------------

    def run_began(self, order: Order) -> None:
        target = self.targets.get(order.key.uid)
        if target is not None:
            runs_of.began(target, order)

    def run_ended(self, ended: Ended) -> None:
        target = self.targets.get(ended.order.key.uid)
        if target is not None:
            runs_of.ended(target, ended)
            self._spawn(self._prune(target))

    async def _prune(self, target: Target) -> None:
        try:
            await self._services.ledger.prune(
                await self._services.ledger.of_target(target.namespace, target.uid)
            )
        except ApiFailure as failure:
            record(log, logging.WARNING, "prune_failed", tapp=target.name, error=str(failure))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def event_written(self, subject: Subject, kind: str) -> None:
        target = self.targets.get(subject.uid)
        if target is not None:
            target.counts.add(EVENTS, kind)
            target.want_status(SOON)

    # -- status ------------------------------------------------------------------------------------------

    async def _write_statuses(self) -> None:
        """Write what is due; in quiet times one write a minute for each TargetApp."""
        clock = self._services.clock
        compared = clock.monotonic()
        while True:
            # In calls of their own: a local name would hold on to targets that are long gone.
            await self._write(self._due())
            if clock.monotonic() - compared >= COMPARE:
                compared = clock.monotonic()
                await self._compare()
            await clock.sleep(0.2)

    async def _compare(self) -> None:
        """A gap in kopf's watch hides deletions, and a target that is not polled has no status to write."""
        try:
            await self.resync()
        except ApiFailure as failure:
            record(log, logging.WARNING, "resync_failed", error=str(failure))

    def _due(self) -> list[Target]:
        moment = self._services.clock.monotonic()
        due = []
        for target in self.targets.values():
            if not target.urgency and moment - target.written_at > 60 and target.last_polled():
                target.urgency = ROUTINE
            if target.urgency and moment - target.written_at >= STATUS_SPACING[target.urgency]:
                due.append(target)
        return due

    async def _write(self, due: list[Target]) -> None:
        for start in range(0, len(due), 20):
            await asyncio.gather(*(self._flush(target) for target in due[start : start + 20]))

    async def _flush(self, target: Target) -> None:
        urgency, target.urgency = target.urgency, 0
        target.written_at = self._services.clock.monotonic()
        body = {"status": reporting.status(target)}
        try:
            await self._services.client.patch(
                TARGET_APPS, target.namespace, target.name, body, subresource="status"
            )
        except ApiFailure as failure:
            if failure.not_found:
                # Deleted while nobody watched: kopf tells nothing of what vanished between a watch and its next list.
                self.vanished(target.uid)
                return
            # Not lost: it stays wanted, and is written whole the next time.
            target.want_status(urgency)
            record(log, logging.WARNING, "status_not_written", tapp=target.name, error=str(failure))

    # -- readings ----------------------------------------------------------------------------------------

    def readings(self) -> list[TargetReading]:
        return [
            TargetReading(target.namespace, target.name, reporting.counts(target), reporting.fields(target))
            for target in self.targets.values()
        ]
