"""Changes in the order in which they happened, the oldest of which are forgotten, and those who wait for the next."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal


class Compacted(Exception):
    """The revision asked for is older than what is kept."""

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(f"revision {revision} has been compacted; the oldest kept is {oldest}")
        self.revision = revision
        self.oldest = oldest


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """An object as it was at one revision. `value` is shared by every reader and never changed in place."""

    key: str
    value: dict[str, Any]
    created: int  # revision at which the key came into being
    revision: int  # revision of this state
    # Encodings of this very state, by whoever makes them (one per served version), made once; see `encodings`.
    encoded: dict[Any, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What one transaction did to one key. `record` of a DELETED change is the last state, stamped with the
    revision of the deletion. `size` is what must be kept because of it: the bytes of the previous state's JSON."""

    kind: Literal["ADDED", "MODIFIED", "DELETED"]
    revision: int
    record: Record
    previous: Record | None
    size: int = 0


@dataclass(frozen=True, slots=True)
class Route:
    """Where `of` says `value` of an object: for a reader who has no use for any other (`spec.nodeName=a`).
    Routes of one name have the same `of`."""

    name: str
    value: str
    of: Callable[[dict[str, Any]], str]

    def takes(self, change: Change) -> bool:
        """Whether the change touches such an object: as it was or as it is."""
        previous = change.previous
        return self.of(change.record.value) == self.value or (
            previous is not None and self.of(previous.value) == self.value
        )


class History:
    """`oldest` is the revision from which on nothing is missing."""

    def __init__(self, oldest: int = 0, changes: Iterable[Change] = ()) -> None:
        self.changes = list(changes)
        self.dropped = 0  # how many changes have been forgotten: a cursor counts from the first ever
        self.oldest = oldest
        self._waiting: dict[asyncio.Future[None], None] = {}  # in order; a set would wake them in any

    @property
    def end(self) -> int:
        """Absolute number of the change that comes next."""
        return self.dropped + len(self.changes)

    def append(self, change: Change) -> None:
        self.changes.append(change)
        waiting, self._waiting = self._waiting, {}
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def position_after(self, revision: int) -> int:
        """Absolute number of the first change later than `revision`; Compacted if changes are missing."""
        if revision < self.oldest:
            raise Compacted(revision, self.oldest)
        return self.dropped + bisect_right(self.changes, revision, key=lambda change: change.revision)

    def forget(self, revision: int) -> None:
        """Forget the changes up to and including `revision`."""
        if revision <= self.oldest:
            return
        cut = bisect_right(self.changes, revision, key=lambda change: change.revision)
        del self.changes[:cut]
        self.dropped += cut
        self.oldest = revision

    def next_change(self) -> asyncio.Future[None]:
        """Done when a change arrives."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = None
        return future

    def forget_waiter(self, future: asyncio.Future[None]) -> None:
        self._waiting.pop(future, None)
