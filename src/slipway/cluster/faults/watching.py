"""Streams that come to grief: watches that end too early or run late, a body that breaks off.

A watch is a stream of bytes for sockets, lines of JSON of which a long one comes in parts, and of (type, object) for
clients of this process.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Literal

import orjson

from slipway.cluster.clock import Clock
from slipway.cluster.status import expired

TOO_OLD = "The resourceVersion for the provided watch is too old."


async def ended_after(
    events: AsyncIterator[Any], count: int, how: Literal["closed", "expired", "reset"], *, lines: bool
) -> AsyncIterator[Any]:
    """The first `count` events, then the end."""
    left = count
    try:
        if left:
            async for event in events:
                yield event
                left -= not lines or event.endswith(b"\n")
                if not left:
                    break
            else:
                return
        if how == "expired":
            status = expired(TOO_OLD).to_object()
            yield orjson.dumps({"type": "ERROR", "object": status}) + b"\n" if lines else ("ERROR", status)
        if how == "reset":
            raise ConnectionResetError("a fault rule of the test ended the watch")
    finally:
        await _close(events)


async def late(events: AsyncIterator[Any], seconds: float, clock: Clock) -> AsyncIterator[Any]:
    """Each event `seconds` after it happened. Events are taken as they come, so that the lag does not add up."""
    waiting: deque[tuple[float, Any]] = deque()
    came = asyncio.Event()
    failure: list[BaseException] = []

    async def take() -> None:
        try:
            async for event in events:
                waiting.append((clock.now() + seconds, event))
                came.set()
        except Exception as error:
            failure.append(error)
        finally:
            waiting.append((clock.now(), None))
            came.set()

    taker = asyncio.create_task(take())
    try:
        while True:
            while not waiting:
                came.clear()
                await came.wait()
            due, event = waiting.popleft()
            if event is None:
                break
            if due > clock.now():
                await clock.sleep(due - clock.now())
            yield event
        if failure:
            raise failure[0]
    finally:
        taker.cancel()
        await asyncio.gather(taker, return_exceptions=True)
        await _close(events)


async def midway(body: bytes) -> AsyncIterator[bytes]:
    """Half of a body, then a broken connection."""
    yield body[: len(body) // 2]
    raise ConnectionResetError("a fault rule of the test broke the answer off")


async def _close(events: AsyncIterator[Any]) -> None:
    close = getattr(events, "aclose", None)
    if close is not None:
        await close()
