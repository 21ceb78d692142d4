"""CustomResourceDefinitions: names are accepted and versions served as soon as one is stored."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from slipway.cluster.registry import custom_kinds
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.strategy import Strategy
from slipway.cluster.schema.crd import (
    accept_names,
    mark_terminating,
    status_on_create,
    status_on_update,
    status_ownership,
)
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
        # Imported here, and below: a cluster starts without definitions, and faster without their rules.
        from slipway.cluster.schema.crd_validation import crd_errors

        return crd_errors(obj, old)

    def after_create(self, registry: Registry, obj: Object) -> None:
        self._settle(registry, obj)

    def after_update(self, registry: Registry, obj: Object, old: Object) -> None:
        self._settle(registry, obj)

    def after_delete(self, registry: Registry, obj: Object) -> None:
        custom_kinds.withdraw(registry.definitions, obj)
        for other in registry.objects("apiextensions.k8s.io", "v1", "customresourcedefinitions"):
            if other["spec"]["group"] == obj["spec"]["group"]:
                self._settle(registry, other)  # names that it held are free now

    def begin_delete(self, registry: Registry, call: Call, obj: Object) -> None:
        finalizers = obj["metadata"].setdefault("finalizers", [])
        if CLEANUP not in finalizers:
            finalizers.append(CLEANUP)
        # A CRD's own delete neither counts as a change of its spec nor grants time.
        obj["metadata"].pop("deletionGracePeriodSeconds", None)
        obj["metadata"]["generation"] = int(obj["metadata"].get("generation") or 1) - 1
        obj["status"] = mark_terminating(obj, registry.clock.timestamp())

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
            _own_status(settled, registry.clock.timestamp())
            revision = int(crd["metadata"]["resourceVersion"])

            def make(revision: int) -> Object:
                settled["metadata"]["resourceVersion"] = str(revision)
                return settled

            (record,) = registry.store.commit(
                Put(definition.bucket, crd["metadata"]["name"], make, expected=revision)
            )
            crd = record.value
        custom_kinds.serve(registry.definitions, crd)


def _own_status(crd: Object, now: str) -> None:
    """Say in managedFields that the API server wrote the status."""
    entry = status_ownership(crd["status"], now)
    others = [
        one
        for one in crd["metadata"].get("managedFields") or ()
        if (one.get("manager"), one.get("subresource")) != (entry["manager"], entry["subresource"])
    ]
    crd["metadata"]["managedFields"] = sorted([*others, entry], key=lambda one: (one["time"], one["manager"]))
