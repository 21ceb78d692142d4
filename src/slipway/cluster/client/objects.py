"""Reading plain-dict objects: names, owners, labels, conditions; and copying them before a change.

Objects in an informer's cache are shared by everybody: whoever wants to change one copies it first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]
Key = tuple[str, str]  # namespace ("" for none), name


def clone(value: Any) -> Any:
    """A deep copy of JSON data (several times faster than copy.deepcopy)."""
    if isinstance(value, dict):
        return {key: clone(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clone(item) for item in value]
    return value


def metadata(obj: Mapping[str, Any]) -> dict[str, Any]:
    return obj.get("metadata") or {}


def name_of(obj: Mapping[str, Any]) -> str:
    return str(metadata(obj).get("name", ""))


def namespace_of(obj: Mapping[str, Any]) -> str:
    return str(metadata(obj).get("namespace", ""))


def uid_of(obj: Mapping[str, Any]) -> str:
    return str(metadata(obj).get("uid", ""))


def key_of(obj: Mapping[str, Any]) -> Key:
    meta = metadata(obj)
    return str(meta.get("namespace", "")), str(meta.get("name", ""))


def labels_of(obj: Mapping[str, Any]) -> dict[str, str]:
    return metadata(obj).get("labels") or {}


def annotations_of(obj: Mapping[str, Any]) -> dict[str, str]:
    return metadata(obj).get("annotations") or {}


def revision_of(obj: Mapping[str, Any]) -> int:
    """resourceVersion as a number; 0 when there is none. Comparing is allowed since Kubernetes 1.35."""
    text = str(metadata(obj).get("resourceVersion", ""))
    return int(text) if text.isdigit() else 0


def is_deleting(obj: Mapping[str, Any]) -> bool:
    return bool(metadata(obj).get("deletionTimestamp"))


def controller_of(obj: Mapping[str, Any]) -> dict[str, Any] | None:
    """The owner reference that has `controller: true`."""
    for reference in metadata(obj).get("ownerReferences") or ():
        if reference.get("controller"):
            return dict(reference)
    return None


def controller_uid(obj: Mapping[str, Any]) -> str:
    reference = controller_of(obj)
    return str(reference["uid"]) if reference else ""


def condition_of(obj: Mapping[str, Any], kind: str) -> dict[str, Any] | None:
    for condition in (obj.get("status") or {}).get("conditions") or ():
        if condition.get("type") == kind:
            return dict(condition)
    return None


def has_condition(obj: Mapping[str, Any], kind: str, status: str = "True") -> bool:
    condition = condition_of(obj, kind)
    return condition is not None and condition.get("status") == status


def owner_reference(owner: Mapping[str, Any], *, block: bool = True) -> dict[str, Any]:
    """A controlling reference to `owner`, which must carry apiVersion and kind."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name_of(owner),
        "uid": uid_of(owner),
        "controller": True,
        "blockOwnerDeletion": block,
    }


def object_reference(obj: Mapping[str, Any]) -> dict[str, Any]:
    """A core ObjectReference, as Events carry it in `involvedObject`."""
    meta = metadata(obj)
    reference = {
        "kind": obj.get("kind", ""),
        "namespace": meta.get("namespace", ""),
        "name": meta.get("name", ""),
        "uid": meta.get("uid", ""),
        "apiVersion": obj.get("apiVersion", ""),
        "resourceVersion": meta.get("resourceVersion", ""),
    }
    return {field: value for field, value in reference.items() if value}
