"""Which pods a node takes: what is free on it, and why one more pod is turned away, in kubelet's words. Plain data.

The scheduler has asked the same before, but it is not the only one who binds pods: a `nodeName` in a pod's spec
passes it by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slipway.cluster.client.objects import Object, labels_of, uid_of
from slipway.cluster.client.placement import (
    HostPort,
    host_ports_of,
    node_matches,
    ports_clash,
    requests_of,
    tolerated,
)
from slipway.cluster.client.quantities import amounts

_PREDICATES = {
    "NodeAffinity": "node(s) didn't match Pod's node affinity/selector",
    "NodePorts": "node(s) didn't have free ports for the requested pod ports",
    "TaintToleration": "node(s) had taints that the pod didn't tolerate",
}


_SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced",
    *(
        f"net.ipv4.{name}"
        for name in (
            "ip_local_port_range", "ip_local_reserved_ports", "ip_unprivileged_port_start", "ping_group_range",
            "tcp_fin_timeout", "tcp_keepalive_intvl", "tcp_keepalive_probes", "tcp_keepalive_time",
            "tcp_notsent_lowat", "tcp_rmem", "tcp_slow_start_after_idle", "tcp_syncookies", "tcp_wmem",
        )
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rejection:
    reason: str
    message: str


@dataclass(slots=True)
class Occupancy:
    """What the pods of a node have taken of it, by the pods' uid."""

    _requests: dict[str, dict[str, int]] = field(default_factory=dict)
    _ports: dict[str, frozenset[HostPort]] = field(default_factory=dict)
    _used: dict[str, int] = field(default_factory=dict)

    def take(self, pod: Object) -> None:
        """Count a pod that the node has, as its spec is now."""
        uid = uid_of(pod)
        self.release(uid)
        self._requests[uid] = requests_of(pod)
        self._count(self._requests[uid], 1)
        if ports := host_ports_of(pod["spec"]):
            self._ports[uid] = ports

    def release(self, uid: str) -> None:
        """The pod needs nothing any more."""
        self._count(self._requests.pop(uid, {}), -1)
        self._ports.pop(uid, None)

    def has(self, uid: str) -> bool:
        return uid in self._requests

    def admit(self, pod: Object, node: Object) -> Rejection | None:
        """Take the pod, or say why not."""
        if self.has(uid_of(pod)):
            return None
        rejection = _forbidden(pod["spec"]) or self._shortage(pod, node) or self._mismatch(pod, node)
        if rejection is None:
            self.take(pod)
        return rejection

    def _count(self, requests: Mapping[str, int], sign: int) -> None:
        for name, amount in requests.items():
            self._used[name] = self._used.get(name, 0) + sign * amount

    def _shortage(self, pod: Object, node: Object) -> Rejection | None:
        status = node.get("status") or {}
        capacity = amounts(status.get("allocatable") or {})
        wanted = {"pods": (1, len(self._requests))}
        wanted |= {name: (amount, self._used.get(name, 0)) for name, amount in requests_of(pod).items()}
        for name, (amount, used) in wanted.items():
            # Of other resources those that the node does not know are not its own to give.
            limit = capacity.get(name, None if "/" in name else 0)
            if limit is not None and amount and used + amount > limit:
                return Rejection(
                    f"OutOf{name}",
                    f"Node didn't have enough resource: {name}, requested: {amount}, used: {used}, capacity: {limit}",
                )
        return None

    def _mismatch(self, pod: Object, node: Object) -> Rejection | None:
        spec = pod["spec"]
        name = ""
        if not node_matches(spec, labels_of(node), str(node["metadata"]["name"])):
            name = "NodeAffinity"
        elif any(ports_clash(host_ports_of(spec), taken) for taken in self._ports.values()):
            name = "NodePorts"
        elif not _endures(spec, (node.get("spec") or {}).get("taints") or []):
            name = "TaintToleration"
        return Rejection(name, f"Predicate {name} failed: {_PREDICATES[name]}") if name else None


def _forbidden(spec: Mapping[str, Any]) -> Rejection | None:
    """Settings of the kernel that would not be the pod's alone."""
    for row in (spec.get("securityContext") or {}).get("sysctls") or ():
        name, why = str(row["name"]), ""
        plain = name.replace("/", ".")
        if plain not in _SAFE_SYSCTLS:
            why = "not allowlisted"
        elif plain.startswith("net.") and spec.get("hostNetwork"):
            why = "not allowed with host net enabled"
        elif plain.startswith("kernel.") and spec.get("hostIPC"):
            why = "not allowed with host ipc enabled"
        if why:
            return Rejection("SysctlForbidden", f'forbidden sysctl: "{plain}" {why}')
    return None


def _endures(spec: Mapping[str, Any], taints: list[dict[str, Any]]) -> bool:
    """Whether the pod tolerates what would drive it away at once."""
    tolerations = spec.get("tolerations") or ()
    return all(tolerated(taint, tolerations) for taint in taints if taint["effect"] == "NoExecute")
