"""One resource's records and the changes that led to them.

The present is a dict; the past is the list of changes, each with the record before it, so that an earlier
revision is read by undoing what came after. Compaction forgets the oldest changes.

A hundred nodes each watch the pods of their own: were all told of every change, a change would cost a hundred
times what it should. So a reader may name a `Route`, and follows a lane of its own: the changes that the route
takes. Lanes live as long as somebody follows them.
"""

from __future__ import annotations

from weakref import WeakValueDictionary

from slipway.cluster.store.encodings import PastEncodings
from slipway.cluster.store.history import Change, History, Record, Route


class Bucket(History):
    """The records of one resource by key; reads and watches from `oldest` on are exact."""

    def __init__(self, oldest: int = 0) -> None:
        super().__init__(oldest)
        self.records: dict[str, Record] = {}
        self._sorted: list[str] | None = []
        self._lanes: dict[str, _Lanes] = {}
        self._past = PastEncodings()

    def apply(self, change: Change) -> None:
        key = change.record.key
        if change.kind == "DELETED":
            del self.records[key]
            self._sorted = None
        else:
            if change.kind == "ADDED":
                self._note_new_key(key)
            self.records[key] = change.record
        self.append(change)
        for lanes in self._lanes.values():
            lanes.append(change)
        if change.previous is not None:
            self._past.replaced(change.previous.encoded)
        if change.kind == "DELETED":
            self._past.replaced(change.record.encoded)

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

    def lane(self, route: Route | None) -> History:
        """The changes that the route takes; without a route, all."""
        if route is None:
            return self
        lanes = self._lanes.setdefault(route.name, _Lanes(route))
        return lanes.of(route, self)

    def forget(self, revision: int) -> None:
        super().forget(revision)
        self._lanes = {name: lanes for name, lanes in self._lanes.items() if lanes.forget(revision)}


class _Lanes:
    """The lanes of all routes of one name."""

    def __init__(self, route: Route) -> None:
        self._of = route.of
        self._followed: WeakValueDictionary[str, History] = WeakValueDictionary()

    def of(self, route: Route, bucket: Bucket) -> History:
        lane = self._followed.get(route.value)
        if lane is None:
            lane = History(bucket.oldest, filter(route.takes, bucket.changes))
            self._followed[route.value] = lane
        return lane

    def append(self, change: Change) -> None:
        now = self._of(change.record.value)
        before = now if change.previous is None else self._of(change.previous.value)
        for value in {now, before}:
            lane = self._followed.get(value)
            if lane is not None:
                lane.append(change)

    def forget(self, revision: int) -> bool:
        """Whether there is anybody left who follows."""
        lanes = list(self._followed.values())
        for lane in lanes:
            lane.forget(revision)
        return bool(lanes)
