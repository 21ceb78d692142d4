"""DefaultStorageClass: a claim that names no class gets the one marked as default."""

from __future__ import annotations

from typing import Any

from slipway.cluster.access.admission.chain import Judge
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.registry import Registry

Object = dict[str, Any]
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


class DefaultStorageClass(Judge):
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def mutate(self, call: Call, obj: Object | None, old: Object | None) -> Object | None:
        if (
            obj is None
            or old is not None
            or call.resource.qualified != "persistentvolumeclaims"
            or call.subresource
        ):
            return obj
        if obj.get("spec", {}).get("storageClassName") is not None:
            return obj
        classes = [
            storage_class
            for storage_class in self._registry.objects("storage.k8s.io", "v1", "storageclasses")
            if (storage_class["metadata"].get("annotations") or {}).get(DEFAULT_CLASS) == "true"
        ]
        if classes:
            # The newest of several, as upstream; by name among equals.
            newest = max(c["metadata"]["creationTimestamp"] for c in classes)
            names = [c["metadata"]["name"] for c in classes if c["metadata"]["creationTimestamp"] == newest]
            obj["spec"]["storageClassName"] = min(names)
        return obj
