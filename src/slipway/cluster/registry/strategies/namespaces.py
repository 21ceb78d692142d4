"""Namespaces: held by spec.finalizers while their content is being deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slipway.cluster.registry.call import Call
from slipway.cluster.registry.strategy import Strategy
from slipway.cluster.status import forbidden

if TYPE_CHECKING:
    from slipway.cluster.registry.registry import Registry

Object = dict[str, Any]
IMMORTAL = {"default", "kube-system", "kube-public"}


class NamespaceStrategy(Strategy):
    """`kubernetes` in spec.finalizers is taken away by the namespace controller through /finalize."""

    def prepare_create(self, registry: Registry, call: Call, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        finalizers = spec.setdefault("finalizers", [])
        if "kubernetes" not in finalizers:
            finalizers.append("kubernetes")
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"].get(
            "name", ""
        )

    def prepare_update(self, registry: Registry, call: Call, obj: Object, old: Object) -> None:
        obj["spec"] = {**(obj.get("spec") or {}), "finalizers": (old.get("spec") or {}).get("finalizers", [])}
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"]["name"]

    def check_delete(self, registry: Registry, call: Call, obj: Object) -> None:
        name = obj["metadata"]["name"]
        if name in IMMORTAL:
            raise forbidden("namespaces", "", name, "this namespace may not be deleted")

    def holds(self, obj: Object) -> bool:
        return bool((obj.get("spec") or {}).get("finalizers"))

    def begin_delete(self, registry: Registry, call: Call, obj: Object) -> None:
        obj["metadata"].pop("deletionGracePeriodSeconds", None)
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
