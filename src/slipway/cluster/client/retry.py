"""Doing an update again when somebody else was faster (409 Conflict)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from slipway.cluster.clock import Clock
from slipway.cluster.status import StatusError

T = TypeVar("T")

_ATTEMPTS = 5
_PAUSE = 0.01  # seconds, growing fivefold: client-go's DefaultBackoff


async def retry_on_conflict(clock: Clock, attempt: Callable[[], Awaitable[T]]) -> T:
    """Call `attempt`, which reads and writes, until it does not conflict; the last conflict is raised."""
    pause = _PAUSE
    for _ in range(_ATTEMPTS - 1):
        try:
            return await attempt()
        except StatusError as error:
            if error.reason != "Conflict":
                raise
        await clock.sleep(pause)
        pause *= 5
    return await attempt()
