"""Terminal: shows a simulation as a picture that is drawn again, with keys to steer time; or as lines."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import termios
import textwrap
import tty
from collections.abc import Callable
from datetime import datetime
from typing import Any, Protocol, TextIO

from sungrow_simulator.wire.dongle import Device

REDRAW_S = 0.1
QUARTER_MIN = 15
ENTER, LEAVE = (
    "\x1b[?1049h\x1b[?25l\x1b[?7l",
    "\x1b[?7h\x1b[?25h\x1b[?1049l",
)  # own screen, no cursor, no wrapping
HOME, TO_LINE_END, TO_SCREEN_END = "\x1b[H", "\x1b[K", "\x1b[J"
NEVER_BROKEN = "\xa0"
KEYS = "space pauses, + faster, - slower, q ends"
SLOWEST, FASTEST = 0.125, 1_000_000


class Subject(Protocol):
    """What is shown."""

    @property
    def now(self) -> datetime: ...
    @property
    def device(self) -> Device: ...
    def line(self) -> str: ...
    def screen(self) -> list[str]: ...


class Pace:
    """How many simulated seconds pass in a real one; a person may change it."""

    def __init__(self, wanted: float) -> None:
        self.wanted = wanted
        self.paused = False

    @property
    def speed(self) -> float:
        return 0.0 if self.paused else self.wanted

    def change(self, factor: float) -> None:
        """Faster or slower, within bounds."""
        self.wanted = min(FASTEST, max(SLOWEST, self.wanted * factor))

    def __str__(self) -> str:
        return "paused" if self.paused else f"{self.wanted:g} x real time"


def fits(out: TextIO) -> bool:
    """Whether a picture can be drawn there."""
    blocks = (out.encoding or "").lower().replace("-", "").startswith("utf")
    return out.isatty() and blocks and os.environ.get("TERM", "dumb") != "dumb"


class Lines:
    """Says what listens, and then a line at each quarter of an hour of simulated time."""

    def __init__(self, subject: Subject, listening: list[str]) -> None:
        self._subject = subject
        self._shown: datetime | None = None
        self._title = f"{subject.device.model} serial {subject.device.serial}, unit {subject.device.unit}: "
        self._title += ", ".join(listening)

    def __call__(self) -> None:
        now = self._subject.now
        quarter = now.replace(minute=now.minute // QUARTER_MIN * QUARTER_MIN, second=0, microsecond=0)
        if self._shown is None:
            print(self._title)
        if quarter != self._shown:
            print(self._subject.line(), flush=True)
            self._shown = quarter


class Screen:
    """Draws the picture at most ten times a second; what was on the terminal before comes back at the end."""

    def __init__(self, subject: Subject, listening: list[str], pace: Pace, end: Callable[[], None]) -> None:
        self._subject, self._pace, self._end = subject, pace, end
        ports = textwrap.wrap(
            ", ".join(each.replace(" ", NEVER_BROKEN) for each in listening), 76, break_on_hyphens=False
        )
        self._ports = [row.replace(NEVER_BROKEN, " ") for row in ports]
        self._drawn = 0.0
        self._keys: list[Any] | None = None  # the terminal's settings before

    def __enter__(self) -> Callable[[], None]:
        with contextlib.suppress(OSError, ValueError, termios.error):
            # In the background, changing the terminal would stop the program.
            if sys.stdin.isatty() and os.tcgetpgrp(sys.stdin.fileno()) == os.getpgrp():
                self._keys = termios.tcgetattr(sys.stdin)
                tty.setcbreak(sys.stdin)
                asyncio.get_running_loop().add_reader(sys.stdin.fileno(), self._key)
        sys.stdout.write(ENTER)
        return self.draw

    def __exit__(self, *_: object) -> None:
        if self._keys is not None:
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._keys)
        sys.stdout.write(LEAVE)
        sys.stdout.flush()

    def draw(self) -> None:
        """Draw, unless it was drawn just now."""
        now = asyncio.get_running_loop().time()
        if now - self._drawn < REDRAW_S:
            return
        self._drawn = now
        first, *rest = self._subject.screen()
        keys = KEYS if self._keys is not None else "Ctrl-C ends it"
        rows = [f"{first}   {self._pace}", *rest, *(f"  {ports}" for ports in self._ports), f"  {keys}"]
        rows = rows[: shutil.get_terminal_size().lines]
        sys.stdout.write(HOME + "\n".join(row + TO_LINE_END for row in rows) + TO_SCREEN_END)
        sys.stdout.flush()

    def _key(self) -> None:
        for key in os.read(sys.stdin.fileno(), 64).decode(errors="replace"):
            match key:
                case " ":
                    self._pace.paused = not self._pace.paused
                case "+" | "=":
                    self._pace.change(2)
                case "-":
                    self._pace.change(0.5)
                case "q":
                    self._end()
