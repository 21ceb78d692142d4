"""Time as the cluster sees it: wall-clock stamps and sleeping, both of which a test can turn.

Everything in `slipway.cluster` that needs the time asks a `Clock`. Sleeping always goes through the running
event loop, so that a loop whose time is virtual (`environment.virtual_time`) makes an hour pass at once.
Nothing else in the package calls `time.time`, `datetime.now` or `time.monotonic`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime


class Clock:
    """Wall-clock time in seconds since 1970, moving with the running event loop's own time.

    `source` gives the seconds; by default the machine's clock. A virtual-time loop passes its own.
    """

    __slots__ = ("_source",)

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source

    def now(self) -> float:
        """Seconds since 1970-01-01T00:00:00Z."""
        return self._source()

    def datetime(self) -> datetime:
        """The same instant as an aware datetime in UTC."""
        return datetime.fromtimestamp(self._source(), UTC)

    def timestamp(self) -> str:
        """metav1.Time as JSON has it: RFC 3339, UTC, whole seconds (`2026-11-21T02:00:00Z`)."""
        return format_timestamp(self._source())

    def micro_timestamp(self) -> str:
        """metav1.MicroTime as JSON has it: RFC 3339, UTC, six decimals."""
        return self.datetime().strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    async def sleep(self, seconds: float) -> None:
        """Sleep for that long by the running loop's time; never less than one turn of the loop."""
        await asyncio.sleep(max(0.0, seconds))


def format_timestamp(seconds: float) -> str:
    """metav1.Time of an instant given in seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_timestamp(text: str) -> float:
    """Seconds since 1970 of a metav1.Time or MicroTime; ValueError if it is neither."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
