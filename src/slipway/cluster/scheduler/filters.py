"""Why a pod cannot run on a node: one function a rule, each with upstream's words. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from slipway.cluster.client.placement import node_matches, ports_clash, tolerated
from slipway.cluster.scheduler.ledger import NodeInfo, PodInfo

UNSCHEDULABLE_TAINT = "node.kubernetes.io/unschedulable"


@dataclass(frozen=True, slots=True)
class Refusal:
    """`hopeless`: no pod's leaving would change it, so that preemption is not tried."""

    reasons: tuple[str, ...]
    hopeless: bool = False


Filter = Callable[[PodInfo, NodeInfo], Refusal | None]


def unschedulable(pod: PodInfo, node: NodeInfo) -> Refusal | None:
    if not (node.node.get("spec") or {}).get("unschedulable"):
        return None
    taint = {"key": UNSCHEDULABLE_TAINT, "effect": "NoSchedule"}
    if tolerated(taint, pod.spec.get("tolerations") or ()):
        return None
    return Refusal(("node(s) were unschedulable",), hopeless=True)


def node_name(pod: PodInfo, node: NodeInfo) -> Refusal | None:
    wanted = pod.spec.get("nodeName")
    if not wanted or wanted == node.name:
        return None
    return Refusal(("node(s) didn't match the requested node name",), hopeless=True)


def taints(pod: PodInfo, node: NodeInfo) -> Refusal | None:
    for taint in node.taints:
        if taint["effect"] in ("NoSchedule", "NoExecute"):
            if taint["key"] == UNSCHEDULABLE_TAINT and (node.node.get("spec") or {}).get("unschedulable"):
                continue  # told by its own rule
            if not tolerated(taint, pod.spec.get("tolerations") or ()):
                shown = f"{{{taint['key']}: {taint.get('value', '')}}}"
                return Refusal((f"node(s) had untolerated taint {shown}",), hopeless=True)
    return None


def node_affinity(pod: PodInfo, node: NodeInfo) -> Refusal | None:
    return (
        None
        if matches_node(pod, node)
        else Refusal(("node(s) didn't match Pod's node affinity/selector",), hopeless=True)
    )


def host_ports(pod: PodInfo, node: NodeInfo) -> Refusal | None:
    if pod.host_ports and any(ports_clash(pod.host_ports, other.host_ports) for other in node.pods.values()):
        return Refusal(("node(s) didn't have free ports for the requested pod ports",))
    return None


def resources(pod: PodInfo, node: NodeInfo) -> Refusal | None:
    allocatable = node.allocatable
    reasons, hopeless = [], False
    if len(node.pods) + 1 > allocatable.get("pods", 0):
        reasons.append("Too many pods")
    for name, amount in pod.requests.items():
        if amount and amount > allocatable.get(name, 0) - node.requested.get(name, 0):
            reasons.append(f"Insufficient {name}")
            hopeless = hopeless or amount > allocatable.get(name, 0)
    return Refusal(tuple(reasons), hopeless) if reasons else None


# In upstream's order; the first refusal is the one that is told.
FILTERS: tuple[Filter, ...] = (unschedulable, node_name, taints, node_affinity, host_ports, resources)


def matches_node(pod: PodInfo, node: NodeInfo) -> bool:
    return node_matches(pod.spec, node.labels, node.name)
