"""Namespaces that are being deleted: empty them, say in conditions what is in the way, let them go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from slipway.cluster.client.client import Client
from slipway.cluster.client.discovery import discover
from slipway.cluster.client.objects import Key, Object, clone, is_deleting, metadata, name_of
from slipway.cluster.client.resources import NAMESPACES, PODS, ApiResource
from slipway.cluster.controllers import conditions as conds
from slipway.cluster.controllers.controller import Context, Controller
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.writes import Update
from slipway.cluster.status import StatusError

_FINALIZER = "kubernetes"
_FINALIZER_WAIT = 15  # seconds given to content whose finalizers somebody else must remove
_FIRST_LOOK = 0.05  # seconds until the first look at whether content has gone


@dataclass(slots=True)
class Remains:
    """What a pass over a namespace left behind."""

    counts: Counter[str] = field(default_factory=Counter)  # by `pods.`, `deployments.apps`
    finalizers: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    patience: int = 0  # seconds after which the slowest of it should be gone

    def add(self, resource: ApiResource, items: Iterable[Object]) -> None:
        for item in items:
            self.counts[f"{resource.plural}.{resource.group}"] += 1
            wait = _FINALIZER_WAIT if metadata(item).get("finalizers") else 0
            for name in metadata(item).get("finalizers") or ():
                self.finalizers[name] += 1
            if resource is PODS or resource.plural == "pods":
                grace = metadata(item).get("deletionGracePeriodSeconds")
                wait = max(wait, int(30 if grace is None else grace))
            self.patience = max(self.patience, wait)

    @property
    def empty(self) -> bool:
        return not self.counts and not self.errors


def conditions_for(remains: Remains, known: conds.Conditions, timestamp: str) -> conds.Conditions:
    """The five conditions of a terminating namespace, in upstream's order and words."""

    def made(type: str, failing: bool, reasons: tuple[str, str], texts: tuple[str, str]) -> dict[str, Any]:
        index = 0 if failing else 1
        return conds.condition(type, str(failing), reasons[index], texts[index], timestamp)

    counted = ", ".join(f"{name} has {n} resource instances" for name, n in sorted(remains.counts.items()))
    finalizing = ", ".join(
        f"{name} in {n} resource instances" for name, n in sorted(remains.finalizers.items())
    )
    rows = [
        made(
            "NamespaceDeletionDiscoveryFailure",
            False,
            ("DiscoveryFailed", "ResourcesDiscovered"),
            ("", "All resources successfully discovered"),
        ),
        made(
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            ("GroupVersionParsingFailed", "ParsedGroupVersions"),
            ("", "All legacy kube types successfully parsed"),
        ),
        made(
            "NamespaceDeletionContentFailure",
            bool(remains.errors),
            ("ContentDeletionFailed", "ContentDeleted"),
            (
                f"Failed to delete all resource types, {len(remains.errors)} remaining: {', '.join(remains.errors)}",
                "All content successfully deleted, may be waiting on finalization",
            ),
        ),
        made(
            "NamespaceContentRemaining",
            bool(remains.counts),
            ("SomeResourcesRemain", "ContentRemoved"),
            (f"Some resources are remaining: {counted}", "All content successfully removed"),
        ),
        made(
            "NamespaceFinalizersRemaining",
            bool(remains.finalizers),
            ("SomeFinalizersRemain", "ContentHasNoFinalizers"),
            (
                f"Some content in the namespace has finalizers remaining: {finalizing}",
                "All content-preserving finalizers finished",
            ),
        ),
    ]
    result = list(known)
    for row in rows:
        result = conds.put_in_place(result, row)
    return result


class NamespaceController(Controller):
    workers: ClassVar[int] = 10

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._looks: Counter[str] = Counter()  # how often each terminating namespace was looked at

    def watch(self) -> None:
        self.namespaces = self.informer(NAMESPACES)
        self.handle(
            self.namespaces,
            lambda old, new: self.enqueue(new) if new is not None and is_deleting(new) else None,
        )

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        namespace = self.namespaces.get(*key)
        if namespace is None or not is_deleting(namespace):
            self._looks.pop(key[1], None)
            return None
        if _FINALIZER not in (namespace["spec"].get("finalizers") or ()):
            return None
        if (namespace.get("status") or {}).get("phase") != "Terminating":
            status = {**(namespace.get("status") or {}), "phase": "Terminating"}
            written = await effects.do(Update(NAMESPACES, {**namespace, "status": status}, "status"))
            namespace = written or namespace
        remains = await self._empty(effects.client, key[1])
        known = [dict(c) for c in (namespace.get("status") or {}).get("conditions") or ()]
        conditions = conditions_for(remains, known, self.clock.timestamp())
        if remains.empty and not known:
            await self._finalize(effects, namespace)
            return None
        if conditions != known:
            status = {**(namespace.get("status") or {}), "conditions": conditions}
            written = await effects.do(Update(NAMESPACES, {**namespace, "status": status}, "status"))
            namespace = written or namespace
        if remains.empty:
            await self._finalize(effects, namespace)
            return None
        # Most content goes within moments of being asked; the longest wait is upstream's estimate.
        looks = self._looks[key[1]]
        self._looks[key[1]] += 1
        return min(_FIRST_LOOK * 2.0**looks, remains.patience / 2 + 1)

    async def _finalize(self, effects: Effects, namespace: Object) -> None:
        wanted = clone(namespace)
        wanted["spec"]["finalizers"] = [
            name for name in wanted["spec"].get("finalizers") or () if name != _FINALIZER
        ]
        await effects.do(Update(NAMESPACES, wanted, "finalize"))
        self._looks.pop(name_of(namespace), None)

    async def _empty(self, client: Client, namespace: str) -> Remains:
        """Ask everything in the namespace to go, pods before the rest; what is still there."""
        served = [
            item
            for item in await discover(client)
            if item.preferred and item.resource.namespaced and {"delete", "list"} <= item.verbs
        ]
        served.sort(key=lambda item: (item.resource.group, item.resource.plural) != ("", "pods"))
        remains = Remains()
        for item in served:
            if remains.counts and remains.counts.keys() <= {"pods."} and item.resource.plural != "pods":
                # Ordered deletion: the rest waits for the pods, which may need it (network policies, say).
                break
            try:
                left = await _delete_all(client, item.resource, namespace, "deletecollection" in item.verbs)
            except StatusError as error:
                if error.code not in (404, 405):
                    remains.errors.append(f"{item.resource.qualified}: {error.message}")
            else:
                remains.add(item.resource, left)
        return remains


async def _delete_all(client: Client, resource: ApiResource, namespace: str, at_once: bool) -> list[Object]:
    if not (await client.list(resource, namespace, limit=1))["items"]:
        return []
    if at_once:
        await client.delete_collection(resource, namespace, propagation="Background")
    else:
        for item in (await client.list(resource, namespace))["items"]:
            try:
                await client.delete(resource, name_of(item), namespace, propagation="Background")
            except StatusError as error:
                if error.code != 404:
                    raise
    items: list[Object] = (await client.list(resource, namespace))["items"]
    return items
