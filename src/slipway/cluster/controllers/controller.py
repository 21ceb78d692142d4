"""What every controller is: informers that fill a queue of keys, and workers that reconcile one key at a time."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, ClassVar

from slipway.cluster.client import selectors
from slipway.cluster.client.client import Client
from slipway.cluster.client.events import EventRecorder
from slipway.cluster.client.informer import Handler, Informer, InformerFactory
from slipway.cluster.client.objects import (
    Key,
    Object,
    controller_of,
    controller_uid,
    key_of,
    labels_of,
    metadata,
    namespace_of,
    uid_of,
)
from slipway.cluster.client.queue import WorkQueue
from slipway.cluster.client.resources import ApiResource
from slipway.cluster.clock import Clock
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.status import StatusError

logger = logging.getLogger(__name__)


def selector_of(owner: Object) -> Any:
    return owner["spec"].get("selector")


@dataclass(slots=True)
class Pace:
    """How fast a controller may go: paused while `running` is clear, `delay` seconds before each reconcile."""

    running: asyncio.Event
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Context:
    """What a controller is given: its own client, the informers all share, time, chance, and its pace."""

    client: Client
    informers: InformerFactory
    recorder: EventRecorder
    clock: Clock
    random: Random
    pace: Pace


class Controller(ABC):
    """A subclass registers handlers in `watch` and decides in `reconcile`."""

    workers: ClassVar[int] = 5

    def __init__(self, context: Context) -> None:
        self.context = context
        self.clock = context.clock
        self.queue: WorkQueue[Key] = WorkQueue()
        self._informers: list[Informer] = []
        self._removals: list[Callable[[], None]] = []
        self._settling: set[asyncio.Task[None]] = set()
        self.watch()

    @abstractmethod
    def watch(self) -> None:
        """Ask for informers and say which changes put which keys into the queue."""

    @abstractmethod
    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        """Bring the world nearer to what `key` asks for; seconds after which to look again, or None."""

    @property
    def name(self) -> str:
        return type(self).__name__

    def informer(self, resource: ApiResource) -> Informer:
        informer = self.context.informers.informer(resource)
        if informer not in self._informers:
            self._informers.append(informer)
        return informer

    def enqueue(self, obj: Object) -> None:
        self.queue.add(key_of(obj))

    def own_changes(self, resource: ApiResource) -> Informer:
        """Each change of an object of `resource` puts its own key into the queue."""
        informer = self.informer(resource)
        self.handle(informer, lambda old, new: self.enqueue(new or old or {}))
        return informer

    def handle(self, informer: Informer, handler: Handler) -> None:
        """Add a handler that goes when this controller ends."""
        self._removals.append(informer.add_handler(handler))

    def owned_changes(self, resource: ApiResource, owners: ApiResource) -> Informer:
        """Each change of an object of `resource` wakes the controller of it, old and new, if of kind `owners`."""
        informer = self.informer(resource)
        index_by_controller(informer)

        def changed(old: Object | None, new: Object | None) -> None:
            for obj in (old, new):
                reference = controller_of(obj) if obj else None
                if reference and reference["kind"] == owners.kind:
                    group = str(reference["apiVersion"]).rpartition("/")[0]
                    if group == owners.group:
                        self.queue.add((namespace_of(obj or {}), str(reference["name"])))

        self.handle(informer, changed)
        return informer

    def orphan_changes(
        self, resource: ApiResource, owners: Informer, selector: Callable[[Object], Any] = selector_of
    ) -> Informer:
        """A changed object that nobody controls wakes all whose selector takes it."""
        informer = self.informer(resource)

        def changed(old: Object | None, new: Object | None) -> None:
            if new is not None and not controller_uid(new):
                labels_changed = old is None or metadata(old).get("labels") != metadata(new).get("labels")
                if labels_changed or controller_uid(old or {}):
                    for owner in owners.list(namespace_of(new)):
                        if selectors.matches(selector(owner), labels_of(new)):
                            self.enqueue(owner)

        self.handle(informer, changed)
        return informer

    async def prepare(self) -> None:
        """What must be done once between the informers' first sync and the first reconcile."""
        return

    async def run(self) -> None:
        """Work until cancelled."""
        workers: list[asyncio.Task[None]] = []
        try:
            for informer in self._informers:
                await informer.wait_synced()
            await self.prepare()
            workers += [
                asyncio.create_task(self._work(), name=f"{self.name} {n}") for n in range(self.workers)
            ]
            await asyncio.gather(*workers)
        finally:
            for remove in self._removals:
                remove()
            self.queue.stop()
            for task in [*workers, *self._settling]:
                task.cancel()
            await asyncio.gather(*workers, *self._settling, return_exceptions=True)

    async def _work(self) -> None:
        pace = self.context.pace
        while True:
            await pace.running.wait()
            key = await self.queue.get()
            try:
                await pace.running.wait()
                if pace.delay:
                    await self.clock.sleep(pace.delay)
            except asyncio.CancelledError:
                self.queue.done(key)
                raise
            effects = Effects(self.context.client, self.context.informers, self.context.recorder)
            await self._reconcile(key, effects)
            if effects.quiet:
                self.queue.done(key)
            else:
                # Waiting for our own writes must not hold up other keys.
                task = asyncio.create_task(self._settle(key, effects))
                self._settling.add(task)
                task.add_done_callback(self._settling.discard)

    async def _reconcile(self, key: Key, effects: Effects) -> None:
        try:
            again = await self.reconcile(key, effects)
        except (StatusError, OSError) as error:
            logger.debug("%s %s/%s: %s", self.name, *key, error)
            self.queue.add_rate_limited(key)
        except Exception:
            logger.exception("%s failed on %s/%s", self.name, *key)
            self.queue.add_rate_limited(key)
        else:
            self.queue.forget(key)
            if again is not None:
                self.queue.add_after(key, again)

    async def _settle(self, key: Key, effects: Effects) -> None:
        try:
            await effects.settled()
        finally:
            self.queue.done(key)


def index_by_controller(informer: Informer) -> None:
    """Index `controller` finds what an owner's uid controls, `orphan` what nobody in a namespace does."""
    informer.add_index("controller", lambda obj: (controller_uid(obj),) if controller_uid(obj) else ())
    informer.add_index("orphan", lambda obj: () if controller_uid(obj) else (namespace_of(obj),))


def controlled_by(informer: Informer, owner: Object) -> list[Object]:
    return informer.indexed("controller", uid_of(owner))
