"""Pods: graceful deletion, quality of service, spec changes that count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slipway.cluster.registry.call import Call
from slipway.cluster.registry.strategy import Strategy
from slipway.cluster.schema.quantity import parse_quantity

if TYPE_CHECKING:
    from slipway.cluster.registry.registry import Registry

Object = dict[str, Any]
_GATED = {
    "type": "PodScheduled",
    "status": "False",
    "lastProbeTime": None,
    "reason": "SchedulingGated",
    "message": "Scheduling is blocked due to non-empty scheduling gates",
}


class PodStrategy(Strategy):
    """A pod lingers for its grace period, unless nothing runs it."""

    def prepare_create(self, registry: Registry, call: Call, obj: Object) -> None:
        spec = obj.get("spec") or {}
        obj["status"] = {"phase": "Pending", "qosClass": quality_of_service(spec)}
        if spec.get("schedulingGates"):
            obj["status"]["conditions"] = [{**_GATED, "lastTransitionTime": registry.clock.timestamp()}]

    def prepare_update(self, registry: Registry, call: Call, obj: Object, old: Object) -> None:
        obj["status"] = old.get("status", {})

    def grace_period(self, registry: Registry, call: Call, obj: Object) -> int:
        spec = obj.get("spec") or {}
        grace = call.options.grace_period_seconds
        if grace is None:
            grace = int(spec.get("terminationGracePeriodSeconds", 30))
        phase = (obj.get("status") or {}).get("phase")
        if not spec.get("nodeName") or phase in {"Succeeded", "Failed"}:
            return 0
        # A negative grace means the smallest there is (kill at once, yet wait for the node).
        return grace if grace >= 0 else 1


def quality_of_service(spec: Object) -> str:
    """Guaranteed, Burstable or BestEffort, by the containers' CPU and memory requests and limits."""
    guaranteed, anything = True, False
    for container in [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]:
        resources = container.get("resources") or {}
        requests, limits = resources.get("requests") or {}, resources.get("limits") or {}
        for name in ("cpu", "memory"):
            limit, request = _amount(limits.get(name)), _amount(requests.get(name, limits.get(name)))
            anything = anything or bool(limit) or bool(request)
            if not limit or limit != request:
                guaranteed = False
    if not anything:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"


def _amount(value: Any) -> Any:
    """The amount, None for a missing or malformed one (which validation refuses a moment later)."""
    try:
        return None if value is None else parse_quantity(value)
    except ValueError:
        return None
