"""Deletes what nobody owns any more, and makes foreground and orphan deletions come true.

The graph (`ownership_graph`) says where to look; what is done is decided on objects read from the server at
that moment, as upstream does, so that a stale graph never deletes what it should not.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, ClassVar

from slipway.cluster.client.client import PatchType
from slipway.cluster.client.discovery import discover
from slipway.cluster.client.objects import Key, Object, clone, is_deleting, metadata, namespace_of, uid_of
from slipway.cluster.client.resources import CUSTOM_RESOURCE_DEFINITIONS, ApiResource
from slipway.cluster.controllers.controller import Context, Controller
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.ownership_graph import FOREGROUND, ORPHAN, Graph, Node
from slipway.cluster.controllers.writes import Announce
from slipway.cluster.status import StatusError

_IGNORED = {("", "events"), ("events.k8s.io", "events")}
_RESYNC = 30.0  # seconds between looks at discovery, besides those that CRDs cause
_ABSENT_REMEMBERED = 500
_DISCOVER: Key = ("discover", "")


@dataclass(slots=True)
class References:
    """An object's owner references, by what became of the owners."""

    solid: list[dict[str, Any]] = field(default_factory=list)
    dangling: list[dict[str, Any]] = field(default_factory=list)
    waiting: list[dict[str, Any]] = field(default_factory=list)


class UnknownKindError(OSError):
    """An owner reference names a kind that the server does not serve (now)."""


class GarbageCollector(Controller):
    workers: ClassVar[int] = 5

    def __init__(self, context: Context) -> None:
        self.graph = Graph()
        self._watched: set[ApiResource] = set()
        self._kinds: dict[tuple[str, str], ApiResource] = {}
        self._absent: OrderedDict[tuple[str, str], None] = (
            OrderedDict()
        )  # (uid, namespace) of owners seen absent
        self._loading = True
        super().__init__(context)

    def watch(self) -> None:
        definitions = self.informer(CUSTOM_RESOURCE_DEFINITIONS)
        self.handle(definitions, lambda old, new: self.queue.add(_DISCOVER))

    async def prepare(self) -> None:
        await self._discover()
        for resource in sorted(self._watched, key=lambda item: item.qualified):
            await self.context.informers.informer(resource).wait_synced()
        # Only now is it known which owners are missing and which had only not been listed yet.
        self._loading = False
        for node in self.graph.nodes.values():
            if node.waiting or node.orphaning or self.graph.needs_look(node):
                self._look(node.uid)
        self.queue.add_after(_DISCOVER, _RESYNC)

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        if key == _DISCOVER:
            await self._discover()
            return _RESYNC
        node = self.graph.nodes.get(key[1])
        if node is not None:
            await self._collect(node, effects)
        return None

    # -- what is there -----------------------------------------------------------------------------------------

    async def _discover(self) -> None:
        served = await discover(self.context.client)
        self._kinds = {(item.resource.api_version, item.resource.kind): item.resource for item in served}
        wanted = {
            item.resource
            for item in served
            if item.preferred
            and {"list", "watch", "delete"} <= item.verbs
            and (item.resource.group, item.resource.plural) not in _IGNORED
        }
        for resource in self._watched - wanted:
            await self.context.informers.drop(resource)
            for uid in [node.uid for node in self.graph.nodes.values() if node.resource == resource]:
                self._forget(uid)
        for resource in sorted(wanted - self._watched, key=lambda item: item.qualified):
            self._follow(resource)
        self._watched = wanted

    def _follow(self, resource: ApiResource) -> None:
        informer = self.context.informers.informer(resource)

        def changed(old: Object | None, new: Object | None) -> None:
            if new is None:
                self._forget(uid_of(old or {}))
                return
            if old is not None and uid_of(old) != uid_of(new):
                self._forget(uid_of(old))
            affected = self.graph.put(resource, new)
            if not self._loading:
                for uid in sorted(affected):
                    self._look(uid)

        self.handle(informer, changed)

    def _forget(self, uid: str) -> None:
        for affected in sorted(self.graph.remove(uid)):
            self._look(affected)

    def _look(self, uid: str) -> None:
        if not self._loading:
            self.queue.add(("", uid))

    # -- what to do --------------------------------------------------------------------------------------------

    async def _collect(self, node: Node, effects: Effects) -> None:
        if node.orphaning:
            await self._orphan_dependents(node, effects)
            return
        if node.deleting and not node.waiting:
            return
        item = await self._read(node.resource, node.namespace, node.name, node.uid, effects)
        if item is None:
            self._forget(node.uid)
            return
        if is_deleting(item) and FOREGROUND in (metadata(item).get("finalizers") or ()):
            await self._wait_for_dependents(node, item, effects)
            return
        if is_deleting(item) or not metadata(item).get("ownerReferences"):
            return
        references = await self._classify(node, item, effects)
        if references.solid:
            stale = [*references.dangling, *references.waiting]
            if stale:
                await self._drop_references(node.resource, item, {ref["uid"] for ref in stale}, effects)
        elif references.waiting and self.graph.dependents(node.uid):
            if any(self.graph.nodes[uid].waiting for uid in self.graph.dependents(node.uid)):
                # A ring of owners waiting for each other: this one lets go first.
                item = await self._unblock(node.resource, item, effects)
            await self._delete(node, item, "Foreground", effects)
        else:
            finalizers = metadata(item).get("finalizers") or ()
            policy = (
                "Orphan"
                if ORPHAN in finalizers
                else "Foreground"
                if FOREGROUND in finalizers
                else "Background"
            )
            await self._delete(node, item, policy, effects)

    async def _classify(self, node: Node, item: Object, effects: Effects) -> References:
        found = References()
        for reference in metadata(item).get("ownerReferences") or ():
            resource = self._kinds.get((reference["apiVersion"], reference["kind"]))
            if resource is None:
                raise UnknownKindError(
                    f"no kind {reference['kind']} in version {reference['apiVersion']} is served"
                )
            if resource.namespaced and not node.namespace:
                # A cluster-scoped object cannot have such an owner: said, and never resolved by deleting.
                text = f"ownerRef {_shown(reference)} is namespaced, but the dependent is cluster-scoped"
                effects.announce(
                    Announce(node.resource.typed(item), "OwnerRefInvalidNamespace", text, "Warning")
                )
                found.solid.append(reference)
                continue
            namespace = node.namespace if resource.namespaced else ""
            owner = await self._owner(resource, namespace, reference, effects)
            if owner is None:
                found.dangling.append(reference)
                self._warn_if_elsewhere(node, item, reference, effects)
            elif is_deleting(owner) and FOREGROUND in (metadata(owner).get("finalizers") or ()):
                found.waiting.append(reference)
            else:
                found.solid.append(reference)
        return found

    async def _owner(
        self, resource: ApiResource, namespace: str, reference: dict[str, Any], effects: Effects
    ) -> Object | None:
        known_absent = (reference["uid"], namespace)
        if known_absent in self._absent:
            return None
        owner = await self._read(resource, namespace, reference["name"], reference["uid"], effects)
        if owner is None:
            self._absent[known_absent] = None
            if len(self._absent) > _ABSENT_REMEMBERED:
                self._absent.popitem(last=False)
        return owner

    def _warn_if_elsewhere(
        self, node: Node, item: Object, reference: dict[str, Any], effects: Effects
    ) -> None:
        owner = self.graph.nodes.get(reference["uid"])
        if owner is not None and owner.namespace and owner.namespace != node.namespace:
            text = f'ownerRef {_shown(reference)} does not exist in namespace "{node.namespace}"'
            effects.announce(Announce(node.resource.typed(item), "OwnerRefInvalidNamespace", text, "Warning"))

    async def _read(
        self, resource: ApiResource, namespace: str, name: str, uid: str, effects: Effects
    ) -> Object | None:
        try:
            obj = await effects.client.get(resource, name, namespace)
        except StatusError as error:
            if error.code == 404:
                return None
            raise
        return obj if uid_of(obj) == uid else None

    async def _wait_for_dependents(self, node: Node, item: Object, effects: Effects) -> None:
        blocking = self.graph.blocking(node.uid)
        if not blocking:
            await self._remove_finalizer(node.resource, item, FOREGROUND, effects)
            return
        for dependent in blocking:
            if not dependent.waiting:
                self._look(dependent.uid)

    async def _orphan_dependents(self, node: Node, effects: Effects) -> None:
        item = await self._read(node.resource, node.namespace, node.name, node.uid, effects)
        if item is None:
            self._forget(node.uid)
            return
        for uid in sorted(self.graph.dependents(node.uid)):
            dependent = self.graph.nodes[uid]
            obj = await self._read(dependent.resource, dependent.namespace, dependent.name, uid, effects)
            if obj is not None:
                await self._drop_references(dependent.resource, obj, {node.uid}, effects)
        await self._remove_finalizer(node.resource, item, ORPHAN, effects)

    # -- writes ------------------------------------------------------------------------------------------------

    async def _delete(self, node: Node, item: Object, policy: str, effects: Effects) -> None:
        try:
            await effects.client.delete(
                node.resource,
                node.name,
                node.namespace,
                propagation=policy,
                uid=node.uid,
                resource_version=str(metadata(item).get("resourceVersion", "")),
            )
        except StatusError as error:
            if error.code != 404:
                raise

    async def _drop_references(
        self, resource: ApiResource, item: Object, uids: set[str], effects: Effects
    ) -> None:
        kept = [ref for ref in metadata(item).get("ownerReferences") or () if ref["uid"] not in uids]
        await self._patch(resource, item, {"ownerReferences": kept or None}, effects)

    async def _remove_finalizer(
        self, resource: ApiResource, item: Object, finalizer: str, effects: Effects
    ) -> None:
        finalizers = metadata(item).get("finalizers") or []
        if finalizer in finalizers:
            kept = [name for name in finalizers if name != finalizer]
            await self._patch(resource, item, {"finalizers": kept or None}, effects)

    async def _unblock(self, resource: ApiResource, item: Object, effects: Effects) -> Object:
        references = clone(metadata(item)["ownerReferences"])
        for reference in references:
            reference["blockOwnerDeletion"] = False
        return await self._patch(resource, item, {"ownerReferences": references}, effects) or item

    async def _patch(
        self, resource: ApiResource, item: Object, change: dict[str, Any], effects: Effects
    ) -> Object | None:
        """A merge patch on exactly this version of the object; a conflict is tried again by the queue."""
        meta = {"resourceVersion": metadata(item)["resourceVersion"], "uid": uid_of(item), **change}
        try:
            return await effects.client.patch(
                resource, metadata(item)["name"], namespace_of(item), {"metadata": meta}, PatchType.MERGE
            )
        except StatusError as error:
            if error.code == 404:
                return None
            raise


def _shown(reference: dict[str, Any]) -> str:
    fields = ("apiVersion", "kind", "name", "uid")
    return "[" + ", ".join(f"{field}: {reference.get(field, '')}" for field in fields) + "]"
