"""NamespaceLifecycle: nothing is created in a namespace that is missing or terminating."""

from __future__ import annotations

from typing import Any

from slipway.cluster.access.admission.awaiting import awaited
from slipway.cluster.access.admission.chain import Judge
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.registry import Registry
from slipway.cluster.status import forbidden, not_found

Object = dict[str, Any]


class NamespaceLifecycle(Judge):
    """`patience` is how many seconds a create waits for a namespace whose own create may be under way."""

    def __init__(self, registry: Registry, patience: float = 0.05) -> None:
        self._registry, self._patience = registry, patience

    async def mutate(self, call: Call, obj: Object | None, old: Object | None) -> Object | None:
        if call.verb != "create" or not call.resource.namespaced or old is not None:
            return obj
        record = await awaited(self._registry, "namespaces", "", call.namespace, self._patience)
        if record is None:
            raise not_found("namespaces", "", call.namespace)
        if record.value["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {call.namespace} because it is being terminated"
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {call.namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise forbidden(call.resource.plural, call.resource.group, call.name, why, causes=[cause])
        return obj
