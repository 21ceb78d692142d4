"""The loop: at each tick scan the inverter, make readings, write them down, hand them to every export.

A tick that comes while a scan still runs is skipped and counted. While the inverter is offline (every night, for
string inverters) tries become rarer and one line is logged per change of state.
"""

from __future__ import annotations

import asyncio
import logging
import math
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sungather.clock import Clock
from sungather.collection.session import Session
from sungather.exports.console import Console
from sungather.exports.delivery import Exporter
from sungather.ledger import Ledger
from sungather.readings import energy
from sungather.readings.assembly import Assembly
from sungather.readings.snapshot import Snapshot
from sungather.registers.scan import Identity
from sungather.transports.transport import Refusal, TransportError

log = logging.getLogger("sungather.collector")

_LONGEST_OFFLINE_PAUSE = 300.0


class State(StrEnum):
    STARTING = "starting"
    ONLINE = "online"
    OFFLINE = "offline"
    PAUSED = "paused"


@dataclass(frozen=True)
class Cycle:
    """What one collection did."""

    number: int
    started: datetime
    seconds: float
    snapshot: Snapshot | None
    error: TransportError | None


class Collector:
    """Ties session, readings and exports together."""

    def __init__(
        self,
        session: Session,
        assembly: Assembly,
        exporters: Sequence[Exporter],
        ledger: Ledger,
        clock: Clock,
        *,
        interval: float,
        history_days: int,
        console: Console | None = None,
    ) -> None:
        self.session, self.assembly, self.exporters, self.ledger = session, assembly, exporters, ledger
        self.clock, self.interval = clock, interval
        self._history_days, self._console = history_days, console
        self.state = State.STARTING
        self.state_since = clock.now()
        self.snapshot: Snapshot | None = None
        self._read_at = 0.0
        self.last_cycle: Cycle | None = None
        self.last_error: TransportError | None = None
        self.cycles = self.failed_cycles = self.skipped_ticks = 0
        self.recent: deque[Cycle] = deque(maxlen=50)
        self._wake = asyncio.Event()
        self._collecting = asyncio.Lock()
        self._told: set[str] = set()
        self._paused_until: float | None = None
        self._offline_tries = 0
        self._recover()

    def _recover(self) -> None:
        """Readings that were taken but not handed to every queue when the process ended."""
        for id, at, payloads in self.ledger.not_handed_over():
            queued = [self._queue(e, id, at, payloads.get(e.name)) for e in self.exporters]
            if all(queued):
                self._guarded("the reading stays marked", self.ledger.handed_over, id)

    async def run(self) -> None:
        """Collect for ever; ends only by cancellation."""
        start = self.clock.monotonic()
        tick = 0
        while True:
            if self._still_paused():
                await self._wait(min(1.0, self.interval))
                continue
            try:
                await self.collect()
            except Exception:
                # a fault of ours must not end the loop: it is logged, and the next tick tries again
                self.failed_cycles += 1
                log.exception("the collection failed")
            now = self.clock.monotonic()
            due = math.floor((now - start) / self.interval) + 1
            self.skipped_ticks += max(0, due - tick - 1)
            tick = due
            pause = start + tick * self.interval - now
            if self._offline_tries:
                longer = min(
                    self.interval * 2 ** min(self._offline_tries, 10),
                    max(_LONGEST_OFFLINE_PAUSE, self.interval),
                )
                extra = math.floor(max(0.0, longer - pause) / self.interval)
                tick, pause = tick + extra, pause + extra * self.interval
            await self._wait(pause)

    async def _wait(self, seconds: float) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def collect(self) -> Cycle:
        """One collection now, after the one under way if there is one."""
        async with self._collecting:
            self.cycles += 1
            started, clock = self.clock.now(), self.clock.monotonic()
            snapshot, error = None, None
            try:
                scan = await self.session.scan()
            except TransportError as failed:
                error = failed
                self._offline(failed)
            else:
                snapshot = self.assembly.snapshot(scan)
                self._online(snapshot)
                self._hand_over(snapshot)
            cycle = Cycle(self.cycles, started, self.clock.monotonic() - clock, snapshot, error)
            self.last_cycle = cycle
            self.recent.append(cycle)
            return cycle

    def _hand_over(self, snapshot: Snapshot) -> None:
        at = snapshot.taken.timestamp()
        payloads = {e.name: e.prepare(snapshot) for e in self.exporters}
        identity = snapshot.identity
        facts: dict[str, Any] = {"assembly": self.assembly.saved(), "identity": saved_identity(identity)}
        written = self._guarded(
            "the reading cannot be written down", self.ledger.take, snapshot.id, at, payloads, facts
        )
        queued = [self._queue(e, snapshot.id, at, payloads[e.name]) for e in self.exporters]
        self.snapshot, self._read_at = snapshot, self.clock.monotonic()
        if written and all(queued):
            self._guarded("the reading stays marked", self.ledger.handed_over, snapshot.id)
        self._guarded("the history cannot be written", self._remember_history, snapshot)
        if self._console:
            self._guarded("the console cannot be written", self._console.show, snapshot)

    def _queue(self, exporter: Exporter, id: str, at: float, payload: str | None) -> bool:
        what = f"{exporter.name}: the reading cannot be queued, memory holds it"
        return self._guarded(what, exporter.enqueue, id, at, payload)

    def _guarded(self, what: str, call: Callable[..., object], *arguments: object) -> bool:
        """True when it worked. A full disk or a closed terminal must not keep readings from the other places."""
        try:
            call(*arguments)
        except (sqlite3.Error, OSError) as error:
            log.log(logging.DEBUG if what in self._told else logging.ERROR, "%s: %s", what, error)
            self._told.add(what)
            return False
        self._told.discard(what)
        return True

    def _remember_history(self, snapshot: Snapshot) -> None:
        local = str(snapshot.value("timestamp")).replace(" ", "T")
        self.ledger.add_sample(
            snapshot.taken.timestamp(), local, energy.power(snapshot), energy.today(snapshot)
        )
        if self.cycles % 500 == 1:
            oldest = snapshot.taken - timedelta(days=self._history_days)
            self.ledger.forget_before(oldest.timestamp(), oldest.date().isoformat())

    def _online(self, snapshot: Snapshot) -> None:
        if self.state is not State.ONLINE:
            if self.state is State.OFFLINE:
                log.warning("the inverter answers again (%s)", snapshot.identity.model)
            self._enter(State.ONLINE)
        self._offline_tries, self.last_error = 0, None

    def _offline(self, error: TransportError) -> None:
        self.failed_cycles += 1
        if self.state is not State.OFFLINE or str(error) != str(self.last_error):
            hint = f" ({error.hint})" if error.hint and not isinstance(error, Refusal) else ""
            level = logging.WARNING if self.state is not State.OFFLINE else logging.INFO
            log.log(level, "the inverter cannot be read: %s%s", error, hint)
        if self.state is not State.OFFLINE:
            self._enter(State.OFFLINE)
        self._offline_tries += 1
        self.last_error = error

    def _enter(self, state: State) -> None:
        if self._paused_until is not None and state is not State.PAUSED:
            return  # a collection that was under way when the pause began
        self.state, self.state_since = state, self.clock.now()

    def collect_soon(self) -> None:
        """Cut the wait for the next tick short."""
        self._offline_tries = 0
        self._wake.set()

    def pause(self, minutes: float) -> None:
        """Leave the inverter alone, so that its owner can use its single session."""
        self._paused_until = self.clock.monotonic() + minutes * 60
        self._enter(State.PAUSED)
        self._wake.set()
        log.warning("paused for %g minutes", minutes)

    def resume(self) -> None:
        if self._paused_until is not None:
            self._paused_until = None
            self._enter(State.STARTING)
            log.warning("resumed")
        self.collect_soon()

    def paused_seconds(self) -> float:
        """Seconds until collecting goes on by itself; 0 when not paused."""
        return max(0.0, (self._paused_until or 0.0) - self.clock.monotonic()) if self._paused_until else 0.0

    def _still_paused(self) -> bool:
        if self._paused_until is None:
            return False
        if self.paused_seconds() > 0:
            return True
        self.resume()
        self._wake.clear()
        return False

    def fresh(self) -> bool:
        """True when the last reading is no older than three intervals."""
        return self.age() <= max(3 * self.interval, 30.0)

    def age(self) -> float:
        """Seconds since the last reading, though the clock was set back meanwhile; infinite before the first."""
        if self.snapshot is None:
            return math.inf
        by_the_clock = (self.clock.now() - self.snapshot.taken).total_seconds()
        return max(by_the_clock, self.clock.monotonic() - self._read_at)


def saved_identity(identity: Identity) -> dict[str, Any]:
    return {
        "code": identity.device.code if identity.device else None,
        "model": identity.model,
        "serial": identity.serial,
        "rated_watts": identity.rated_watts,
        "output_type": identity.output_type,
    }
