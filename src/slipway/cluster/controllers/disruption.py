"""PodDisruptionBudgets: how many of the pods they protect may leave now. The eviction sub-resource reads it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from slipway.cluster.client import selectors
from slipway.cluster.client.objects import (
    Key,
    Object,
    controller_of,
    is_deleting,
    labels_of,
    metadata,
    name_of,
    namespace_of,
    uid_of,
)
from slipway.cluster.client.resources import (
    DEPLOYMENTS,
    POD_DISRUPTION_BUDGETS,
    PODS,
    REPLICA_SETS,
    REPLICATION_CONTROLLERS,
    STATEFUL_SETS,
)
from slipway.cluster.clock import parse_timestamp
from slipway.cluster.controllers import conditions as conds
from slipway.cluster.controllers import pods as podlist
from slipway.cluster.controllers.controller import Controller
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.rollout import replicas
from slipway.cluster.controllers.writes import Update

_DELETION_TIMEOUT = 120.0  # seconds in which an evicted pod must have begun to go


def status_of(
    budget: Object, pods: list[Object], scale: int | None, now: float, timestamp: str
) -> tuple[dict[str, Any], float | None]:
    """The status, and when to look again. `scale` is what the pods' controllers want, None if unknown."""
    expected, desired = _numbers(budget["spec"], len(pods), scale)
    disrupted, again = _disrupted(budget, pods, now)
    healthy = sum(
        podlist.is_ready(pod) and not is_deleting(pod) and name_of(pod) not in disrupted
        for pod in pods
        if not podlist.is_finished(pod)
    )
    allowed = max(0, healthy - desired) if expected > 0 else 0
    known = [dict(c) for c in (budget.get("status") or {}).get("conditions") or ()]
    made = conds.condition(
        "DisruptionAllowed",
        str(allowed > 0),
        "SufficientPods" if allowed else "InsufficientPods",
        "",
        timestamp,
    )
    made["observedGeneration"] = metadata(budget).get("generation", 0)
    status: dict[str, Any] = {
        "observedGeneration": metadata(budget).get("generation", 0),
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "conditions": conds.put_in_place(known, made),
    }
    if disrupted:
        status["disruptedPods"] = disrupted
    return status, again


def _numbers(spec: Mapping[str, Any], count: int, scale: int | None) -> tuple[int, int]:
    """Expected pods, and how many must stay healthy."""
    unavailable, available = spec.get("maxUnavailable"), spec.get("minAvailable")
    if unavailable is not None:
        expected = count if scale is None else scale
        return expected, max(0, expected - _share(unavailable, expected))
    if isinstance(available, int):
        return count, available
    expected = count if scale is None else scale
    return expected, _share(available if available is not None else 0, expected)


def _share(value: int | str, of: int) -> int:
    return value if isinstance(value, int) else math.ceil(of * int(value.rstrip("%")) / 100)


def _disrupted(budget: Object, pods: list[Object], now: float) -> tuple[dict[str, str], float | None]:
    """Evicted pods that have not begun to go yet; one that never does is healthy again."""
    by_name = {name_of(pod): pod for pod in pods}
    kept: dict[str, str] = {}
    again: float | None = None
    for name, since in ((budget.get("status") or {}).get("disruptedPods") or {}).items():
        pod = by_name.get(name)
        left = parse_timestamp(since) + _DELETION_TIMEOUT - now
        if pod is not None and not is_deleting(pod) and left > 0:
            kept[name] = since
            again = left if again is None else min(again, left)
    return kept, again


class DisruptionController(Controller):
    def watch(self) -> None:
        self.budgets = self.own_changes(POD_DISRUPTION_BUDGETS)
        self.pods = self.informer(PODS)
        self.scales = {
            resource.kind: self.informer(resource)
            for resource in (DEPLOYMENTS, REPLICA_SETS, REPLICATION_CONTROLLERS, STATEFUL_SETS)
        }
        self.handle(self.pods, self._pod_changed)
        for informer in self.scales.values():
            self.handle(informer, self._scale_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        for budget in self.budgets.list(namespace_of(new or old or {})):
            selector = budget["spec"].get("selector")
            if any(pod is not None and selectors.matches(selector, labels_of(pod)) for pod in (old, new)):
                self.enqueue(budget)

    def _scale_changed(self, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or replicas(old) != replicas(new):
            for budget in self.budgets.list(namespace_of(new or old or {})):
                self.enqueue(budget)

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        budget = self.budgets.get(*key)
        if budget is None:
            return None
        selector = budget["spec"].get("selector")
        pods = [pod for pod in self.pods.list(key[0]) if selectors.matches(selector, labels_of(pod))]
        status, again = status_of(budget, pods, self._scale(pods), self.clock.now(), self.clock.timestamp())
        if status != budget.get("status"):
            await effects.do(Update(POD_DISRUPTION_BUDGETS, {**budget, "status": status}, "status"))
        return again

    def _scale(self, pods: Iterable[Object]) -> int | None:
        """How many pods their controllers want together; None when a pod has none that says."""
        wanted: dict[str, int] = {}
        for pod in pods:
            owner = self._top_owner(pod)
            if owner is None:
                return None
            wanted[uid_of(owner)] = replicas(owner)
        return sum(wanted.values())

    def _top_owner(self, obj: Object) -> Object | None:
        """The controller of the controller, as far as it is known to have a scale."""
        found: Object | None = None
        reference = controller_of(obj)
        while reference is not None and reference["kind"] in self.scales:
            owner = self.scales[reference["kind"]].get(namespace_of(obj), reference["name"])
            if owner is None or uid_of(owner) != reference["uid"]:
                break
            found, reference = owner, controller_of(owner)
        return found
