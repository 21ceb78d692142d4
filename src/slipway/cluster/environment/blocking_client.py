"""The API of any cluster for callers that block: a client in a thread of its own, reached by kubeconfig.

Resources go by the names that kubectl takes: plural, singular, kind, short name, each with a group behind a dot
where that is needed (`widgets.example.com`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from slipway.cluster.client.client import Client
from slipway.cluster.client.discovery import Served, discover
from slipway.cluster.client.http import Access, HttpTransport
from slipway.cluster.client.resources import ApiResource
from slipway.cluster.clock import Clock
from slipway.cluster.environment.embedded import ClusterError

T = TypeVar("T")


class BlockingClient:
    """Use as a context manager. `call` runs a coroutine of `client` and waits for its result."""

    def __init__(self, kubeconfig: Path, user_agent: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="slipway-client", daemon=True)
        access = Access.from_kubeconfig(kubeconfig)
        self.client = Client(HttpTransport(access), user_agent=user_agent, clock=Clock())
        self._served: list[Served] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.call(self.client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def named(self, word: str) -> ApiResource:
        """The resource that `word` names. ClusterError when none does, or more than one group has it."""
        name, _, group = word.lower().partition(".")
        return self._look(lambda: self._by_name(name, group), word)

    def of(self, obj: dict[str, Any]) -> ApiResource:
        """The resource of an object, by its apiVersion and kind."""
        group, _, version = str(obj.get("apiVersion", "")).rpartition("/")
        kind = obj.get("kind", "")
        return self._look(
            lambda: [
                served.resource
                for served in self._served
                if (served.resource.group, served.resource.version, served.resource.kind)
                == (group, version, kind)
            ],
            f"{kind} of {obj.get('apiVersion')}",
        )

    def _look(self, find: Any, wanted: str) -> ApiResource:
        found: list[ApiResource] = find()
        if not found:  # a definition may have come since
            self._served = self.call(discover(self.client))
            found = find()
        if not found:
            raise ClusterError(f"the cluster serves no resource {wanted!r}: has its CRD been applied?")
        core = [resource for resource in found if not resource.group]
        if len(found) > 1 and not core:
            names = ", ".join(sorted(resource.qualified for resource in found))
            raise ClusterError(f"{wanted!r} can mean {names}: say which")
        return (core or found)[0]

    def _by_name(self, name: str, group: str) -> list[ApiResource]:
        return [
            served.resource
            for served in self._served
            if served.preferred and name in served.names and (not group or served.resource.group == group)
        ]
