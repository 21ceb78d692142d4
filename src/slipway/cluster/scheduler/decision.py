"""Where a pod goes: filter, score, choose; and, when nowhere, whom it may push out. Pure, given a Random."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

from slipway.cluster.client import selectors
from slipway.cluster.client.objects import metadata
from slipway.cluster.client.placement import tolerated
from slipway.cluster.scheduler.filters import FILTERS, Refusal
from slipway.cluster.scheduler.ledger import Ledger, NodeInfo, PodInfo
from slipway.cluster.scheduler.neighbours import Neighbourhood, crowding, preference

# What a volume needs of a node; None when it can be there.
VolumeFilter = Callable[[PodInfo, NodeInfo], Refusal | None]

NO_NODES = "no nodes available to schedule pods"


@dataclass(frozen=True, slots=True)
class Decision:
    """`node` is chosen, or "" with a message that says why. `victims` must leave `nominated` first."""

    node: str = ""
    message: str = ""
    nominated: str = ""
    victims: tuple[PodInfo, ...] = ()


@dataclass(slots=True)
class Question:
    """A pod to place. `refused` is a reason that holds for every node, found before looking at any.

    `protected` are uids of pods whose disruption budget allows no more disruption.
    """

    pod: PodInfo
    ledger: Ledger
    random: Random
    volumes: VolumeFilter = lambda pod, node: None
    refused: str = ""
    protected: Collection[str] = field(default_factory=frozenset)


def decide(question: Question) -> Decision:
    ledger = question.ledger
    if not ledger.nodes:
        return Decision(message=NO_NODES)
    count = len(ledger.nodes)
    if question.refused:
        tail = f"preemption: 0/{count} nodes are available: {count} Preemption is not helpful for scheduling."
        return Decision(message=f"0/{count} nodes are available: {question.refused}. {tail}")
    neighbourhood = Neighbourhood(question.pod, ledger)
    refusals: dict[str, Refusal] = {}
    fitting = []
    for name, node in ledger.nodes.items():
        refusal = _refusal(question, _with_nominated(question, node), neighbourhood)
        if refusal is None:
            fitting.append(node)
        else:
            refusals[name] = refusal
    if fitting:
        return Decision(node=_best(question, fitting))
    reasons = Counter(reason for refusal in refusals.values() for reason in refusal.reasons)
    told = ", ".join(sorted(f"{n} {reason}" for reason, n in reasons.items()))
    message = f"0/{count} nodes are available: {told}."
    return _preempt(question, refusals, message)


def _refusal(question: Question, node: NodeInfo, neighbourhood: Neighbourhood) -> Refusal | None:
    for rule in FILTERS:
        refusal = rule(question.pod, node)
        if refusal is not None:
            return refusal
    return question.volumes(question.pod, node) or neighbourhood.refusal(node)


def _with_nominated(question: Question, node: NodeInfo) -> NodeInfo:
    """The node as it will be when pods of at least this priority that were promised room there have come."""
    coming = [
        info
        for uid, (place, info) in question.ledger.nominated.items()
        if place == node.name and uid != question.pod.uid and info.priority >= question.pod.priority
    ]
    return node.with_pods(coming) if coming else node


# -- scores ----------------------------------------------------------------------------------------------------


def _best(question: Question, nodes: list[NodeInfo]) -> str:
    if len(nodes) == 1:
        return nodes[0].name
    pod, ledger = question.pod, question.ledger
    names = [node.name for node in nodes]
    near, crowded = preference(pod, ledger), crowding(pod, ledger)
    total: Counter[str] = Counter()
    for weight, scores in (
        (3, _normal({n.name: -_avoided_taints(pod, n) for n in nodes})),
        (2, _normal({n.name: _node_preference(pod, n) for n in nodes})),
        (2, _normal({name: near.get(name, 0) for name in names})),
        (2, _normal({name: -crowded.get(name, 0) for name in names})),
        (1, {n.name: _least_allocated(pod, n) for n in nodes}),
        (1, {n.name: _balance(pod, n) for n in nodes}),
    ):
        for name, score in scores.items():
            total[name] += weight * score
    top = max(total[name] for name in names)
    return question.random.choice([name for name in names if total[name] == top])


def _normal(scores: Mapping[str, int]) -> dict[str, int]:
    """Scores stretched to 0..100; all alike are all nothing."""
    low, high = min(scores.values()), max(scores.values())
    if low == high:
        return dict.fromkeys(scores, 0)
    return {name: 100 * (score - low) // (high - low) for name, score in scores.items()}


def _avoided_taints(pod: PodInfo, node: NodeInfo) -> int:
    tolerations = pod.spec.get("tolerations") or ()
    return sum(t["effect"] == "PreferNoSchedule" and not tolerated(t, tolerations) for t in node.taints)


def _node_preference(pod: PodInfo, node: NodeInfo) -> int:
    affinity = (pod.spec.get("affinity") or {}).get("nodeAffinity") or {}
    return sum(
        int(entry["weight"])
        for entry in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        if selectors.matches_term(entry["preference"], node.labels, node.name)
    )


def _least_allocated(pod: PodInfo, node: NodeInfo) -> int:
    return int(sum(100 * (1 - share) for share in _shares(pod, node)) / 2)


def _balance(pod: PodInfo, node: NodeInfo) -> int:
    cpu, memory = _shares(pod, node)
    return int(100 * (1 - abs(cpu - memory) / 2))


def _shares(pod: PodInfo, node: NodeInfo) -> tuple[float, float]:
    allocatable = node.allocatable

    def share(name: str) -> float:
        have = allocatable.get(name, 0)
        return min(1.0, (node.weight.get(name, 0) + pod.weight[name]) / have) if have else 1.0

    return share("cpu"), share("memory")


# -- preemption ------------------------------------------------------------------------------------------------


def _preempt(question: Question, refusals: Mapping[str, Refusal], message: str) -> Decision:
    """Room by pushing out pods of lower priority, on the node where that hurts least."""
    pod, ledger, count = question.pod, question.ledger, len(question.ledger.nodes)
    if pod.spec.get("preemptionPolicy") == "Never":
        reason = "not eligible due to preemptionPolicy=Never."
        return Decision(message=f"{message} preemption: {reason}")
    if _is_promised(question):
        reason = "not eligible due to a terminating pod on the nominated node."
        return Decision(message=f"{message} preemption: {reason}")
    candidates: dict[str, list[PodInfo]] = {}
    useless: Counter[str] = Counter()
    for name, refusal in refusals.items():
        if refusal.hopeless:
            useless["Preemption is not helpful for scheduling"] += 1
            continue
        victims = _victims(question, ledger.nodes[name])
        if victims:
            candidates[name] = victims
        else:
            useless["No preemption victims found for incoming pod"] += 1
    if not candidates:
        told = ", ".join(sorted(f"{n} {reason}" for reason, n in useless.items()))
        return Decision(message=f"{message} preemption: 0/{count} nodes are available: {told}.")

    def harm(name: str) -> tuple[Any, ...]:
        victims = candidates[name]
        return (
            sum(victim.uid in question.protected for victim in victims),
            max(victim.priority for victim in victims),
            sum(victim.priority for victim in victims),
            len(victims),
            name,
        )

    chosen = min(candidates, key=harm)
    return Decision(message=message, nominated=chosen, victims=tuple(candidates[chosen]))


def _is_promised(question: Question) -> bool:
    """Whether pods are leaving already to make room for this one."""
    place, _ = question.ledger.nominated.get(question.pod.uid, ("", None))
    node = question.ledger.nodes.get(place)
    return node is not None and any(
        metadata(info.pod).get("deletionTimestamp") and info.priority < question.pod.priority
        for info in node.pods.values()
    )


def _victims(question: Question, node: NodeInfo) -> list[PodInfo]:
    """The fewest pods of lower priority that have to go; none when even all of them would not do."""
    pod, ledger = question.pod, question.ledger
    lower = [info for info in node.pods.values() if info.priority < pod.priority]
    if not lower:
        return []
    gone = {info.uid for info in lower}

    def fits(without: set[str]) -> bool:
        emptier = node.without(without)
        nodes = {**ledger.nodes, node.name: emptier}
        question_node = _with_nominated(question, emptier)
        return _refusal(question, question_node, Neighbourhood(pod, ledger, nodes)) is None

    if not fits(gone):
        return []
    # Pods are let stay one by one: first those that a budget protects, then the more important.
    order = sorted(
        lower,
        key=lambda info: (
            info.uid not in question.protected,
            -info.priority,
            str(metadata(info.pod).get("creationTimestamp", "")),
            info.name,
        ),
    )
    for info in order:
        if fits(gone - {info.uid}):
            gone.discard(info.uid)
    return [info for info in lower if info.uid in gone]
