"""Sub-resources that are a part of the object: which fields a write through them may change.

`status`, `approval`, `finalize`, `resize` and `ephemeralcontainers` all read and write the whole object but keep
everything outside their part as it is stored; the main resource, in turn, keeps their part.
"""

from __future__ import annotations

from typing import Any

from slipway.cluster.registry.definition import Definition

Object = dict[str, Any]

# What a write of most parts changes in metadata: labels, annotations and the like belong to the main resource.
_MANAGED = "managedFields"


def keep_parts(definition: Definition, obj: Object, old: Object) -> None:
    """A write of the main resource: the parts of sub-resources stay as they were."""
    if definition.has_status and (definition.row.status is not None or definition.resource.custom):
        _copy(obj, old, "status")


def only_part(definition: Definition, subresource: str, obj: Object, old: Object) -> Object:
    """A write through a sub-resource: everything but its part stays as it was."""
    match subresource:
        case "status":
            if definition.resource.custom:
                metadata = {**old["metadata"]}
                _copy(metadata, obj["metadata"], _MANAGED)
                merged = {**old, "metadata": metadata}
                _copy(merged, obj, "status")
                return merged
            merged = {**obj, "spec": old["spec"]} if "spec" in old else {**obj}
            if "spec" not in old:
                merged.pop("spec", None)
            return merged
        case "approval":
            status = dict(old.get("status") or {})
            _copy(status, obj.get("status") or {}, "conditions")
            return {**old, "metadata": obj["metadata"], "status": status}
        case "finalize":
            spec = dict(old.get("spec") or {})
            _copy(spec, obj.get("spec") or {}, "finalizers")
            return {**old, "metadata": _metadata(obj, old), "spec": spec, "status": obj.get("status", {})}
        case "ephemeralcontainers":
            spec = dict(old.get("spec") or {})
            _copy(spec, obj.get("spec") or {}, "ephemeralContainers")
            return {**old, "metadata": _metadata(obj, old), "spec": spec}
        case "resize":
            return {**old, "metadata": _metadata(obj, old), "spec": _resized(obj, old)}
    return obj


def _metadata(obj: Object, old: Object) -> Object:
    metadata = dict(old["metadata"])
    _copy(metadata, obj["metadata"], _MANAGED)
    return metadata


def _resized(obj: Object, old: Object) -> Object:
    spec = dict(old["spec"])
    for group in ("containers", "initContainers"):
        wanted = {c.get("name"): c for c in (obj.get("spec") or {}).get(group) or []}
        if group in spec:
            spec[group] = [
                {
                    **c,
                    **{
                        k: wanted[c["name"]][k]
                        for k in ("resources", "resizePolicy")
                        if k in wanted[c["name"]]
                    },
                }
                if c["name"] in wanted
                else c
                for c in spec[group]
            ]
    return spec


def _copy(target: Object, source: Object, name: str) -> None:
    if name in source:
        target[name] = source[name]
    else:
        target.pop(name, None)
