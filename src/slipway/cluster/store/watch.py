"""A cursor over one bucket's changes: nothing is buffered for a slow reader, it only falls behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from slipway.cluster.store.bucket import Bucket, Change, Compacted


class Watch:
    """Changes of a bucket later than `revision`, in order, for ever.

    `seen` is the revision up to which this reader knows everything, also when nothing of its bucket changed.
    A reader that falls behind the compaction gets Compacted.
    """

    def __init__(self, bucket: Bucket, revision: int, current: Callable[[], int]) -> None:
        self._bucket = bucket
        self._position = bucket.position_after(revision)
        self._current = current
        self.seen = revision

    def ready(self) -> list[Change]:
        """The changes there are now, without waiting."""
        bucket = self._bucket
        start = self._position - bucket.dropped
        if start < 0:
            raise Compacted(self.seen, bucket.oldest)
        changes = bucket.changes[start:]
        self._position += len(changes)
        self.seen = self._current()
        return changes

    async def next(self, timeout: float | None = None) -> list[Change]:
        """The next changes, at least one; an empty list when `timeout` seconds pass without any."""
        changes = self.ready()
        if changes:
            return changes
        future = self._bucket.next_change()
        try:
            # Not wait_for: before Python 3.12 it loses a cancellation that comes with the result.
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            return self.ready()
        finally:
            self._bucket.forget_waiter(future)
        return self.ready()
