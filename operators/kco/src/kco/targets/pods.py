"""The pods of the namespaces that TargetApps look at, kept by list and watch, in a few bytes each.

One watch per (cluster, namespace), started with the first TargetApp that needs it and stopped with the
last. Listeners are told the namespace whenever a pod there appears, vanishes or changes readiness or IP.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kco.spec.targetapp import Selector
from kco.targets.selector import matches
from operator_kit.clock import Clock
from operator_kit.kube.client import PODS, KubeClient
from operator_kit.kube.failure import ApiFailure
from operator_kit.logging import record

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pod:
    """What choosing and reaching a pod needs to know of it."""

    name: str
    uid: str
    ip: str
    ready: bool
    terminating: bool
    running: bool
    labels: tuple[tuple[str, str], ...]
    containers: tuple[str, ...]

    @property
    def usable(self) -> bool:
        """Ready, has an address, and is not on its way out."""
        return self.ready and bool(self.ip) and not self.terminating


def read_pod(body: dict[str, Any]) -> Pod:
    """The few facts of a Pod object."""
    metadata, status = body.get("metadata") or {}, body.get("status") or {}
    conditions = status.get("conditions") or []
    ready = any(entry.get("type") == "Ready" and entry.get("status") == "True" for entry in conditions)
    return Pod(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        ip=status.get("podIP") or "",
        ready=ready,
        terminating=bool(metadata.get("deletionTimestamp")),
        running=status.get("phase") == "Running",
        labels=tuple(sorted((metadata.get("labels") or {}).items())),
        containers=tuple(entry["name"] for entry in (body.get("spec") or {}).get("containers") or []),
    )


class PodIndex:
    """Pods by namespace of one cluster."""

    def __init__(self, client: KubeClient, *, clock: Clock, changed: Callable[[str], None]) -> None:
        self._client = client
        self._clock = clock
        self._changed = changed
        self._pods: dict[str, dict[str, Pod]] = {}
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._users: dict[str, set[str]] = {}
        self.synced: set[str] = set()
        self.failures: dict[str, str] = {}

    def follow(self, namespace: str, user: str) -> None:
        """Keep this namespace's pods known for `user` (a TargetApp's uid)."""
        self._users.setdefault(namespace, set()).add(user)
        if namespace not in self._watches:
            self._pods[namespace] = {}
            self._watches[namespace] = asyncio.create_task(self._run(namespace), name=f"pods of {namespace}")

    def release(self, namespace: str, user: str) -> None:
        """Forget the namespace when its last user is gone."""
        users = self._users.get(namespace, set())
        users.discard(user)
        if not users and namespace in self._watches:
            self._watches.pop(namespace).cancel()
            self._users.pop(namespace, None)
            self._pods.pop(namespace, None)
            self.synced.discard(namespace)
            self.failures.pop(namespace, None)

    def chosen(self, namespace: str, selector: Selector) -> list[Pod]:
        """Pods that the selector chooses, by name."""
        pods = self._pods.get(namespace, {})
        return [pods[name] for name in sorted(pods) if matches(selector, dict(pods[name].labels))]

    async def close(self) -> None:
        tasks = list(self._watches.values())
        self._watches.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, namespace: str) -> None:
        wait = 0.5
        while True:
            try:
                await self._list_and_watch(namespace)
                wait = 0.5
            except ApiFailure as failure:
                self.failures[namespace] = str(failure)
                if not failure.gone:
                    record(log, logging.WARNING, "pod_watch_failed", namespace=namespace, error=str(failure))
                    self._changed(namespace)
                    await self._clock.sleep(wait)
                    wait = min(wait * 2, 30.0)

    async def _list_and_watch(self, namespace: str) -> None:
        listing = await self._client.list(PODS, namespace)
        self._pods[namespace] = {
            body["metadata"]["name"]: read_pod(body) for body in listing.get("items") or []
        }
        self.synced.add(namespace)
        self.failures.pop(namespace, None)
        self._changed(namespace)
        since = listing["metadata"]["resourceVersion"]
        while True:
            async with contextlib.aclosing(self._client.watch(PODS, namespace, since=since)) as events:
                async for kind, body in events:
                    since = body["metadata"]["resourceVersion"]
                    if kind != "BOOKMARK":
                        self._apply(namespace, kind, body)

    def _apply(self, namespace: str, kind: str, body: dict[str, Any]) -> None:
        pods = self._pods[namespace]
        pod = read_pod(body)
        if kind == "DELETED":
            known = pods.pop(pod.name, None)
            if known is not None:
                self._changed(namespace)
        elif pods.get(pod.name) != pod:
            pods[pod.name] = pod
            self._changed(namespace)
