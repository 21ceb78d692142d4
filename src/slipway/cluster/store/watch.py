"""A cursor over changes: nothing is buffered for a slow reader, it only falls behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from slipway.cluster.store.history import Change, Compacted, History

_EARLY = 0.001  # seconds by which a wait may end too late, so that the timer of the last one will do


class Watch:
    """Changes later than `revision`, in order, for ever.

    `seen` is the revision up to which this reader knows everything, also when nothing of its bucket changed.
    A reader that falls behind the compaction gets Compacted.
    """

    def __init__(self, history: History, revision: int, current: Callable[[], int]) -> None:
        self._history = history
        self._position = history.position_after(revision)
        self._current = current
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.seen = revision

    @property
    def position(self) -> int:
        """Where it stands in its history: cursors at one position have the same changes before them."""
        return self._position

    def peek(self) -> list[Change]:
        """The changes there are now; the cursor stays before them."""
        history = self._history
        start = self._position - history.dropped
        if start < 0:
            raise Compacted(self.seen, history.oldest)
        return history.changes[start:]

    def skip(self) -> None:
        """Past all changes there are now: the reader has them from elsewhere."""
        self._position = self._history.end
        self.seen = self._current()

    def ready(self) -> list[Change]:
        """The changes there are now, without waiting."""
        changes = self.peek()
        self.skip()
        return changes

    async def next(self, timeout: float | None = None) -> list[Change]:
        """The next changes; an empty list when about `timeout` seconds pass without any."""
        changes = self.ready()
        if changes:
            return changes
        self._waiter = self._history.next_change()
        self._wake_after(timeout)
        try:
            await self._waiter
        finally:
            waiter, self._waiter = self._waiter, None
            if waiter is not None:
                self._history.forget_waiter(waiter)
        return self.ready()

    def close(self) -> None:
        """Needs no more waking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wake_after(self, timeout: float | None) -> None:
        # Most waits of a watch end long before their time, and all of them have the same end: one timer does
        # for many waits, where a timer a wait would cost more than all the rest of the waking.
        if timeout is None:
            self.close()
            return
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout
        if self._timer is None or self._timer.when() > end + _EARLY:
            self.close()
            self._timer = loop.call_at(end, self._wake)

    def _wake(self) -> None:
        self._timer = None
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
