"""Telling people what happened to an object: Events, with repeats counted and floods folded into one.

The rules are client-go's EventCorrelator: an equal event raises `count` of the first; the eleventh similar
event (same all but the message) within ten minutes becomes "(combined from similar events)"; each source may
send 25 events about one object at once, and one more each five minutes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from slipway.cluster.client.client import Client, PatchType
from slipway.cluster.client.objects import Object, object_reference
from slipway.cluster.client.resources import EVENTS
from slipway.cluster.status import StatusError

logger = logging.getLogger(__name__)

_SIMILAR = 10
_SIMILAR_WINDOW = 600.0  # seconds
_BURST = 25.0
_REFILL = 1 / 300.0  # events a second
_REMEMBERED = 4096
_PENDING = 1000
_NAMING = ("apiVersion", "kind", "namespace", "name", "uid", "fieldPath")  # of a reference: what it is about


# What an event is about, by _NAMING. Thousands are remembered, most of them for one event: their keys share it.
_About = tuple[str, ...]


@dataclass(slots=True)
class _Family:
    """Events that differ in their message only."""

    messages: tuple[str, ...] = ()
    last: float = 0.0


@dataclass(slots=True)
class _Budget:
    """Of what is left to be said about one object."""

    about: _About
    tokens: float
    last: float


@dataclass(slots=True)
class _Seen:
    """The Event object that counts an event's repeats."""

    name: str
    count: int
    first: str


class EventRecorder:
    """Records on behalf of `component`; writes in the background and never fails its caller."""

    def __init__(self, client: Client, component: str, *, host: str = "") -> None:
        self._client = client
        self._component = component
        self._source = {"component": component, **({"host": host} if host else {})}
        self._pending: asyncio.Queue[Object] = asyncio.Queue(_PENDING)
        self._families: OrderedDict[tuple[_About, str, str], _Family] = OrderedDict()
        self._budgets: OrderedDict[_About, _Budget] = OrderedDict()
        self._seen: OrderedDict[tuple[_About | str, ...], _Seen] = OrderedDict()
        self._last_stamp = 0

    def event(self, about: Mapping[str, Any], type: str, reason: str, message: str) -> None:
        """`about` is an object with apiVersion and kind; `type` is Normal or Warning."""
        self.event_for(object_reference(about), type, reason, message)

    def event_for(self, reference: Mapping[str, str], type: str, reason: str, message: str) -> None:
        """The same about an object of which only a reference is at hand."""
        event = self._correlate(dict(reference), type, reason, message)
        if event is None:
            return
        try:
            self._pending.put_nowait(event)
        except asyncio.QueueFull:
            logger.warning("%s: too many events waiting; dropped %s", self._component, reason)

    async def flush(self) -> None:
        """Wait until everything recorded so far is written or given up."""
        await self._pending.join()

    async def run(self) -> None:
        """Write what is recorded; ends when cancelled."""
        while True:
            event = await self._pending.get()
            try:
                await self._write(event)
            except (StatusError, OSError) as error:
                logger.debug("%s: event not written: %s", self._component, error)
            finally:
                self._pending.task_done()

    def _correlate(self, reference: dict[str, str], type: str, reason: str, message: str) -> Object | None:
        now = self._client.clock.now()
        budget = self._budget(tuple(reference.get(name, "") for name in _NAMING), now)
        if budget.tokens < 1:
            return None
        budget.tokens -= 1
        about = budget.about
        family = _remember(self._families, (about, type, reason), _Family())
        if now - family.last > _SIMILAR_WINDOW:
            family.messages = ()
        family.last = now
        identity: tuple[_About | str, ...] = (about, type, reason, message)
        if message not in family.messages and len(family.messages) < _SIMILAR:
            family.messages = (*family.messages, message)
        if message not in family.messages:
            identity = (about, type, reason)
            message = f"(combined from similar events): {message}"
        stamp = self._client.clock.timestamp()
        seen = self._seen.get(identity)
        if seen is None:
            seen = _remember(self._seen, identity, _Seen(self._name(reference, now), 0, stamp))
        seen.count += 1
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": seen.name, "namespace": reference.get("namespace") or "default"},
            "involvedObject": reference,
            "type": type,
            "reason": reason,
            "message": message,
            "source": self._source,
            "reportingComponent": self._component,
            "reportingInstance": self._source.get("host", ""),
            "count": seen.count,
            "firstTimestamp": seen.first,
            "lastTimestamp": stamp,
        }

    def _budget(self, about: _About, now: float) -> _Budget:
        budget: _Budget = _remember(self._budgets, about, _Budget(about, _BURST, now))
        budget.tokens = min(_BURST, budget.tokens + (now - budget.last) * _REFILL)
        budget.last = now
        return budget

    def _name(self, reference: Mapping[str, str], now: float) -> str:
        # Nanoseconds as client-go has them, kept unique when a virtual clock stands still.
        self._last_stamp = max(self._last_stamp + 1, int(now * 1_000_000_000))
        return f"{reference.get('name', '')}.{self._last_stamp:x}"

    async def _write(self, event: Object) -> None:
        name, namespace = event["metadata"]["name"], event["metadata"]["namespace"]
        if event["count"] > 1:
            change = {field: event[field] for field in ("count", "lastTimestamp", "message")}
            try:
                await self._client.patch(EVENTS, name, namespace, change, PatchType.STRATEGIC)
                return
            except StatusError as error:
                if error.code != 404:  # expired meanwhile: written anew
                    raise
        await self._client.create(EVENTS, event)


def _remember(table: OrderedDict[Any, Any], key: Hashable, new: Any) -> Any:
    """The value of `key`, `new` if it has none; the least recently used one goes when there are too many."""
    value = table.setdefault(key, new)
    table.move_to_end(key)
    if len(table) > _REMEMBERED:
        table.popitem(last=False)
    return value
