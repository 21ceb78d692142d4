"""Carries out what a step function decided, and knows when the informers have seen it.

`settled` is this package's form of client-go's expectations: a key is not looked at again before its own
writes have come back through the watches, so that a step never decides on a view older than what it did.
"""

from __future__ import annotations

from collections.abc import Iterable

from slipway.cluster.client.client import Client
from slipway.cluster.client.events import EventRecorder
from slipway.cluster.client.informer import InformerFactory
from slipway.cluster.client.objects import Object, name_of, namespace_of, revision_of, uid_of
from slipway.cluster.client.resources import ApiResource
from slipway.cluster.controllers.writes import Announce, Create, Delete, Patch, Plan, Update, Write
from slipway.cluster.status import StatusError

EXPECTATIONS_TIMEOUT = 300.0  # seconds, as upstream's ExpectationsTimeout


def namespace_is_terminating(error: StatusError) -> bool:
    """Whether a create was refused because its namespace is being deleted: then nothing needs to be done."""
    causes = (error.details or {}).get("causes") or ()
    return any(cause.get("reason") == "NamespaceTerminating" for cause in causes)


class Effects:
    """One reconcile's writes; made anew for each."""

    def __init__(self, client: Client, informers: InformerFactory, recorder: EventRecorder) -> None:
        self.client = client
        self._informers = informers
        self._recorder = recorder
        self._written: dict[ApiResource, int] = {}  # newest revision of ours
        self._deleted: list[tuple[ApiResource, Object]] = []

    async def carry_out(self, plan: Plan) -> None:
        """All events and writes; StatusError of the first write that fails."""
        for event in plan.events:
            self.announce(event)
        await self.write(plan.writes)

    async def write(self, writes: Iterable[Write]) -> None:
        for write in writes:
            await self.do(write)

    async def do(self, write: Write) -> Object | None:
        """One write; what the server answered, None when there was nothing to do any more."""
        match write:
            case Create():
                return await self._create(write)
            case Update(resource, obj, subresource, done):
                written = await self.client.update(resource, resource.typed(obj), subresource=subresource)
                self._announce_written(done, written)
                return self._note(resource, written)
            case Patch(resource, namespace, name, body, type, subresource):
                written = await self.client.patch(
                    resource, name, namespace, body, type, subresource=subresource
                )
                return self._note(resource, written)
            case Delete():
                return await self._delete(write)

    def announce(self, event: Announce, *, name: str = "", error: str = "") -> None:
        message = event.message.replace("{name}", name).replace("{error}", error)
        self._recorder.event(event.about, event.type, event.reason, message)

    async def settled(self) -> None:
        """Wait until every informer of a written resource has seen what was written."""
        known = self._informers.known()
        for resource, revision in self._written.items():
            if resource in known:
                await self._informers.informer(resource).caught_up(revision, EXPECTATIONS_TIMEOUT)
        for resource, obj in self._deleted:
            if resource in known:
                informer = self._informers.informer(resource)
                await informer.gone(namespace_of(obj), name_of(obj), uid_of(obj), EXPECTATIONS_TIMEOUT)

    @property
    def quiet(self) -> bool:
        """Nothing was written."""
        return not self._written and not self._deleted

    async def _create(self, write: Create) -> Object | None:
        try:
            written = await self.client.create(write.resource, write.obj)
        except StatusError as error:
            if namespace_is_terminating(error):
                return None
            if write.failed:
                self.announce(write.failed, name=name_of(write.obj), error=error.message)
            raise
        self._announce_written(write.done, written)
        return self._note(write.resource, written)

    async def _delete(self, write: Delete) -> Object | None:
        obj = write.obj
        try:
            answer = await self.client.delete(
                write.resource,
                name_of(obj),
                namespace_of(obj),
                uid=uid_of(obj),
                propagation=write.propagation,
                grace_period=write.grace_period,
            )
        except StatusError as error:
            if error.code == 404:
                return None
            if write.failed:
                self.announce(write.failed, name=name_of(obj), error=error.message)
            raise
        self._deleted.append((write.resource, obj))
        self._announce_written(write.done, obj)
        return answer

    def _announce_written(self, event: Announce | None, written: Object) -> None:
        if event:
            self.announce(event, name=name_of(written))

    def _note(self, resource: ApiResource, written: Object) -> Object:
        revision = revision_of(written)
        if revision > self._written.get(resource, 0):
            self._written[resource] = revision
        return written
