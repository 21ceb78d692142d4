"""ControllerRevisions: which templates a StatefulSet or DaemonSet has had, and which is the newest. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from slipway.cluster.client.objects import (
    Object,
    annotations_of,
    clone,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
)
from slipway.cluster.client.resources import CONTROLLER_REVISIONS
from slipway.cluster.controllers.hashing import template_hash
from slipway.cluster.controllers.writes import Create, Delete, Update, Write

HASH_LABEL = "controller.kubernetes.io/hash"
POD_LABEL = "controller-revision-hash"


@dataclass(frozen=True, slots=True)
class Newest:
    """The revision of the owner's template as it is now, and the write that makes it so, if one is needed."""

    revision: Object
    write: Write | None


def number(revision: Object) -> int:
    return int(revision.get("revision") or 0)


def by_number(revisions: Iterable[Object]) -> list[Object]:
    return sorted(revisions, key=lambda revision: (number(revision), name_of(revision)))


def data_of(owner: Object) -> dict[str, Any]:
    """The patch that goes back to the owner's template, in the order of a Go map: others compare it byte by byte."""
    return {"spec": {"template": _in_order({**owner["spec"]["template"], "$patch": "replace"})}}


def _in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _in_order(value[name]) for name in sorted(value)}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


def template_of(revision: Object) -> dict[str, Any]:
    template: dict[str, Any] = clone(revision["data"]["spec"]["template"])
    template.pop("$patch", None)
    return template


def newest(
    owner: Object, revisions: list[Object], collisions: int | None, hash_label: str = HASH_LABEL
) -> Newest:
    """Find the revision that has the owner's template, moved to the front; or a new one to create."""
    ordered = by_number(revisions)
    data = data_of(owner)
    top = number(ordered[-1]) if ordered else 0
    for revision in reversed(ordered):
        if revision.get("data") == data:
            if revision is ordered[-1]:
                return Newest(revision, None)
            moved = {**revision, "revision": top + 1}
            return Newest(moved, Update(CONTROLLER_REVISIONS, moved))
    digest = template_hash(data, collisions)
    made: Object = {
        "apiVersion": CONTROLLER_REVISIONS.api_version,
        "kind": CONTROLLER_REVISIONS.kind,
        "metadata": {
            "name": f"{name_of(owner)}-{digest}",
            "namespace": namespace_of(owner),
            "labels": {**labels_of(owner["spec"]["template"]), hash_label: digest},
            **({"annotations": dict(annotations_of(owner))} if annotations_of(owner) else {}),
            "ownerReferences": [owner_reference(owner)],
        },
        "data": data,
        "revision": top + 1,
    }
    return Newest(made, Create(CONTROLLER_REVISIONS, made))


def surplus(revisions: list[Object], in_use: Collection[str], limit: int) -> list[Write]:
    """Deletions of the oldest revisions, by name not `in_use`, beyond the history limit."""
    unused = [revision for revision in by_number(revisions) if name_of(revision) not in in_use]
    return [Delete(CONTROLLER_REVISIONS, revision) for revision in unused[: max(0, len(unused) - limit)]]
