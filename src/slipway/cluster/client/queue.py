"""A queue of keys to work on: each key waits at most once, and is never worked on twice at the same time.

As client-go's workqueue: a key added while it is being worked on comes again after `done`; failures come
again after a growing delay.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

FIRST_RETRY = 0.005  # seconds; doubles at each failure, as client-go's default rate limiter
LONGEST_RETRY = 1000.0


class WorkQueue(Generic[K]):
    """Delays go through the running loop's timers, so that a virtual loop turns them too."""

    def __init__(self, *, first_retry: float = FIRST_RETRY, longest_retry: float = LONGEST_RETRY) -> None:
        self._ready: deque[K] = deque()
        self._waiting: set[K] = set()  # in `_ready`, or to come there when done
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._takers: deque[asyncio.Future[None]] = deque()
        self._first_retry = first_retry
        self._longest_retry = longest_retry

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Nothing ready and nothing being worked on; delayed keys do not count."""
        return not self._ready and not self._working

    def add(self, key: K) -> None:
        if key in self._waiting:
            return
        self._waiting.add(key)
        if key not in self._working:
            self._push(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Add after a delay; the soonest of several delays of one key wins."""
        if seconds <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def add_rate_limited(self, key: K) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self.add_after(key, min(self._first_retry * 2**failures, self._longest_retry))

    def done(self, key: K) -> None:
        self._working.discard(key)
        if key in self._waiting:
            self._push(key)

    def forget(self, key: K) -> None:
        """The key succeeded: its next failure starts from the shortest delay again."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key; `done` must follow."""
        while not self._ready:
            taker = asyncio.get_running_loop().create_future()
            self._takers.append(taker)
            try:
                await taker
            except asyncio.CancelledError:
                # A wake-up that was meant for this taker goes to the next one.
                if taker.done() and not taker.cancelled() and self._ready:
                    self._wake()
                raise
        key = self._ready.popleft()
        self._waiting.discard(key)
        self._working.add(key)
        return key

    def retries(self, key: K) -> int:
        return self._failures.get(key, 0)

    def stop(self) -> None:
        """Cancel the timers, so that nothing is added any more by itself."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _push(self, key: K) -> None:
        self._ready.append(key)
        self._wake()

    def _wake(self) -> None:
        while self._takers:
            taker = self._takers.popleft()
            if not taker.done():
                taker.set_result(None)
                return
