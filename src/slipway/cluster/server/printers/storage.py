"""Cells of volumes, claims, storage classes and CSI drivers."""

from __future__ import annotations

from typing import Any

from slipway.cluster.schema.quantity import canonical
from slipway.cluster.server.printers.subject import Subject, cell

_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


def _size(amounts: Any) -> str:
    return canonical((amounts or {}).get("storage", "0"))


@cell
def storage_size(subject: Subject) -> str:
    return _size(subject.value)


def _modes(modes: Any) -> str:
    present = set(modes or [])
    return ",".join(short for mode, short in _MODES.items() if mode in present)


@cell
def access_modes(subject: Subject) -> str:
    return _modes(subject.value)


@cell
def volume_phase(subject: Subject) -> str:
    if subject.at("metadata.deletionTimestamp"):
        return "Terminating"
    return subject.at("status.phase") or ""


@cell
def volume_claim(subject: Subject) -> str:
    claim = subject.at("spec.claimRef")
    return f"{claim.get('namespace', '')}/{claim.get('name', '')}" if claim else ""


@cell
def storage_class_name(subject: Subject) -> str:
    annotated = (subject.at("metadata.annotations") or {}).get(_CLASS_ANNOTATION)
    return annotated if annotated is not None else subject.at("spec.storageClassName") or ""


@cell
def claim_capacity(subject: Subject) -> str:
    return _size(subject.at("status.capacity")) if subject.at("spec.volumeName") else ""


@cell
def claim_access_modes(subject: Subject) -> str:
    return _modes(subject.at("status.accessModes")) if subject.at("spec.volumeName") else ""


def is_default_class(obj: dict[str, Any]) -> bool:
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    return "true" in {
        annotations.get("storageclass.kubernetes.io/is-default-class"),
        annotations.get("storageclass.beta.kubernetes.io/is-default-class"),
    }


@cell
def storage_class(subject: Subject) -> str:
    """`at` nothing: the mark of the effective default is set by tables.py, which sees the whole list."""
    return str(subject.at("metadata.name") or "")


@cell
def token_audiences(subject: Subject) -> str:
    requests = subject.at("spec.tokenRequests")
    if requests is None:
        return "<unset>"
    return ",".join(request.get("audience", "") for request in requests)


@cell
def migrated_resource(subject: Subject) -> str:
    group, resource = subject.at("spec.resource.group"), subject.at("spec.resource.resource") or ""
    return f"{resource}.{group}" if group else resource


@cell
def migration_status(subject: Subject) -> str:
    state = "Unknown"
    for found in subject.items("status.conditions"):
        if found.get("status") == "True" and found.get("type") in {"Running", "Failed", "Succeeded"}:
            state = found["type"]
    return state
