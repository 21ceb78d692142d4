"""Simulation: an inverter, or a dump, whose time passes beside real time, with everything that listens for it.

What a person sees of it is drawn in `terminal`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from typing import Any

from sungrow_simulator.dumps import Replay, record
from sungrow_simulator.faults import Faults
from sungrow_simulator.inverter import Inverter
from sungrow_simulator.steering import SteeringPort
from sungrow_simulator.terminal import Lines, Pace, Screen, fits
from sungrow_simulator.view import Day, line, scheduled, screen, summary, traffic
from sungrow_simulator.wire import opening
from sungrow_simulator.wire.answers import Answers
from sungrow_simulator.wire.dongle import Device

LOOK = 0.1  # real seconds between two looks at the clock
MOST_BEHIND = 10.0  # real seconds: time that a busy machine owes beyond this is let go
QUARTER_S = 900  # simulated seconds; at the end of each the transports have a turn


class Model:
    """An inverter whose plant lives."""

    def __init__(self, inverter: Inverter) -> None:
        self.inverter = inverter
        self.words = inverter
        self.faults = inverter.faults
        self.device = Device(
            inverter.profile.model, inverter.profile.code, inverter.profile.serial, inverter.profile.hybrid
        )
        self._begun = inverter.now
        self._day = Day(inverter.now.date())

    @property
    def now(self) -> datetime:
        return self.inverter.now

    def advance(self, seconds: float) -> None:
        """Let simulated time pass."""
        self.inverter.advance(seconds)
        if self._day.date != self.now.date():
            self._day = Day(self.now.date())
        self._day.note(self.inverter)

    def dump(self) -> dict[str, Any]:
        """Its registers as they are."""
        device = self.device
        return record(self.inverter, model=device.model, taken=self.now.isoformat(), unit=device.unit)

    def line(self) -> str:
        return line(self.inverter)

    def screen(self) -> list[str]:
        """What the terminal shows, line by line."""
        return screen(self.inverter, self._day)

    def summary(self) -> str:
        return summary(self._begun, self.now, self.inverter.plant.energy, self.faults.counters)


class Recorded:
    """A dump that is served as it is; only its clock runs, for faults and for the key of the day."""

    def __init__(self, replay: Replay, start: datetime) -> None:
        self.words = replay
        self.device = replay.device
        self.now = start
        self.faults = Faults(lambda: self.now)

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    def dump(self) -> dict[str, Any]:
        device = self.device
        return record(self.words, model=device.model, taken=self.now.isoformat(), unit=device.unit)

    def line(self) -> str:
        return f"{self.now:%Y-%m-%d %H:%M}  {traffic(self.faults.counters)}"

    def screen(self) -> list[str]:
        """What the terminal shows, line by line."""
        device = self.device
        title = f"replay of {device.model}  serial {device.serial}   {self.now:%Y-%m-%d %H:%M}"
        return [title, "", f"  {traffic(self.faults.counters)}", *scheduled(self.faults.rules)]

    def summary(self) -> str:
        return traffic(self.faults.counters)


async def serve(options: argparse.Namespace, subject: Model | Recorded) -> None:
    """Listen and let time pass until the person, a signal or --hours ends it. ListenError when a port is not free."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    until = subject.now + timedelta(hours=options.hours) if options.hours else None
    pace = Pace(options.fast)
    async with AsyncExitStack() as stack:
        listening = await _listen(options, subject, stack)
        show: Callable[[], None] = Lines(subject, listening)
        if fits(sys.stdout) and not options.lines:
            show = stack.enter_context(Screen(subject, listening, pace, ended.set))
        last, owed = loop.time(), 0.0
        while not ended.is_set() and (until is None or subject.now < until):
            now = loop.time()
            owed, last = min(owed + (now - last) * pace.speed, MOST_BEHIND * pace.speed), now
            part = min(owed, _to_the_next_quarter(subject.now))
            if until is not None:
                part = min(part, (until - subject.now).total_seconds())
            subject.advance(part)
            owed -= part
            show()
            pause = 0 if owed else min(LOOK, max(0.005, 60 / pace.wanted))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), pause)
    print(subject.summary(), flush=True)


async def _listen(options: argparse.Namespace, subject: Model | Recorded, stack: AsyncExitStack) -> list[str]:
    """Open what was asked for, until the stack ends: names with addresses."""
    answers = Answers(subject.words, options.units or (subject.device.unit,))
    servers = await opening.start(
        options, answers, subject.device, lambda: subject.now.date(), subject.faults
    )
    stack.push_async_callback(servers.stop)
    found = [f"{name} {at.host}:{at.port}" for name, at in servers.listeners.items()]
    if options.control is not None:
        steering = SteeringPort(subject.faults, lambda: subject.now, subject.dump)
        try:
            await steering.start(options.control)
        except OSError as error:
            raise opening.ListenError("control", "127.0.0.1", options.control, error) from None
        stack.push_async_callback(steering.stop)
        found.append(f"control 127.0.0.1:{steering.port}")
    return found


def _to_the_next_quarter(now: datetime) -> float:
    """Simulated seconds."""
    return QUARTER_S - (now.minute * 60 + now.second + now.microsecond / 1e6) % QUARTER_S
