"""Transactions: the only way in which anything changes, and the reads that see them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from slipway.cluster.store.bucket import Bucket
from slipway.cluster.store.history import Change, Compacted, Record, Route
from slipway.cluster.store.sharing import Sharing, text_length
from slipway.cluster.store.watch import Watch

if TYPE_CHECKING:
    from slipway.cluster.store.journal import Journal

# etcd keeps five minutes and the API server's watch cache a few hundred events a resource; bounds by number and by
# bytes hold whatever the rate and whatever the objects.
DEFAULT_WINDOW = 20_000
WINDOW_BYTES = 128 * 1024 * 1024


class Conflict(Exception):
    """A transaction expected another state. `current` is what is there, None when nothing is."""

    def __init__(self, bucket: str, key: str, current: Record | None) -> None:
        super().__init__(f"{bucket}/{key}: not in the expected state")
        self.bucket = bucket
        self.key = key
        self.current = current


@dataclass(frozen=True, slots=True)
class Put:
    """Create or replace. `make` is given the transaction's revision and returns the value to keep.

    `expected` is the revision that the key must have now; 0 means that it must not exist. `apart` is for values that
    have hardly a part in common with others: nobody looks for one.
    """

    bucket: str
    key: str
    make: Callable[[int], dict[str, Any]]
    expected: int
    apart: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove. `make` gives the last state, which watchers see, stamped with the revision of the deletion."""

    bucket: str
    key: str
    make: Callable[[int], dict[str, Any]]
    expected: int


@dataclass(frozen=True, slots=True)
class Page:
    """Records in key order. `remaining` counts those of the prefix that come after the page."""

    records: list[Record]
    revision: int
    remaining: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A whole state, without its history; cheap, since records are shared."""

    revision: int
    buckets: dict[str, dict[str, Record]]


class Store:
    """Buckets of records under one revision. `window` is how many changes are kept in all, and `window_bytes` how
    many bytes of JSON the states have that they replaced, before the older half is compacted."""

    def __init__(
        self,
        journal: Journal | None = None,
        window: int = DEFAULT_WINDOW,
        window_bytes: int = WINDOW_BYTES,
    ) -> None:
        self._journal = journal
        self._window = window
        self._window_bytes = window_bytes
        self._kept = 0
        self._kept_bytes = 0
        self._buckets: dict[str, Bucket] = {}
        self._sharing = Sharing()
        self.revision = 0
        self.compacted = 0
        if journal is not None:
            self._load(journal)

    def _load(self, journal: Journal) -> None:
        self.revision = journal.revision
        self.compacted = journal.compacted
        for name, record in journal.records():
            self.bucket(name).records[record.key] = record
        for loaded in journal.changes():
            self.bucket(loaded.bucket).changes.append(loaded.change)
            self._kept += 1
            self._kept_bytes += loaded.change.size
        for bucket in self._buckets.values():
            bucket._sorted = None

    def bucket(self, name: str) -> Bucket:
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(self.compacted)
        return bucket

    # Reading

    def get(self, bucket: str, key: str) -> Record | None:
        found = self._buckets.get(bucket)
        return None if found is None else found.records.get(key)

    def scan(
        self, bucket: str, prefix: str = "", *, after: str = "", limit: int = 0, at: int | None = None
    ) -> Page:
        """Records whose key starts with `prefix` and comes after `after`, at most `limit` (0: all of them),
        as of revision `at` (None: now). Compacted when `at` is too old."""
        found = self.bucket(bucket)
        if at is None or at >= self.revision:
            records, keys, revision = found.records, found.keys(), self.revision
        else:
            records, revision = found.state_at(at), at
            keys = found.keys() if records is found.records else sorted(records)
        start = bisect_right(keys, after) if after else 0
        if prefix or start:
            if prefix > after:
                start = bisect_right(keys, prefix)
            # "\U0010ffff" sorts after every character that a key can hold.
            end = bisect_right(keys, prefix + "\U0010ffff") if prefix else len(keys)
            keys = keys[start:end]
        remaining = max(0, len(keys) - limit) if limit else 0
        if remaining:
            keys = keys[:limit]
        return Page([records[key] for key in keys], revision, remaining)

    def count(self, bucket: str) -> int:
        found = self._buckets.get(bucket)
        return 0 if found is None else len(found.records)

    def names(self) -> Iterable[str]:
        """The buckets that exist."""
        return tuple(self._buckets)

    def watch(self, bucket: str, since: int, route: Route | None = None) -> Watch:
        """Changes after revision `since`, with a `route` those that it takes. Compacted when they are not all
        kept."""
        return Watch(self.bucket(bucket).lane(route), since, lambda: self.revision)

    # Writing

    def commit(self, *operations: Put | Delete) -> list[Record]:
        """All operations or none, at one new revision; the records in the order of the operations.

        Conflict when a key is not in the state that its operation expects.
        """
        for operation in operations:
            current = self.get(operation.bucket, operation.key)
            if (0 if current is None else current.revision) != operation.expected:
                raise Conflict(operation.bucket, operation.key, current)
        revision = self.revision + 1
        changes = [(operation.bucket, self._change(operation, revision)) for operation in operations]
        if self._journal is not None:
            self._journal.append(revision, changes)
        self.revision = revision
        for name, change in changes:
            self.bucket(name).apply(change)
            self._kept_bytes += change.size
        self._kept += len(changes)
        if self._kept > self._window or self._kept_bytes > self._window_bytes:
            self._compact_half()
        return [change.record for _, change in changes]

    def _change(self, operation: Put | Delete, revision: int) -> Change:
        previous = self.get(operation.bucket, operation.key)
        created = revision if previous is None else previous.created
        value = operation.make(revision)
        if not (isinstance(operation, Put) and operation.apart):
            value = self._sharing.of(value, None if previous is None else previous.value)
        record = Record(operation.key, value, created, revision)
        kind: Literal["ADDED", "MODIFIED", "DELETED"]
        if isinstance(operation, Delete):
            kind = "DELETED"
        else:
            kind = "ADDED" if previous is None else "MODIFIED"
        return Change(
            kind, revision, record, previous, 0 if previous is None else text_length(previous.value)
        )

    # Forgetting

    def compact(self, revision: int) -> None:
        """Forget the changes up to `revision`: reads and watches from before it fail with Compacted."""
        revision = min(revision, self.revision)
        if revision <= self.compacted:
            return
        self.compacted = revision
        for bucket in self._buckets.values():
            bucket.forget(revision)
        self._kept = sum(len(bucket.changes) for bucket in self._buckets.values())
        self._kept_bytes = sum(change.size for bucket in self._buckets.values() for change in bucket.changes)
        if self._journal is not None:
            self._journal.compact(revision)

    def _compact_half(self) -> None:
        kept = [
            (change.revision, change.size) for bucket in self._buckets.values() for change in bucket.changes
        ]
        kept.sort(reverse=True)
        size = 0
        for number, (revision, size_of_change) in enumerate(kept):
            size += size_of_change
            if number >= self._window // 2 or size > self._window_bytes // 2:
                self.compact(revision)
                return

    # Whole states

    def snapshot(self) -> Snapshot:
        return Snapshot(self.revision, {name: dict(b.records) for name, b in self._buckets.items()})

    @classmethod
    def from_snapshot(cls, snapshot: Snapshot, window: int = DEFAULT_WINDOW) -> Store:
        """A new store in memory that goes on from there; it shares the records, not their future."""
        store = cls(window=window)
        store.revision = store.compacted = snapshot.revision
        for name, records in snapshot.buckets.items():
            bucket = store.bucket(name)
            bucket.records = dict(records)
            bucket._sorted = None
        return store

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()


__all__ = ["Compacted", "Conflict", "Delete", "Page", "Put", "Snapshot", "Store"]
