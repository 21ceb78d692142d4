"""Runs the plug-ins in order: every mutation first, every judgement after validation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from slipway.cluster.registry.call import Call

Object = dict[str, Any]


class Plugin(Protocol):
    """`obj` is the new object, None on delete; `old` the stored one, None on create. `mutate` changes `obj` in
    place or returns another; StatusError refuses."""

    async def mutate(self, call: Call, obj: Object | None, old: Object | None) -> Object | None: ...

    async def validate(self, call: Call, obj: Object | None, old: Object | None) -> None: ...


class Judge:
    """A plug-in that changes nothing; or, where `validate` is left alone, one that only changes."""

    async def mutate(self, call: Call, obj: Object | None, old: Object | None) -> Object | None:
        return obj

    async def validate(self, call: Call, obj: Object | None, old: Object | None) -> None:
        return None


class Chain:
    def __init__(self, plugins: Sequence[Plugin]) -> None:
        self._plugins = plugins

    async def mutate(self, call: Call, obj: Object | None, old: Object | None) -> Object | None:
        for plugin in self._plugins:
            obj = await plugin.mutate(call, obj, old)
        return obj

    async def validate(self, call: Call, obj: Object | None, old: Object | None) -> None:
        for plugin in self._plugins:
            await plugin.validate(call, obj, old)
