"""Simulation: an inverter, or a dump, whose time passes beside real time, with everything that listens for it."""

from __future__ import annotations

import argparse
import asyncio
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
from sungrow_simulator.view import Day, line, screen, summary, traffic
from sungrow_simulator.wire import opening
from sungrow_simulator.wire.answers import Answers
from sungrow_simulator.wire.dongle import Device

LOOK = 0.1  # real seconds between two looks at the clock
MOST_AT_ONCE = 900.0  # simulated seconds until the transports have a turn again
LINE_EVERY = timedelta(minutes=15)
ENTER, LEAVE, HOME, CLEAR = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l", "\x1b[H", "\x1b[J"


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

    def screen(self, speed: float, listening: str) -> list[str]:
        return screen(self.inverter, self._day, speed=speed, listening=listening)

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

    def screen(self, speed: float, listening: str) -> list[str]:
        rows = [f"replay of {self.device.model}  serial {self.device.serial}   {self.now:%Y-%m-%d %H:%M}", ""]
        return [*rows, f"  {traffic(self.faults.counters)}", f"  {listening}", "  Ctrl-C ends it"]

    def summary(self) -> str:
        return traffic(self.faults.counters)


async def serve(options: argparse.Namespace, subject: Model | Recorded) -> None:
    """Listen and let time pass until the person, a signal or --hours ends it. OSError when a port is not free."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    until = subject.now + timedelta(hours=options.hours) if options.hours else None
    async with AsyncExitStack() as stack:
        answers = Answers(subject.words, options.units or (subject.device.unit,))
        servers = await opening.start(
            options, answers, subject.device, lambda: subject.now.date(), subject.faults
        )
        stack.push_async_callback(servers.stop)
        listening = str(servers)
        if options.control is not None:
            steering = SteeringPort(subject.faults, lambda: subject.now, subject.dump)
            await steering.start(options.control)
            stack.push_async_callback(steering.stop)
            listening += f", control 127.0.0.1:{steering.port}"
        show = _lines(subject, listening)
        if sys.stdout.isatty() and not options.lines:
            show = stack.enter_context(_Screen(subject, options.fast, listening))
        last = loop.time()
        while not ended.is_set() and (until is None or subject.now < until):
            now = loop.time()
            step, last = (now - last) * options.fast, now
            if until is not None:
                step = min(step, (until - subject.now).total_seconds())
            while step > 0 and not ended.is_set():
                subject.advance(min(step, MOST_AT_ONCE))
                step -= MOST_AT_ONCE
                show()
                await asyncio.sleep(0)
            pause = min(LOOK, max(0.005, 60 / options.fast))
            try:
                await asyncio.wait_for(ended.wait(), pause)
            except TimeoutError:
                continue
    print(subject.summary(), flush=True)


def _lines(subject: Model | Recorded, listening: str) -> Callable[[], None]:
    """Says what listens, and then a line for each quarter of an hour of simulated time."""
    device = subject.device
    print(f"{device.model} serial {device.serial}, unit {device.unit}: {listening}", flush=True)
    due = subject.now

    def show() -> None:
        nonlocal due
        if subject.now >= due:
            print(subject.line(), flush=True)
            midnight = subject.now.replace(hour=0, minute=0, second=0, microsecond=0)
            due = midnight + ((subject.now - midnight) // LINE_EVERY + 1) * LINE_EVERY

    return show


class _Screen:
    """Draws the picture again at most ten times a second; what was on the terminal before comes back at the end."""

    def __init__(self, subject: Model | Recorded, speed: float, listening: str) -> None:
        self._subject, self._speed, self._listening = subject, speed, listening
        self._drawn = 0.0

    def __enter__(self) -> Callable[[], None]:
        sys.stdout.write(ENTER)
        return self.draw

    def __exit__(self, *_: object) -> None:
        sys.stdout.write(LEAVE)
        sys.stdout.flush()

    def draw(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._drawn < LOOK:
            return
        self._drawn = now
        rows = self._subject.screen(self._speed, self._listening)
        sys.stdout.write(HOME + "".join(f"{row}\x1b[K\n" for row in rows) + CLEAR)
        sys.stdout.flush()
