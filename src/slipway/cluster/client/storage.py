"""What claims and volumes say about each other: bound or not, and which volume serves a claim best. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from slipway.cluster.client import selectors
from slipway.cluster.client.objects import (
    Object,
    annotations_of,
    is_deleting,
    labels_of,
    metadata,
    name_of,
    namespace_of,
    revision_of,
    uid_of,
)
from slipway.cluster.client.quantities import parse_quantity

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONER = "slipway.dev/local-path"
CLASS_NAME = "standard"


def default_class() -> Object:
    """The StorageClass that a new cluster has."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {
            "name": CLASS_NAME,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def is_bound(claim: Object) -> bool:
    return bool(claim["spec"].get("volumeName")) and BIND_COMPLETED in annotations_of(claim)


def claim_reference(claim: Object) -> dict[str, str]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": namespace_of(claim),
        "name": name_of(claim),
        "uid": uid_of(claim),
        "resourceVersion": str(revision_of(claim)),
    }


def best_volume(claim: Object, volumes: Iterable[Object]) -> Object | None:
    """A volume reserved for the claim, else the smallest free one that is large enough."""
    fitting = []
    for volume in volumes:
        if not serves(claim, volume):
            continue
        if volume["spec"].get("claimRef"):
            return volume
        size = parse_quantity((volume["spec"].get("capacity") or {}).get("storage", "0"))
        fitting.append((size, name_of(volume), volume))
    return min(fitting, key=lambda item: item[:2])[2] if fitting else None


def serves(claim: Object, volume: Object) -> bool:
    """Whether the volume is free for this claim (or reserved for it) and has what it asks for."""
    spec, wanted = volume["spec"], claim["spec"]
    reference = spec.get("claimRef")
    if reference:
        ours = (reference.get("namespace"), reference.get("name")) == (namespace_of(claim), name_of(claim))
        return ours and reference.get("uid") in (None, "", uid_of(claim))
    if is_deleting(volume) or (volume.get("status") or {}).get("phase", "Available") != "Available":
        return False
    size = ((wanted.get("resources") or {}).get("requests") or {}).get("storage", "0")
    return (
        (spec.get("storageClassName") or "") == (wanted.get("storageClassName") or "")
        and (spec.get("volumeMode") or "Filesystem") == (wanted.get("volumeMode") or "Filesystem")
        and set(wanted.get("accessModes") or ()) <= set(spec.get("accessModes") or ())
        and (wanted.get("selector") is None or selectors.matches(wanted["selector"], labels_of(volume)))
        and parse_quantity((spec.get("capacity") or {}).get("storage", "0")) >= parse_quantity(size)
        and not metadata(volume).get("deletionTimestamp")
    )
