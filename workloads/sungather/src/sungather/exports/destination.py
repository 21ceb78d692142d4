"""The one interface to a destination, and the ways in which delivering can fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sungather.errors import SungatherError
from sungather.readings.snapshot import Snapshot


@dataclass(frozen=True)
class Item:
    """A queued payload. `key` is the reading's id; `at` when it was taken (Unix seconds)."""

    seq: int
    key: str
    at: float
    payload: str


@dataclass
class Delivery:
    """What became of a batch. Items in neither list stay in the queue."""

    sent: list[Item] = field(default_factory=list)
    rejected: list[tuple[Item, str]] = field(default_factory=list)


class Destination(Protocol):
    """One place that readings go to."""

    batch: int
    """How many items deliver() gets at most."""

    def prepare(self, snapshot: Snapshot) -> str | None:
        """The payload to queue, or None when this snapshot gives nothing to send."""
        ...

    async def deliver(self, items: Sequence[Item]) -> Delivery:
        """Send, oldest first. Raises NotYet, Later or Blocked when nothing could be sent."""
        ...

    async def idle(self) -> None:
        """Called now and then while the queue is empty."""
        ...

    async def close(self) -> None: ...


class NotYet(Exception):
    """Nothing is wrong; there is nothing to send before `seconds` have passed."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"not before {seconds:.0f} s")


class Later(SungatherError):
    """The destination cannot take it now: try again, after `seconds` if it said so."""

    def __init__(self, reason: str, seconds: float | None = None) -> None:
        self.reason, self.seconds = reason, seconds
        super().__init__(reason)


class Blocked(SungatherError):
    """The destination refuses until someone changes something: password, permission, database."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)
