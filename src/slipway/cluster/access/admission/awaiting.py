"""Waits a moment for an object that another request or a controller is about to make."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing

from slipway.cluster.registry.registry import Registry
from slipway.cluster.store import Record


async def awaited(
    registry: Registry,
    plural: str,
    namespace: str,
    name: str,
    seconds: float,
    is_due: Callable[[], bool] = lambda: True,
) -> Record | None:
    """The core object, waited for as long as `is_due` says that it may still appear; None if it did not."""
    record = registry.record("", "v1", plural, namespace, name)
    if record is not None:
        return record
    definition = registry.definitions.find("", "v1", plural)
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    with closing(registry.store.watch(definition.bucket, registry.store.revision)) as changes:
        while record is None and is_due() and (left := end - loop.time()) > 0:
            await changes.next(left)
            record = registry.record("", "v1", plural, namespace, name)
    return record
