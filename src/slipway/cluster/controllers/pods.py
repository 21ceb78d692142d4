"""What controllers ask about pods: active, ready, available; made from a template; which to delete first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from slipway.cluster.client.objects import (
    Object,
    annotations_of,
    clone,
    condition_of,
    is_deleting,
    metadata,
    name_of,
    namespace_of,
    owner_reference,
)
from slipway.cluster.clock import parse_timestamp

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def phase(pod: Mapping[str, Any]) -> str:
    return str((pod.get("status") or {}).get("phase") or "Pending")


def is_finished(pod: Mapping[str, Any]) -> bool:
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: Mapping[str, Any]) -> bool:
    return not is_finished(pod) and not is_deleting(pod)


def is_ready(pod: Mapping[str, Any]) -> bool:
    condition = condition_of(pod, "Ready")
    return condition is not None and condition.get("status") == "True"


def ready_since(pod: Mapping[str, Any]) -> float:
    """Seconds since 1970 at which Ready last changed; 0 when not ready."""
    condition = condition_of(pod, "Ready")
    if condition is None or condition.get("status") != "True":
        return 0.0
    return parse_timestamp(condition["lastTransitionTime"]) if condition.get("lastTransitionTime") else 0.0


def is_available(pod: Mapping[str, Any], min_ready_seconds: int, now: float) -> bool:
    return is_ready(pod) and (not min_ready_seconds or available_in(pod, min_ready_seconds, now) <= 0)


def available_in(pod: Mapping[str, Any], min_ready_seconds: int, now: float) -> float:
    """Seconds until a ready pod counts as available; negative when it does."""
    return ready_since(pod) + min_ready_seconds - now


def soonest_available(pods: Iterable[Mapping[str, Any]], min_ready_seconds: int, now: float) -> float | None:
    """After how many seconds the next ready pod becomes available; None when none is waiting for that."""
    waits = [
        available_in(pod, min_ready_seconds, now)
        for pod in pods
        if is_ready(pod) and not is_available(pod, min_ready_seconds, now)
    ]
    return min(waits) if waits else None


def created(obj: Mapping[str, Any]) -> float:
    text = metadata(obj).get("creationTimestamp")
    return parse_timestamp(text) if text else 0.0


def from_template(template: Mapping[str, Any], owner: Object, *, name: str = "", prefix: str = "") -> Object:
    """A pod of the owner's namespace, controlled by it; with `name`, or a generated one after `prefix`."""
    meta = clone(template.get("metadata") or {})
    wanted = {field: meta[field] for field in ("labels", "annotations", "finalizers") if meta.get(field)}
    wanted["namespace"] = namespace_of(owner)
    if name:
        wanted["name"] = name
    else:
        wanted["generateName"] = prefix or f"{name_of(owner)}-"
    wanted["ownerReferences"] = [owner_reference(owner)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": wanted,
        "spec": clone(template.get("spec") or {}),
    }


def restarts(pod: Mapping[str, Any]) -> int:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return max((int(status.get("restartCount") or 0) for status in statuses), default=0)


def deletion_order(victims: list[Object], related: Iterable[Object], now: float) -> list[Object]:
    """The pods, best to delete first, as upstream's ActivePodsWithRanks orders them.

    Unassigned before assigned, pending before running, not ready before ready, cheaper before dearer, from
    crowded nodes before lonely ones, then the younger, times compared by powers of two.
    """
    crowd: dict[str, int] = {}
    for pod in related:
        if is_active(pod):
            node = str((pod.get("spec") or {}).get("nodeName") or "")
            crowd[node] = crowd.get(node, 0) + 1
    phases = {"Pending": 0, "Unknown": 1, "Running": 2}

    def age_rank(since: float) -> int:
        return int(math.log2(now - since)) if now - since >= 1 else -1

    def rank(pod: Object) -> tuple[Any, ...]:
        node = str((pod.get("spec") or {}).get("nodeName") or "")
        ready = is_ready(pod)
        return (
            bool(node),
            phases.get(phase(pod), 2),
            ready,
            _deletion_cost(pod),
            -crowd.get(node, 0) if node else 0,
            age_rank(ready_since(pod)) if ready else 0,
            -restarts(pod),
            age_rank(created(pod)),
            metadata(pod).get("uid", ""),
        )

    return sorted(victims, key=rank)


def _deletion_cost(pod: Object) -> int:
    try:
        return int(annotations_of(pod).get(DELETION_COST, "0"))
    except ValueError:
        return 0
