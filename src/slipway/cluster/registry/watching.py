"""WATCH: the changes of the store as one watcher is to see them, from the revision asked for on."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from slipway.cluster.registry.call import Call
from slipway.cluster.registry.conversion import Conversions
from slipway.cluster.registry.definition import Definition
from slipway.cluster.registry.reading import check_list_options, parse_revision, selection_of
from slipway.cluster.registry.registry import Registry
from slipway.cluster.registry.selectors import Selection
from slipway.cluster.status import StatusError, expired
from slipway.cluster.store import Change, Compacted, Record, Route, Watch

Object = dict[str, Any]
BOOKMARK_INTERVAL = 60.0
INITIAL_EVENTS_END = "k8s.io/initial-events-end"

# How a watch waits for the next changes of its cursor: for so many seconds, after which there may be none.
Wait = Callable[[Watch, float], Awaitable[list[Change]]]


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event of a watch. A BOOKMARK has no record; an ERROR carries its Status."""

    kind: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    record: Record | None = None
    revision: int = 0
    initial_end: bool = False
    error: Object | None = None


async def watch(
    registry: Registry, definition: Definition, call: Call, timeout: float, wait: Wait = Watch.next
) -> AsyncIterator[WatchEvent]:
    """Events from the revision asked for on, until `timeout` seconds have passed.

    An object that leaves the selection is DELETED with the state in which it left; one that enters is ADDED.
    """
    check_list_options(call)
    selection = selection_of(definition, call)
    since = parse_revision(call.options.resource_version) if call.options.resource_version else 0
    return _events(registry, definition, call, timeout, selection, since, wait)


async def _events(
    registry: Registry,
    definition: Definition,
    call: Call,
    timeout: float,
    selection: Selection,
    since: int,
    wait_for_next: Wait,
) -> AsyncIterator[WatchEvent]:
    options, prefix = call.options, definition.prefix(call.namespace)
    store, clock, conversions = registry.store, registry.clock, registry.conversions
    end = clock.now() + timeout
    initial = options.send_initial_events or (options.send_initial_events is None and since == 0)
    if initial or since == 0:
        page = store.scan(definition.bucket, prefix)
        since = page.revision
        if initial:
            for record in await conversions.records(definition, page.records):
                if selection.everything or selection.matches(definition.from_storage(record.value)):
                    yield WatchEvent("ADDED", record)
        if options.send_initial_events:
            yield WatchEvent("BOOKMARK", revision=since, initial_end=True)
    # The last bookmark comes shortly before the end, so that a client goes on from there.
    bookmark_at = min(clock.now() + BOOKMARK_INTERVAL, max(end - 2, clock.now() + timeout / 2))
    try:
        with closing(store.watch(definition.bucket, since, _route(definition, selection))) as cursor:
            while (wait := end - clock.now()) > 0:
                if options.allow_watch_bookmarks:
                    wait = min(wait, max(0.0, bookmark_at - clock.now()))
                for change in await wait_for_next(cursor, wait):
                    if definition.webhook is not None:
                        change = await _converted(conversions, definition, change)
                    event = _event(definition, selection, prefix, change)
                    if event is not None:
                        yield event
                if options.allow_watch_bookmarks and clock.now() >= bookmark_at:
                    bookmark_at = clock.now() + BOOKMARK_INTERVAL
                    yield WatchEvent("BOOKMARK", revision=cursor.seen)
    except Compacted as error:
        yield WatchEvent("ERROR", error=_too_old(error).to_object())
    except StatusError as error:
        yield WatchEvent("ERROR", error=error.to_object())


async def _converted(conversions: Conversions, definition: Definition, change: Change) -> Change:
    """The change as the definition's version shows it."""
    previous = change.previous
    return dataclasses.replace(
        change,
        record=await conversions.record(definition, change.record),
        previous=previous and await conversions.record(definition, previous),
    )


def _route(definition: Definition, selection: Selection) -> Route | None:
    """Of the changes that concern a watch with a field selector, those that its first equality lets through."""
    found = next(((term, read) for term, read in selection.fields if term.equal), None)
    if found is None or definition.webhook is not None:  # a webhook cannot be asked where routes are taken
        return None
    term, read = found
    name = f"{definition.resource.api_version}:{term.path}"
    return Route(name, term.value, lambda value: read(definition.from_storage(value)))


def _event(definition: Definition, selection: Selection, prefix: str, change: Change) -> WatchEvent | None:
    if prefix and not change.record.key.startswith(prefix):
        return None
    if selection.everything:
        return WatchEvent(change.kind, change.record, change.revision)
    now = change.kind != "DELETED" and selection.matches(definition.from_storage(change.record.value))
    before = change.previous is not None and selection.matches(definition.from_storage(change.previous.value))
    if now:
        return WatchEvent("MODIFIED" if before else "ADDED", change.record, change.revision)
    if not before or change.previous is None:
        return None
    if change.kind == "DELETED":
        return WatchEvent("DELETED", change.record, change.revision)
    # It left the selection: the last matching state, at the revision of the change.
    value = dict(change.previous.value)
    value["metadata"] = {**value["metadata"], "resourceVersion": str(change.revision)}
    left = Record(change.record.key, value, change.record.created, change.revision)
    return WatchEvent("DELETED", left, change.revision)


def _too_old(error: Compacted) -> StatusError:
    return expired(f"too old resource version: {error.revision} ({error.oldest + 1})")
