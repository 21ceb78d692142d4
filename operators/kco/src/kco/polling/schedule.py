"""When each poll is due: a heap of moments, fixed periods, a phase of its own for each target.

A period does not drift: the next moment is the last *planned* one plus the interval, however long the work
took. Moments that were missed altogether (the process stood still) are skipped, not made up for. Phases
come from a hash of the key, so that a thousand targets created at once do not poll at once, and a restart
changes nothing.
"""

import hashlib
import heapq
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


def phase(key: str, interval: float) -> float:
    """A fixed place within the interval for this key, spread evenly over all keys."""
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 * interval


def following(planned: float, interval: float, moment: float) -> float:
    """The next planned moment after `moment`, on the grid of `planned` + n × interval."""
    upcoming = planned + interval
    if upcoming <= moment:
        upcoming += ((moment - upcoming) // interval + 1) * interval
    return upcoming


class Schedule(Generic[Key]):
    """Moments by key; each key has at most one."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Key]] = []
        self._due: dict[Key, float] = {}
        self._counter = 0

    def __len__(self) -> int:
        return len(self._due)

    def set(self, key: Key, due: float) -> None:
        """Plan (or plan anew) a key."""
        self._counter += 1
        self._due[key] = due
        heap = self._heap
        heapq.heappush(heap, (due, self._counter, key))
        if len(heap) > 4 * len(self._due) + 64:
            # Entries that were planned anew or dropped stay in the heap until popped; do not let them pile up.
            self._heap = [(when, at, who) for when, at, who in heap if self._due.get(who) == when]
            heapq.heapify(self._heap)

    def drop(self, key: Key) -> None:
        self._due.pop(key, None)

    def take(self, moment: float) -> list[Key]:
        """All keys that are due by `moment`, the earliest first; they are not planned any more."""
        heap, planned, taken = self._heap, self._due, []
        while heap and heap[0][0] <= moment:
            due, _, key = heapq.heappop(heap)
            if planned.get(key) == due:
                del planned[key]
                taken.append(key)
        return taken

    def next_due(self) -> float | None:
        """When the earliest key is due."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None
