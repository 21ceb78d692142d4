"""The task that moves one export's queue to its destination, whatever happens to the others."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections import deque
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sungather.clock import Clock
from sungather.exports.destination import Blocked, Delivery, Destination, Later, NotYet
from sungather.exports.outbox import Outbox
from sungather.readings.snapshot import Snapshot

log = logging.getLogger("sungather.exports")

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_BLOCKED_PAUSE = 300.0
_IDLE = 15.0
_HELD_IN_MEMORY = 1000
"""Readings that wait for a disk that takes no more; they end with the process."""


class State(StrEnum):
    STARTING = "starting"
    OK = "ok"
    RETRYING = "retrying"
    BLOCKED = "blocked"


@dataclass
class Status:
    """What an owner wants to know about an export."""

    state: State = State.STARTING
    last_success: datetime | None = None
    last_error: str | None = None
    last_error_at: datetime | None = None


class Exporter:
    """One export: its queue, its destination and its state."""

    def __init__(self, name: str, destination: Destination, outbox: Outbox, clock: Clock) -> None:
        self.name, self.destination, self.outbox = name, destination, outbox
        self.status = Status()
        self._clock = clock
        self._wake = asyncio.Event()
        self._pause = _FIRST_PAUSE
        self._told = ""
        self._begun = self._ended = 0  # attempts to deliver
        self._held: deque[tuple[str, float, str]] = deque()

    @property
    def waiting(self) -> int:
        """Readings that the destination has yet to get."""
        return self.outbox.waiting + len(self._held)

    def prepare(self, snapshot: Snapshot) -> str | None:
        """The payload, or None. A fault in one export's rendering stays its own."""
        try:
            return self.destination.prepare(snapshot)
        except Exception as error:
            self._failed(State.RETRYING, f"cannot render the readings: {error!r}")
            log.debug("%s", self.name, exc_info=True)
            return None

    def enqueue(self, key: str, at: float, payload: str | None) -> None:
        """Queue a payload, after those that the disk had no room for. Raises what the disk says, and holds them."""
        if payload is None:
            return
        self._held.append((key, at, payload))
        dropped = self.outbox.counts["dropped"]
        try:
            while self._held:
                self.outbox.add(*self._held[0])
                self._held.popleft()
        except (sqlite3.Error, OSError) as error:
            self._disk_failed(error)
            raise
        if dropped == 0 and self.outbox.counts["dropped"]:
            log.warning("%s: the queue is full, the oldest readings are being dropped", self.name)
        if self.status.state in (State.STARTING, State.OK):  # the pause after a failure is waited out
            self._wake.set()

    def _disk_failed(self, error: Exception) -> None:
        self.status.state = State.RETRYING
        self.status.last_error = f"the queue on disk takes no reading: {error}"
        self.status.last_error_at = self._clock.now()
        if len(self._held) > _HELD_IN_MEMORY:
            self._held.popleft()
            self.outbox.counts["dropped"] += 1  # in the file when it can be written again

    def retry_now(self) -> None:
        """Do not wait out the pause."""
        self._pause = _FIRST_PAUSE
        self._wake.set()

    async def run(self) -> None:
        """Deliver for ever; ends only by cancellation."""
        while True:
            self._wake.clear()
            self._begun += 1
            try:
                pause = await self._step()
            except Exception as error:
                # the queue itself failed, for example on a full disk: the task must outlive that
                self._disk_failed(error)
                log.error("%s: the queue failed: %s", self.name, error)
                pause = _LONGEST_PAUSE
            self._ended = self._begun
            if pause > 0:
                await self._sleep(pause)

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _step(self) -> float:
        """One delivery; seconds to wait before the next."""
        items = self.outbox.peek(self.destination.batch)
        try:
            if not items:
                await self.destination.idle()
                return _IDLE
            delivery = await self.destination.deliver(items)
        except NotYet as error:
            self._worked()
            return min(error.seconds, _LONGEST_PAUSE)
        except Blocked as error:
            self._failed(State.BLOCKED, error.reason)
            return _BLOCKED_PAUSE
        except Later as error:
            self._failed(State.RETRYING, error.reason)
            return self._next_pause(error.seconds)
        except Exception as error:
            self._failed(State.RETRYING, f"unexpected: {error!r}")
            log.debug("%s", self.name, exc_info=True)
            return self._next_pause(None)
        self._record(delivery)
        return 0.0

    def _record(self, delivery: Delivery) -> None:
        for item, reason in delivery.rejected:
            log.warning("%s: refused the reading %s for good: %s", self.name, item.key, reason)
            self.status.last_error, self.status.last_error_at = reason, self._clock.now()
        self.outbox.done(delivery.sent, [item for item, _ in delivery.rejected])
        self._worked(sent=bool(delivery.sent))

    def _worked(self, *, sent: bool = False) -> None:
        if self.status.state in (State.RETRYING, State.BLOCKED):
            log.warning("%s: works again, %d waiting", self.name, self.waiting)
        self.status.state, self._pause, self._told = State.OK, _FIRST_PAUSE, ""
        if sent:
            self.status.last_success = self._clock.now()

    def _failed(self, state: State, reason: str) -> None:
        self.outbox.count("failures")
        self.status.state = state
        self.status.last_error, self.status.last_error_at = reason, self._clock.now()
        if reason != self._told:
            log.warning("%s: %s; %d waiting", self.name, reason, self.waiting)
            self._told = reason

    def _next_pause(self, asked: float | None) -> float:
        pause, self._pause = self._pause, min(self._pause * 2, _LONGEST_PAUSE)
        return max(pause, asked or 0.0)

    async def drain(self, seconds: float, *, retry: bool = False) -> bool:
        """Wait until the queue is empty, the export blocked or `seconds` over; True when all was delivered.

        With `retry` the pause after a failure is not waited out, and what counts is an attempt that begins now.
        """
        until, attempt = self._clock.monotonic() + seconds, 0
        if retry:
            attempt = self._begun + 1
            self.retry_now()
        while self._clock.monotonic() < until:
            if self._ended >= attempt and (not self.waiting or self.status.state is State.BLOCKED):
                break
            await asyncio.sleep(0.05)
        return self.waiting == 0 and self.status.state is not State.BLOCKED

    async def close(self) -> None:
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(2):
                await self.destination.close()
        self.outbox.close()
