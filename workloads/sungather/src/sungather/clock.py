"""Time as the collector sees it: one object to inject, so that tests can let 72 hours pass in seconds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, tzinfo
from typing import Protocol


class Clock(Protocol):
    """Wall time and elapsed time. Sleeping and timeouts are asyncio's own, on the same loop."""

    def now(self) -> datetime:
        """The time in UTC."""
        ...

    def local(self) -> datetime:
        """The time in the owner's zone."""
        ...

    def monotonic(self) -> float:
        """Seconds that never jump."""
        ...


class SystemClock:
    """The machine's clock. zone None means the machine's own time zone."""

    def __init__(self, zone: tzinfo | None = None) -> None:
        self._zone = zone

    def now(self) -> datetime:
        return datetime.now(UTC)

    def local(self) -> datetime:
        return self.now().astimezone(self._zone)

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()
