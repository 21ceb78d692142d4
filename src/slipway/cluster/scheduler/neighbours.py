"""Rules about which other pods are near: pod affinity, anti-affinity, topology spread. Pure.

Each is worked out once per pod to place, over all nodes, and then asked node by node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from slipway.cluster.client import selectors
from slipway.cluster.scheduler.filters import Refusal, matches_node, taints
from slipway.cluster.scheduler.ledger import Ledger, NodeInfo, PodInfo

Domain = tuple[str, str]  # topology key, its value


def term_selects(term: Mapping[str, Any], owner: PodInfo, other: PodInfo, ledger: Ledger) -> bool:
    """Whether an affinity term of `owner` means the pod `other`."""
    names = term.get("namespaces") or []
    by_label = term.get("namespaceSelector")
    if names or by_label is not None:
        labelled = by_label is not None and selectors.matches(
            by_label, ledger.namespaces.get(other.namespace, {})
        )
        if other.namespace not in names and not labelled:
            return False
    elif other.namespace != owner.namespace:
        return False
    if not selectors.matches(term.get("labelSelector"), other.labels):
        return False
    return all(
        owner.labels.get(key) == other.labels.get(key)
        for key in term.get("matchLabelKeys") or ()
        if key in owner.labels
    )


class Neighbourhood:
    """What the required rules say about placing `pod`, given the pods that run now."""

    def __init__(self, pod: PodInfo, ledger: Ledger, nodes: Mapping[str, NodeInfo] | None = None) -> None:
        self.pod = pod
        self._ledger = ledger
        self._nodes = nodes or ledger.nodes
        self._wanted = pod.affinity_terms("podAffinity")
        self._unwanted = pod.affinity_terms("podAntiAffinity")
        self._near: list[set[str]] = [set() for _ in self._wanted]  # topology values that satisfy each term
        self._avoid: set[Domain] = set()
        self._closed: set[Domain] = set()  # where pods that run already do not want this one
        if self._wanted or self._unwanted or ledger.minding:
            for node in self._nodes.values():
                for other in node.pods.values():
                    self._look_at(node, other)
        self._spread = [
            _Spread(constraint, pod, self._nodes)
            for constraint in pod.spec.get("topologySpreadConstraints") or ()
            if constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule"
        ]

    def _look_at(self, node: NodeInfo, other: PodInfo) -> None:
        for index, term in enumerate(self._wanted):
            value = node.labels.get(term["topologyKey"])
            if value is not None and term_selects(term, self.pod, other, self._ledger):
                self._near[index].add(value)
        for term in self._unwanted:
            value = node.labels.get(term["topologyKey"])
            if value is not None and term_selects(term, self.pod, other, self._ledger):
                self._avoid.add((term["topologyKey"], value))
        for term in other.affinity_terms("podAntiAffinity"):
            value = node.labels.get(term["topologyKey"])
            if value is not None and term_selects(term, other, self.pod, self._ledger):
                self._closed.add((term["topologyKey"], value))

    def refusal(self, node: NodeInfo) -> Refusal | None:
        for spread in self._spread:
            refused = spread.refusal(node)
            if refused:
                return refused
        if not self._affine(node):
            return Refusal(("node(s) didn't match pod affinity rules",), hopeless=True)
        if any(
            (term["topologyKey"], node.labels.get(term["topologyKey"])) in self._avoid
            for term in self._unwanted
        ):
            return Refusal(("node(s) didn't match pod anti-affinity rules",))
        if any(node.labels.get(key) == value for key, value in self._closed):
            return Refusal(("node(s) didn't satisfy existing pods anti-affinity rules",))
        return None

    def _affine(self, node: NodeInfo) -> bool:
        if not self._wanted:
            return True
        if any(term["topologyKey"] not in node.labels for term in self._wanted):
            return False
        if all(
            node.labels[term["topologyKey"]] in near
            for term, near in zip(self._wanted, self._near, strict=True)
        ):
            return True
        # The first of pods that want to be near each other has nobody to be near to.
        return not any(self._near) and all(
            term_selects(term, self.pod, self.pod, self._ledger) for term in self._wanted
        )


class _Spread:
    """One topologySpreadConstraint: matching pods, counted by domain."""

    def __init__(self, constraint: Mapping[str, Any], pod: PodInfo, nodes: Mapping[str, NodeInfo]) -> None:
        self.key = constraint["topologyKey"]
        self._max_skew = int(constraint.get("maxSkew", 1))
        self._selector = dict(constraint.get("labelSelector") or {})
        self._same = [key for key in constraint.get("matchLabelKeys") or () if key in pod.labels]
        self._least_domains = int(constraint.get("minDomains") or 0)
        self._pod = pod
        self.counts: Counter[str] = Counter()
        ignore_affinity = constraint.get("nodeAffinityPolicy") == "Ignore"
        honour_taints = constraint.get("nodeTaintsPolicy") == "Honor"
        for node in nodes.values():
            if self.key not in node.labels:
                continue
            if not ignore_affinity and not matches_node(pod, node):
                continue
            if honour_taints and taints(pod, node):
                continue
            self.counts[node.labels[self.key]] += sum(map(self.counted, node.pods.values()))

    def counted(self, other: PodInfo) -> bool:
        return (
            other.namespace == self._pod.namespace
            and not other.pod["metadata"].get("deletionTimestamp")
            and selectors.matches(self._selector, other.labels)
            and all(other.labels.get(key) == self._pod.labels[key] for key in self._same)
        )

    def refusal(self, node: NodeInfo) -> Refusal | None:
        value = node.labels.get(self.key)
        if value is None:
            text = "node(s) didn't match pod topology spread constraints (missing required label)"
            return Refusal((text,), hopeless=True)
        least = min(self.counts.values(), default=0)
        if len(self.counts) < self._least_domains:
            least = 0
        itself = int(self.counted(self._pod))
        if self.counts[value] + itself - least > self._max_skew:
            return Refusal(("node(s) didn't match pod topology spread constraints",))
        return None


def preference(pod: PodInfo, ledger: Ledger) -> dict[str, int]:
    """A number for each node by the preferred terms, its own and those of pods that run already."""
    wanted = [
        (sign * int(entry["weight"]), entry["podAffinityTerm"])
        for sign, kind in ((1, "podAffinity"), (-1, "podAntiAffinity"))
        for entry in pod.affinity_terms(kind, "preferred")
    ]
    domains: Counter[Domain] = Counter()
    if not wanted and not ledger.minding:
        return {}
    for node, other in ledger.all_pods():
        for weight, term in wanted:
            value = node.labels.get(term["topologyKey"])
            if value is not None and term_selects(term, pod, other, ledger):
                domains[term["topologyKey"], value] += weight
        for sign, kind in ((1, "podAffinity"), (-1, "podAntiAffinity")):
            for entry in other.affinity_terms(kind, "preferred"):
                term = entry["podAffinityTerm"]
                value = node.labels.get(term["topologyKey"])
                if value is not None and term_selects(term, other, pod, ledger):
                    domains[term["topologyKey"], value] += sign * int(entry["weight"])
    return {
        name: sum(weight for (key, value), weight in domains.items() if node.labels.get(key) == value)
        for name, node in ledger.nodes.items()
    }


def crowding(pod: PodInfo, ledger: Ledger) -> dict[str, int]:
    """How many pods like this one each node has: by ScheduleAnyway constraints, else by the same owner."""
    soft = [
        _Spread(constraint, pod, ledger.nodes)
        for constraint in pod.spec.get("topologySpreadConstraints") or ()
        if constraint.get("whenUnsatisfiable") == "ScheduleAnyway"
    ]
    if soft:
        return {
            name: sum(spread.counts.get(node.labels.get(spread.key, ""), 0) for spread in soft)
            for name, node in ledger.nodes.items()
        }
    if not pod.owner:
        return {}
    return {name: node.owners.get(pod.owner, 0) for name, node in ledger.nodes.items()}
