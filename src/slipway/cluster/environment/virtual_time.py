"""An event loop whose time is virtual: when nothing can run, it jumps to the next timer instead of waiting.

An hour of leases, back-offs and cron takes as long as the work done in it. What happens is the same at every
run, since nothing depends on how fast the machine is. Sockets still work: a jump happens only when no input is
waiting, and never beyond the `horizon`, so that a test can hold time still while real clients talk to the
cluster, and then `advance` it.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from slipway.cluster.clock import Clock

# 2026-01-01T00:00:00Z: runs are alike on every day.
EPOCH = 1_767_225_600.0
T = TypeVar("T")


class _JumpingSelector(selectors.BaseSelector):
    """Asks the real selector what is ready, and lets the loop jump instead of sleeping."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.loop: VirtualTimeLoop | None = None

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0 or self.loop is None:
            return ready
        if timeout is not None and self.loop.jump(timeout):
            return ready
        return self._real.select(None)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """`horizon` is the virtual second up to which time may jump by itself; infinite by default."""

    def __init__(self, *, horizon: float = math.inf) -> None:
        selector = _JumpingSelector()
        self._virtual = 0.0
        self.horizon = horizon
        super().__init__(selector)
        selector.loop = self

    def time(self) -> float:
        return self._virtual

    def jump(self, seconds: float) -> bool:
        """Move time on by up to `seconds`; False when the horizon is reached."""
        target = min(self._virtual + seconds, self.horizon)
        if target <= self._virtual and seconds > 0:
            return False
        self._virtual = target
        return True

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        # Since Python 3.12 asyncio gives threads five minutes, and those are over at once here.
        await super().shutdown_default_executor()

    def clock(self) -> Clock:
        """A cluster clock that shows this loop's time, starting at EPOCH."""
        return Clock(lambda: EPOCH + self._virtual)

    async def advance(self, seconds: float) -> None:
        """Let exactly `seconds` pass and everything due in them happen (for loops that are held still)."""
        self.horizon = max(self.horizon if math.isfinite(self.horizon) else 0.0, self._virtual) + seconds
        await asyncio.sleep(self.horizon - self._virtual)


def run(main: Coroutine[Any, Any, T]) -> T:
    """asyncio.run in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
