"""CustomResourceDefinitions: names are accepted and versions served as soon as one is stored."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from slipway.cluster.registry import custom_kinds
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.strategy import Strategy
from slipway.cluster.schema.crd import accept_names, status_on_create, status_on_update
from slipway.cluster.schema.crd_validation import crd_errors
from slipway.cluster.status import FieldError
from slipway.cluster.store import Put

if TYPE_CHECKING:
    from slipway.cluster.registry.registry import Registry

Object = dict[str, Any]
# Holds a deleted CRD while its objects are deleted.
CLEANUP = "customresourcecleanup.apiextensions.k8s.io"


class CrdStrategy(Strategy):
    def prepare_create(self, registry: Registry, call: Call, obj: Object) -> None:
        obj["status"] = status_on_create(obj)
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if CLEANUP in finalizers:
            finalizers.remove(CLEANUP)

    def prepare_update(self, registry: Registry, call: Call, obj: Object, old: Object) -> None:
        obj["status"] = status_on_update(obj, old)

    def validate(self, registry: Registry, call: Call, obj: Object, old: Object | None) -> list[FieldError]:
        return crd_errors(obj, old)

    def after_create(self, registry: Registry, obj: Object) -> None:
        self._settle(registry, obj)

    def after_update(self, registry: Registry, obj: Object, old: Object) -> None:
        self._settle(registry, obj)

    def after_delete(self, registry: Registry, obj: Object) -> None:
        custom_kinds.withdraw(registry.definitions, obj)

    def begin_delete(self, registry: Registry, call: Call, obj: Object) -> None:
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if CLEANUP not in finalizers:
            finalizers.append(CLEANUP)

    def holds(self, obj: Object) -> bool:
        return not obj["metadata"].get("deletionTimestamp")

    def _settle(self, registry: Registry, crd: Object) -> None:
        """Accept names as upstream's naming controller does, a moment earlier: before anybody can ask."""
        others = registry.objects("apiextensions.k8s.io", "v1", "customresourcedefinitions")
        status = accept_names(crd, others, registry.clock.timestamp())
        if status != crd.get("status"):
            definition = registry.definitions.find("apiextensions.k8s.io", "v1", "customresourcedefinitions")
            settled = copy.deepcopy(crd)
            settled["status"] = status
            revision = int(crd["metadata"]["resourceVersion"])

            def make(revision: int) -> Object:
                settled["metadata"]["resourceVersion"] = str(revision)
                return settled

            (record,) = registry.store.commit(
                Put(definition.bucket, crd["metadata"]["name"], make, expected=revision)
            )
            crd = record.value
        custom_kinds.serve(registry.definitions, crd)
