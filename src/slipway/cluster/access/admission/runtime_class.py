"""RuntimeClass: a pod that names one has to find it, and gets its overhead, node selector and tolerations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slipway.cluster.access.admission.chain import Judge
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.registry import Registry
from slipway.cluster.schema.quantity import canonical
from slipway.cluster.status import StatusError, forbidden

Object = dict[str, Any]


class RuntimeClassAdmission(Judge):
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def mutate(self, call: Call, obj: Object | None, old: Object | None) -> Object | None:
        if obj is None or not _is_new_pod(call, old):
            return obj
        found = self._class_of(call, obj["spec"])
        overhead = _overhead(found)
        if overhead is not None:
            _same_overhead(call, obj["spec"].get("overhead") or overhead, overhead)
            obj["spec"]["overhead"] = dict(overhead)
        _place(call, obj["spec"], found.get("scheduling") or {})
        return obj

    async def validate(self, call: Call, obj: Object | None, old: Object | None) -> None:
        """Once more at the end: others may have changed what was set."""
        if obj is None or not _is_new_pod(call, old):
            return
        overhead = _overhead(self._class_of(call, obj["spec"]))
        has = obj["spec"].get("overhead")
        if overhead is not None:
            _same_overhead(call, has or {}, overhead)
        elif has is not None:
            why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            raise _rejected(call, why)

    def _class_of(self, call: Call, spec: Object) -> Object:
        """The named class; empty when the pod names none."""
        name = spec.get("runtimeClassName")
        if name is None:
            return {}
        record = self._registry.record("node.k8s.io", "v1", "runtimeclasses", "", name)
        if record is None:
            raise _rejected(call, f'pod rejected: RuntimeClass "{name}" not found')
        return record.value


def _is_new_pod(call: Call, old: Object | None) -> bool:
    return call.resource.qualified == "pods" and not call.subresource and old is None


def _rejected(call: Call, why: str) -> StatusError:
    return forbidden("pods", "", call.name, why)


def _overhead(runtime_class: Object) -> Mapping[str, Any] | None:
    overhead = runtime_class.get("overhead")
    return None if overhead is None else overhead.get("podFixed") or {}


def _same_overhead(call: Call, has: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if _amounts(has) != _amounts(wanted):
        raise _rejected(call, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")


def _amounts(resources: Mapping[str, Any]) -> dict[str, str]:
    return {name: canonical(amount) for name, amount in resources.items()}


def _place(call: Call, spec: Object, scheduling: Mapping[str, Any]) -> None:
    selector = scheduling.get("nodeSelector") or {}
    for key, value in selector.items():
        own = (spec.get("nodeSelector") or {}).get(key, value)
        if own != value:
            raise _rejected(
                call,
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {own}",
            )
    if selector:
        spec["nodeSelector"] = {**(spec.get("nodeSelector") or {}), **selector}
    if scheduling.get("tolerations"):
        spec["tolerations"] = _merged([*(spec.get("tolerations") or ()), *scheduling["tolerations"]])


def _merged(tolerations: list[Object]) -> list[Object]:
    """Those that no other one covers; the first of equal ones."""
    merged: list[Object] = []
    for index, one in enumerate(tolerations):
        later = tolerations[index + 1 :]
        if any(_covers(other, one) for other in merged):
            continue
        if not any(other != one and _covers(other, one) for other in later):
            merged.append(one)
    return merged


def _covers(wide: Object, narrow: Object) -> bool:
    """Whether the first tolerates all that the second does."""
    if wide == narrow:
        return True
    operator = wide.get("operator") or "Equal"
    if narrow.get("key") != wide.get("key") and (wide.get("key") or operator != "Exists"):
        return False
    if wide.get("effect") and narrow.get("effect") != wide.get("effect"):
        return False
    if wide.get("effect") == "NoExecute":
        lasting = wide.get("tolerationSeconds")
        if lasting is not None and (
            narrow.get("tolerationSeconds") is None or narrow["tolerationSeconds"] > lasting
        ):
            return False
    if operator != "Equal":
        return operator == "Exists"
    return narrow.get("operator") == "Equal" and (narrow.get("value") or "") == (wide.get("value") or "")
