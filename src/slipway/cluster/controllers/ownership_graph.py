"""Who owns whom, as the garbage collector sees it: nodes by uid, built from informers. Pure data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from slipway.cluster.client.objects import Object, is_deleting, metadata, name_of, namespace_of, uid_of
from slipway.cluster.client.resources import ApiResource

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(slots=True)
class Node:
    resource: ApiResource
    namespace: str
    name: str
    uid: str
    owners: list[dict[str, Any]] = field(default_factory=list)
    deleting: bool = False
    waiting: bool = False  # being deleted in the foreground: gone when its blocking dependents are
    orphaning: bool = False  # being deleted, dependents are to be let go first


@dataclass(slots=True)
class Graph:
    nodes: dict[str, Node] = field(default_factory=dict)
    _dependents: dict[str, set[str]] = field(default_factory=dict)

    def put(self, resource: ApiResource, obj: Object) -> set[str]:
        """Take in an object as it is now; the uids that should be looked at because of it."""
        uid = uid_of(obj)
        finalizers = metadata(obj).get("finalizers") or ()
        node = Node(
            resource,
            namespace_of(obj),
            name_of(obj),
            uid,
            list(metadata(obj).get("ownerReferences") or ()),
            is_deleting(obj),
            is_deleting(obj) and FOREGROUND in finalizers,
            is_deleting(obj) and ORPHAN in finalizers,
        )
        before = self.nodes.get(uid)
        self.nodes[uid] = node
        affected: set[str] = set()
        old_owners = before.owners if before else []
        if old_owners != node.owners or before is None:
            self._link(uid, old_owners, node.owners)
            # An owner that waits for this one may not have to any more.
            affected |= {ref["uid"] for ref in old_owners if self._is_waiting(ref["uid"])}
            if self.needs_look(node):
                affected.add(uid)
        if node.waiting and not (before and before.waiting):
            affected |= {uid} | self.dependents(uid)
        if node.orphaning and not (before and before.orphaning):
            affected.add(uid)
        return affected

    def remove(self, uid: str) -> set[str]:
        """Forget an object that is gone; the uids that should be looked at because of it."""
        node = self.nodes.pop(uid, None)
        affected = self.dependents(uid)
        if node is not None:
            self._link(uid, node.owners, [])
            affected |= {ref["uid"] for ref in node.owners if self._is_waiting(ref["uid"])}
        return affected

    def dependents(self, uid: str) -> set[str]:
        return set(self._dependents.get(uid, ()))

    def blocking(self, uid: str) -> list[Node]:
        """The dependents without whose end a waiting owner must not go."""
        return [
            self.nodes[dependent]
            for dependent in sorted(self.dependents(uid))
            if any(
                ref["uid"] == uid and ref.get("blockOwnerDeletion") for ref in self.nodes[dependent].owners
            )
        ]

    def needs_look(self, node: Node) -> bool:
        """Whether something about this node's owners may call for a write, as far as is known here."""
        return any(not self._is_sound(node, ref) for ref in node.owners)

    def _is_sound(self, node: Node, reference: dict[str, Any]) -> bool:
        owner = self.nodes.get(reference["uid"])
        return (
            owner is not None
            and not owner.waiting
            and owner.namespace in ("", node.namespace)
            and owner.resource.kind == reference["kind"]
            and owner.name == reference["name"]
        )

    def _is_waiting(self, uid: str) -> bool:
        node = self.nodes.get(uid)
        return node is not None and node.waiting

    def _link(self, uid: str, old: Iterable[dict[str, Any]], new: Iterable[dict[str, Any]]) -> None:
        for reference in old:
            bucket = self._dependents.get(reference["uid"])
            if bucket is not None:
                bucket.discard(uid)
                if not bucket:
                    del self._dependents[reference["uid"]]
        for reference in new:
            self._dependents.setdefault(reference["uid"], set()).add(uid)
