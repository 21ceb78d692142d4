"""One resource's records and the changes that led to them.

The present is a dict; the past is the list of changes, each with the record before it, so that an earlier
revision is read by undoing what came after. Compaction forgets the oldest changes.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
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
    # Encodings of this very state, by whoever makes them (one per served version), made once.
    encoded: dict[Any, bytes] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What one transaction did to one key. `record` of a DELETED change is the last state, stamped with the
    revision of the deletion."""

    kind: Literal["ADDED", "MODIFIED", "DELETED"]
    revision: int
    record: Record
    previous: Record | None


class Bucket:
    """The records of one resource by key, their changes since `oldest`, and those who wait for the next."""

    def __init__(self, oldest: int = 0) -> None:
        self.records: dict[str, Record] = {}
        self.changes: list[Change] = []
        self.dropped = 0  # how many changes have been forgotten: a cursor counts from the first ever
        self.oldest = oldest  # reads and watches from this revision on are exact
        self._sorted: list[str] | None = []
        self._waiting: list[asyncio.Future[None]] = []

    def apply(self, change: Change) -> None:
        key = change.record.key
        if change.kind == "DELETED":
            del self.records[key]
            self._sorted = None
        else:
            if change.kind == "ADDED":
                self._note_new_key(key)
            self.records[key] = change.record
        self.changes.append(change)
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def _note_new_key(self, key: str) -> None:
        # Keys mostly arrive in order (generated names, loads); anything else sorts again at the next list.
        if self._sorted is not None:
            if not self._sorted or key > self._sorted[-1]:
                self._sorted.append(key)
            else:
                self._sorted = None

    def keys(self) -> list[str]:
        if self._sorted is None:
            self._sorted = sorted(self.records)
        return self._sorted

    def position_after(self, revision: int) -> int:
        """Absolute number of the first change later than `revision`; Compacted if changes are missing."""
        if revision < self.oldest:
            raise Compacted(revision, self.oldest)
        return self.dropped + bisect_right(self.changes, revision, key=lambda change: change.revision)

    def state_at(self, revision: int) -> dict[str, Record]:
        """The records as they were right after `revision`."""
        start = self.position_after(revision) - self.dropped
        if start == len(self.changes):
            return self.records
        records = dict(self.records)
        for change in reversed(self.changes[start:]):
            if change.previous is None:
                records.pop(change.record.key, None)
            else:
                records[change.record.key] = change.previous
        return records

    def compact(self, revision: int) -> None:
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
        self._waiting.append(future)
        return future

    def forget_waiter(self, future: asyncio.Future[None]) -> None:
        if future in self._waiting:
            self._waiting.remove(future)
