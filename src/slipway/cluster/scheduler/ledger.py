"""What is where: each node with its pods and what they ask for, kept up to date change by change. Plain data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from slipway.cluster.client.objects import Object, controller_uid, labels_of, name_of, namespace_of, uid_of
from slipway.cluster.client.placement import HostPort, host_ports_of, requests_of
from slipway.cluster.client.quantities import amounts

# What a pod without requests counts for when nodes are compared (never when they are filtered).
_DEFAULT_CPU = 100  # thousandths
_DEFAULT_MEMORY = 200 * 2**20


@dataclass(eq=False)
class PodInfo:
    """A pod with what scheduling asks of it, worked out once."""

    pod: Object

    @property
    def namespace(self) -> str:
        return namespace_of(self.pod)

    @property
    def name(self) -> str:
        return name_of(self.pod)

    @property
    def uid(self) -> str:
        return uid_of(self.pod)

    @property
    def labels(self) -> dict[str, str]:
        return labels_of(self.pod)

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.pod["spec"]
        return spec

    @property
    def priority(self) -> int:
        return int(self.spec.get("priority") or 0)

    @cached_property
    def owner(self) -> str:
        return controller_uid(self.pod)

    @cached_property
    def minds_neighbours(self) -> bool:
        """Whether it has a say about which other pods are near it."""
        affinity = self.spec.get("affinity") or {}
        return bool(affinity.get("podAffinity") or affinity.get("podAntiAffinity"))

    @cached_property
    def requests(self) -> dict[str, int]:
        return requests_of(self.pod)

    @cached_property
    def weight(self) -> dict[str, int]:
        """Requests for comparing nodes, in which a pod that asks for nothing counts too."""
        return {
            "cpu": self.requests.get("cpu") or _DEFAULT_CPU,
            "memory": self.requests.get("memory") or _DEFAULT_MEMORY,
        }

    @cached_property
    def host_ports(self) -> frozenset[HostPort]:
        return host_ports_of(self.spec)

    def affinity_terms(self, kind: str, strength: str = "required") -> list[dict[str, Any]]:
        """Terms of `podAffinity` or `podAntiAffinity`, required or preferred."""
        rules = (self.spec.get("affinity") or {}).get(kind) or {}
        terms: list[dict[str, Any]] = rules.get(f"{strength}DuringSchedulingIgnoredDuringExecution") or []
        return terms


@dataclass(eq=False)
class NodeInfo:
    node: Object
    pods: dict[str, PodInfo] = field(default_factory=dict)  # by uid
    requested: dict[str, int] = field(default_factory=dict)
    weight: dict[str, int] = field(default_factory=dict)
    owners: Counter[str] = field(default_factory=Counter)  # pods by the uid of their controller
    _allocatable: tuple[Object, dict[str, int]] | None = None

    @cached_property
    def name(self) -> str:
        return name_of(self.node)

    @property
    def labels(self) -> dict[str, str]:
        return labels_of(self.node)

    @property
    def taints(self) -> list[dict[str, Any]]:
        taints: list[dict[str, Any]] = (self.node.get("spec") or {}).get("taints") or []
        return taints

    @property
    def allocatable(self) -> dict[str, int]:
        if self._allocatable is None or self._allocatable[0] is not self.node:
            status = self.node.get("status") or {}
            self._allocatable = self.node, amounts(status.get("allocatable") or status.get("capacity") or {})
        return self._allocatable[1]

    def add(self, info: PodInfo) -> None:
        self.pods[info.uid] = info
        self._count(info, 1)

    def remove(self, uid: str) -> None:
        info = self.pods.pop(uid, None)
        if info is not None:
            self._count(info, -1)

    def _count(self, info: PodInfo, sign: int) -> None:
        if info.owner:
            self.owners[info.owner] += sign
        for name, amount in info.requests.items():
            self.requested[name] = self.requested.get(name, 0) + sign * amount
        for name, amount in info.weight.items():
            self.weight[name] = self.weight.get(name, 0) + sign * amount

    def without(self, uids: set[str]) -> NodeInfo:
        """A copy in which those pods are gone, for asking what if."""
        copy = NodeInfo(self.node)
        for uid, info in self.pods.items():
            if uid not in uids:
                copy.add(info)
        return copy

    def with_pods(self, infos: list[PodInfo]) -> NodeInfo:
        copy = self.without(set())
        for info in infos:
            copy.add(info)
        return copy


@dataclass(slots=True)
class Ledger:
    """All nodes and the pods on them. Pods whose node is not known yet wait in `homeless`."""

    nodes: dict[str, NodeInfo] = field(default_factory=dict)
    nominated: dict[str, tuple[str, PodInfo]] = field(default_factory=dict)  # by uid: node, pod
    namespaces: dict[str, dict[str, str]] = field(default_factory=dict)  # labels, by name
    minding: dict[str, PodInfo] = field(default_factory=dict)  # placed pods with rules about their neighbours
    _places: dict[str, str] = field(default_factory=dict)  # node by pod's uid
    _homeless: dict[str, dict[str, PodInfo]] = field(default_factory=dict)

    def put_node(self, node: Object) -> None:
        known = self.nodes.get(name_of(node))
        if known is not None:
            known.node = node
            return
        info = self.nodes[name_of(node)] = NodeInfo(node)
        for pod in self._homeless.pop(name_of(node), {}).values():
            info.add(pod)

    def drop_node(self, name: str) -> None:
        info = self.nodes.pop(name, None)
        if info is not None and info.pods:
            self._homeless.setdefault(name, {}).update(info.pods)

    def place(self, info: PodInfo, node: str) -> None:
        """The pod is on that node (or is going to be): counted once, wherever it was before."""
        self.take_away(info.uid)
        self.nominated.pop(info.uid, None)
        self._places[info.uid] = node
        if info.minds_neighbours:
            self.minding[info.uid] = info
        if node in self.nodes:
            self.nodes[node].add(info)
        else:
            self._homeless.setdefault(node, {})[info.uid] = info

    def take_away(self, uid: str) -> None:
        self.minding.pop(uid, None)
        node = self._places.pop(uid, None)
        if node is None:
            return
        if node in self.nodes:
            self.nodes[node].remove(uid)
        elif node in self._homeless:
            self._homeless[node].pop(uid, None)

    def place_of(self, uid: str) -> str:
        return self._places.get(uid, "")

    def all_pods(self) -> Iterator[tuple[NodeInfo, PodInfo]]:
        for node in self.nodes.values():
            for pod in node.pods.values():
                yield node, pod
