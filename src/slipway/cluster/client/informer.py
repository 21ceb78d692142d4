"""A local copy of one resource, kept true by list and watch, with indexes and change handlers.

`managedFields` are left out: no controller reads them, and they are the larger half of many objects (a PUT
without them keeps the server's). Within one process the rest is shared with the server. Controllers share informers through an `InformerFactory`: one list and one watch a resource, however many read
it. Objects handed out are the cache's own: clone before you change one. `caught_up` lets a controller wait
until its own writes have come back, so that it never decides on a view older than what it did itself.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import aclosing

from slipway.cluster.client.client import Client, WatchEvent
from slipway.cluster.client.objects import Key, Object, is_deleting, key_of, namespace_of, revision_of, uid_of
from slipway.cluster.client.resources import ApiResource
from slipway.cluster.status import StatusError

logger = logging.getLogger(__name__)

Handler = Callable[[Object | None, Object | None], None]  # old, new: None for "was not" and "is gone"
IndexFunction = Callable[[Object], Iterable[str]]

_FIRST_BACKOFF = 0.8  # seconds; as client-go's reflector
_LONGEST_BACKOFF = 30.0
_SHORT_WATCH = 1.0  # a watch that ends sooner without an event is answered with a pause


class Informer:
    """Lists, then watches, for ever; started by `run`, stopped by cancelling it."""

    def __init__(
        self,
        client: Client,
        resource: ApiResource,
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
    ) -> None:
        self.resource = resource
        self.revision = 0  # of the newest list, event or bookmark seen
        self._client = client
        self._namespace = namespace
        self._label_selector = label_selector
        self._field_selector = field_selector
        self._objects: dict[Key, Object] = {}
        self._handlers: list[Handler] = []
        self._index_functions: dict[str, IndexFunction] = {"namespace": lambda obj: (namespace_of(obj),)}
        self._indexes: dict[str, dict[str, dict[Key, Object]]] = {"namespace": {}}
        self._synced = asyncio.Event()
        # In the order in which they began to wait, which is the order in which they go on.
        self._progress: dict[asyncio.Future[None], None] = {}

    def add_handler(self, handler: Handler) -> Callable[[], None]:
        """Call for every change from now on, and at once for every object already known.

        What is returned takes the handler away again.
        """
        self._handlers.append(handler)
        for obj in list(self._objects.values()):
            handler(None, obj)
        return lambda: self._handlers.remove(handler)

    def add_index(self, name: str, function: IndexFunction) -> None:
        """Make `indexed(name, value)` possible; adding the same name again keeps the first function."""
        if name in self._index_functions:
            return
        self._index_functions[name] = function
        self._indexes[name] = {}
        for key, obj in self._objects.items():
            self._enter(name, key, obj)

    async def caught_up(self, revision: int, timeout: float) -> bool:
        """Wait until a change of at least `revision` was seen; False when `timeout` seconds passed first."""
        return await self._until(lambda: self.revision >= revision, timeout)

    def get(self, namespace: str, name: str) -> Object | None:
        return self._objects.get((namespace, name))

    async def gone(self, namespace: str, name: str, uid: str, timeout: float) -> bool:
        """Wait until the object of that uid is seen deleted, or at least being deleted."""

        def is_gone() -> bool:
            obj = self._objects.get((namespace, name))
            return obj is None or uid_of(obj) != uid or is_deleting(obj)

        return await self._until(is_gone, timeout)

    def indexed(self, index: str, value: str) -> list[Object]:
        return list(self._indexes[index].get(value, {}).values())

    def list(self, namespace: str = "") -> list[Object]:
        """All objects, or those of one namespace, in the order in which they became known."""
        return self.indexed("namespace", namespace) if namespace else [*self._objects.values()]

    async def run(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            try:
                await self._fill()
                backoff = _FIRST_BACKOFF
                await self._follow()
            except StatusError as error:
                if error.code == 410:
                    logger.debug("%s: watch too old, listing again", self.resource.qualified)
                    continue
                logger.debug("%s: %s; trying again in %.1f s", self.resource.qualified, error, backoff)
            except OSError as error:
                logger.debug("%s: %s; trying again in %.1f s", self.resource.qualified, error, backoff)
            await self._client.clock.sleep(backoff)
            backoff = min(backoff * 2, _LONGEST_BACKOFF)

    async def wait_synced(self) -> None:
        await self._synced.wait()

    async def _fill(self) -> None:
        found = await self._client.list(
            self.resource,
            self._namespace,
            label_selector=self._label_selector,
            field_selector=self._field_selector,
            read_only=True,
        )
        fresh = {key_of(item): _slim(item) for item in found["items"]}
        for key in [key for key in self._objects if key not in fresh]:
            self._change(key, None)
        for key, obj in fresh.items():
            known = self._objects.get(key)
            if known is None or revision_of(known) != revision_of(obj) or uid_of(known) != uid_of(obj):
                self._change(key, obj)
        self._advance(revision_of(found))
        self._synced.set()

    async def _follow(self) -> None:
        """Watch from the newest known revision, again and again, until that fails."""
        while True:
            started, seen = self._client.clock.now(), 0
            events = self._client.watch(
                self.resource,
                self._namespace,
                resource_version=str(self.revision),
                label_selector=self._label_selector,
                field_selector=self._field_selector,
                bookmarks=True,
                read_only=True,
            )
            async with aclosing(events) as stream:
                async for event in stream:
                    seen += 1
                    self._take(event)
            if not seen and self._client.clock.now() - started < _SHORT_WATCH:
                await self._client.clock.sleep(_SHORT_WATCH)

    def _take(self, event: WatchEvent) -> None:
        if event.type != "BOOKMARK":
            obj = _slim(self.resource.typed(event.object))
            self._change(key_of(obj), None if event.type == "DELETED" else obj, last=obj)
        self._advance(revision_of(event.object))

    def _change(self, key: Key, new: Object | None, last: Object | None = None) -> None:
        old = self._objects.get(key)
        if old is not None:
            self._leave(key, old)
        if new is not None:
            self._objects[key] = new
            for index in self._indexes:
                self._enter(index, key, new)
        elif old is None:
            return
        # A deletion hands out the last state, which may be newer than the one in the cache.
        before = last if new is None and last is not None else old
        for handler in self._handlers:
            try:
                handler(before, new)
            except Exception:
                logger.exception("a handler of %s failed on %s/%s", self.resource.qualified, *key)

    def _enter(self, index: str, key: Key, obj: Object) -> None:
        for value in self._index_functions[index](obj):
            self._indexes[index].setdefault(value, {})[key] = obj

    def _leave(self, key: Key, obj: Object) -> None:
        for index, values in self._indexes.items():
            for value in self._index_functions[index](obj):
                bucket = values.get(value)
                if bucket is not None:
                    bucket.pop(key, None)
                    if not bucket:
                        del values[value]
        del self._objects[key]

    def _advance(self, revision: int) -> None:
        self.revision = max(self.revision, revision)
        for waiter in self._progress:
            if not waiter.done():
                waiter.set_result(None)

    async def _until(self, reached: Callable[[], bool], timeout: float) -> bool:
        try:
            async with asyncio.timeout(timeout):
                while not reached():
                    waiter = asyncio.get_running_loop().create_future()
                    self._progress[waiter] = None
                    try:
                        await waiter
                    finally:
                        self._progress.pop(waiter, None)
        except TimeoutError:
            return False
        return True


def _slim(obj: Object) -> Object:
    metadata = {name: value for name, value in obj["metadata"].items() if name != "managedFields"}
    return {**obj, "metadata": metadata}


class InformerFactory:
    """One informer a resource, started when first asked for while the factory runs."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._informers: dict[ApiResource, Informer] = {}
        self._tasks: dict[ApiResource, asyncio.Task[None]] = {}
        self._running = False

    def informer(self, resource: ApiResource) -> Informer:
        informer = self._informers.get(resource)
        if informer is None:
            informer = self._informers[resource] = Informer(self.client, resource)
            if self._running:
                self._launch(resource, informer)
        return informer

    def known(self) -> set[ApiResource]:
        return set(self._informers)

    def start(self) -> None:
        self._running = True
        for resource, informer in self._informers.items():
            if resource not in self._tasks:
                self._launch(resource, informer)

    async def stop(self) -> None:
        self._running = False
        tasks = [*self._tasks.values()]
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def drop(self, resource: ApiResource) -> None:
        """Forget a resource that is no longer served."""
        self._informers.pop(resource, None)
        task = self._tasks.pop(resource, None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def wait_synced(self) -> None:
        for informer in [*self._informers.values()]:
            await informer.wait_synced()

    def _launch(self, resource: ApiResource, informer: Informer) -> None:
        self._tasks[resource] = asyncio.create_task(informer.run(), name=f"informer {resource.qualified}")
