"""Nodes that stop reporting: their conditions become Unknown, taints say so, and their pods count as not ready.

`step` is pure: the node, when it was last heard of, and the time in; writes out. A node is heard of when its
Lease is renewed or its status changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from slipway.cluster.client.client import PatchType
from slipway.cluster.client.objects import (
    Key,
    Object,
    clone,
    condition_of,
    metadata,
    name_of,
    namespace_of,
)
from slipway.cluster.client.resources import LEASES, NODES, PODS
from slipway.cluster.clock import parse_timestamp
from slipway.cluster.controllers import conditions as conds
from slipway.cluster.controllers import pods as podlist
from slipway.cluster.controllers.controller import Context, Controller
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.writes import Announce, Patch, Plan, Update

GRACE = 50.0  # seconds without a sign of life, --node-monitor-grace-period
STARTUP_GRACE = 60.0  # the same for a node that never reported
LEASE_NAMESPACE = "kube-node-lease"

_WATCHED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_PREFIX = "node.kubernetes.io/"
_CONDITION_TAINTS = {
    ("Ready", "False"): "not-ready",
    ("Ready", "Unknown"): "unreachable",
    ("MemoryPressure", "True"): "memory-pressure",
    ("DiskPressure", "True"): "disk-pressure",
    ("PIDPressure", "True"): "pid-pressure",
    ("NetworkUnavailable", "True"): "network-unavailable",
}
_MANAGED = {f"{_PREFIX}{name}" for name in (*_CONDITION_TAINTS.values(), "unschedulable")}


@dataclass(slots=True)
class View:
    """`heard` is when the node last gave a sign of life."""

    node: Object
    heard: float
    now: float
    timestamp: str


def step(view: View) -> Plan:
    plan = Plan()
    node = view.node
    known = condition_of(node, "Ready")
    grace = GRACE if known and known.get("lastHeartbeatTime") else STARTUP_GRACE
    left = view.heard + grace - view.now
    if left > 0:
        plan.again_after(left)
    elif any((condition_of(node, kind) or {}).get("status") != "Unknown" for kind in _WATCHED):
        node = _unknown(view)
        plan.writes.append(Update(NODES, node, "status"))
        if known and known["status"] == "True":
            text = f"Node {name_of(node)} status is now: NodeNotReady"
            plan.events.append(Announce(NODES.typed(node), "NodeNotReady", text))
    taints = wanted_taints(node, view.timestamp)
    if taints != ((node.get("spec") or {}).get("taints") or []):
        body = {"metadata": {"uid": metadata(node).get("uid")}, "spec": {"taints": taints or None}}
        plan.writes.append(Patch(NODES, "", name_of(node), body, PatchType.MERGE))
    return plan


def _unknown(view: View) -> Object:
    node: Object = clone(view.node)
    status = node.setdefault("status", {})
    conditions = [dict(item) for item in status.get("conditions") or ()]
    for kind in _WATCHED:
        known = conds.find(conditions, kind)
        if known is None:
            reason, message = "NodeStatusNeverUpdated", "Kubelet never posted node status."
            made = conds.condition(kind, "Unknown", reason, message, view.timestamp)
            made["lastHeartbeatTime"] = metadata(node).get("creationTimestamp") or view.timestamp
            conditions.append(made)
        elif known["status"] != "Unknown":
            known |= {
                "status": "Unknown",
                "reason": "NodeStatusUnknown",
                "message": "Kubelet stopped posting node status.",
                "lastTransitionTime": view.timestamp,
            }
            conditions = [known if item["type"] == kind else item for item in conditions]
    status["conditions"] = conditions
    return node


def wanted_taints(node: Object, timestamp: str) -> list[dict[str, Any]]:
    """The node's own taints, and those that its conditions and cordon ask for."""
    spec = node.get("spec") or {}
    wanted: list[tuple[str, str]] = []
    if spec.get("unschedulable"):
        wanted.append((f"{_PREFIX}unschedulable", "NoSchedule"))
    for (kind, status), name in _CONDITION_TAINTS.items():
        if (condition_of(node, kind) or {}).get("status") == status:
            wanted.append((_PREFIX + name, "NoSchedule"))
            if kind == "Ready":
                wanted.append((_PREFIX + name, "NoExecute"))
    taints: list[dict[str, Any]] = [
        dict(taint)
        for taint in spec.get("taints") or ()
        if taint["key"] not in _MANAGED or (taint["key"], taint["effect"]) in wanted
    ]
    present = {(taint["key"], taint["effect"]) for taint in taints}
    for key, effect in wanted:
        if (key, effect) not in present:
            taints.append({"key": key, "effect": effect, "timeAdded": timestamp})
    return taints


class NodeLifecycleController(Controller):
    workers: ClassVar[int] = 2

    def __init__(self, context: Context) -> None:
        self._heard: dict[str, float] = {}
        super().__init__(context)

    def watch(self) -> None:
        self.nodes = self.informer(NODES)
        self.leases = self.informer(LEASES)
        self.pods = self.informer(PODS)
        self.pods.add_index("node", lambda pod: (str(pod["spec"].get("nodeName") or ""),))
        self.handle(self.nodes, self._node_changed)
        self.handle(self.leases, self._lease_changed)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self._heard.pop(name_of(old or {}), None)
            return
        if old is None or _heartbeats(old) != _heartbeats(new):
            self._heard[name_of(new)] = self.clock.now()
        self.enqueue(new)

    def _lease_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None or namespace_of(new) != LEASE_NAMESPACE:
            return
        # A Lease from before this controller started tells when the node was last alive, not that it is.
        renewed = new["spec"].get("renewTime")
        if old is None and renewed:
            heard = min(parse_timestamp(renewed), self.clock.now())
            self._heard[name_of(new)] = max(heard, self._heard.get(name_of(new), 0.0))
        elif old is not None and old["spec"].get("renewTime") != renewed:
            self._heard[name_of(new)] = self.clock.now()

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        node = self.nodes.get(*key)
        if node is None:
            return None
        now = self.clock.now()
        heard = self._heard.setdefault(key[1], now)
        plan = step(View(node, heard, now, self.clock.timestamp()))
        await effects.carry_out(plan)
        if (condition_of(node, "Ready") or {}).get("status") == "Unknown":
            await self._mark_pods(key[1], effects)
        return plan.requeue_after

    async def _mark_pods(self, node: str, effects: Effects) -> None:
        """Nobody can say that these pods are ready."""
        for pod in self.pods.indexed("node", node):
            if not podlist.is_ready(pod):
                continue
            condition = {**(condition_of(pod, "Ready") or {}), "status": "False"}
            condition["lastTransitionTime"] = self.clock.timestamp()
            body = {"status": {"conditions": [condition]}}
            await effects.do(Patch(PODS, namespace_of(pod), name_of(pod), body, subresource="status"))
            effects.announce(Announce(PODS.typed(pod), "NodeNotReady", "Node is not ready", "Warning"))


def _heartbeats(node: Object) -> list[Any]:
    """What only the kubelet writes."""
    return [
        (item["type"], item.get("lastHeartbeatTime"))
        for item in (node.get("status") or {}).get("conditions") or ()
    ]
