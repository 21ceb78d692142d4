"""The scheduler's decision: what holds whatever nodes and pods there are, and its words."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.client.placement import tolerates
from slipway.cluster.scheduler.decision import Question, decide
from slipway.cluster.scheduler.ledger import Ledger, PodInfo, requests_of


def node(name: str, cpu: str = "4", memory: str = "8Gi", pods: str = "110", **more: Any) -> dict[str, Any]:
    labels = {"kubernetes.io/hostname": name, **more.pop("labels", {})}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": more,
        "status": {"allocatable": {"cpu": cpu, "memory": memory, "pods": pods}},
    }


def pod(name: str, cpu: str = "", labels: dict[str, str] | None = None, **spec: Any) -> PodInfo:
    container: dict[str, Any] = {"name": "c", "image": "i"}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}}
    meta = {"name": name, "namespace": "default", "uid": f"uid-{name}", "labels": labels or {}}
    return PodInfo({"metadata": meta, "spec": {"containers": [container], **spec}})


def ledger(*nodes: dict[str, Any]) -> Ledger:
    made = Ledger()
    for item in nodes:
        made.put_node(item)
    return made


def ask(info: PodInfo, where: Ledger, seed: int = 1) -> Any:
    return decide(Question(info, where, Random(seed)))


amounts = st.integers(1, 40).map(lambda n: f"{n * 100}m")
clusters = st.lists(
    st.tuples(st.integers(1, 8), st.integers(1, 5)), min_size=1, max_size=6
)  # cpu, room for pods


@given(clusters, st.lists(st.tuples(amounts, st.integers(0, 3)), max_size=40), st.integers())
def test_no_node_is_ever_over_committed_and_a_seed_repeats_itself(
    sizes: list[tuple[int, int]], wishes: list[tuple[str, int]], seed: int
) -> None:
    def play() -> list[str]:
        where = ledger(*(node(f"n{i}", cpu=str(cpu), pods=str(room)) for i, (cpu, room) in enumerate(sizes)))
        random, placed = Random(seed), []
        for index, (cpu, priority) in enumerate(wishes):
            info = pod(f"p{index}", cpu, priority=priority)
            decision = decide(Question(info, where, random))
            for victim in decision.victims:
                assert victim.priority < priority
                where.take_away(victim.uid)
            if decision.victims:
                decision = decide(Question(info, where, random))
                assert decision.node
            if decision.node:
                where.place(info, decision.node)
            placed.append(decision.node or decision.message)
            for item in where.nodes.values():
                assert len(item.pods) <= item.allocatable["pods"]
                assert item.requested.get("cpu", 0) <= item.allocatable["cpu"]
        return placed

    assert play() == play()


@given(clusters, st.lists(amounts, max_size=20))
def test_a_pod_is_refused_only_when_no_node_has_room(sizes: list[tuple[int, int]], wishes: list[str]) -> None:
    where = ledger(*(node(f"n{i}", cpu=str(cpu), pods=str(room)) for i, (cpu, room) in enumerate(sizes)))
    for index, cpu in enumerate(wishes):
        info = pod(f"p{index}", cpu)
        fitting = [
            item.name
            for item in where.nodes.values()
            if len(item.pods) < item.allocatable["pods"]
            and item.requested.get("cpu", 0) + info.requests["cpu"] <= item.allocatable["cpu"]
        ]
        decision = ask(info, where)
        assert bool(decision.node) == bool(fitting)
        if fitting:
            assert decision.node in fitting
            where.place(info, decision.node)


def test_the_message_counts_reasons_as_upstream_does() -> None:
    taint = {"key": "dedicated", "value": "db", "effect": "NoSchedule"}
    where = ledger(node("a", cpu="1"), node("b", taints=[taint]), node("c", taints=[taint]))
    decision = ask(pod("p", "2"), where)
    assert decision.message == (
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {dedicated: db}. "
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    )


def test_a_cluster_without_nodes_says_so() -> None:
    assert ask(pod("p"), Ledger()).message == "no nodes available to schedule pods"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"nodeSelector": {"disk": "ssd"}}, "node(s) didn't match Pod's node affinity/selector"),
        ({"nodeName": "other"}, "node(s) didn't match the requested node name"),
        (
            {
                "affinity": {
                    "podAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [
                            {
                                "labelSelector": {"matchLabels": {"app": "none"}},
                                "topologyKey": "kubernetes.io/hostname",
                            }
                        ]
                    }
                }
            },
            "node(s) didn't match pod affinity rules",
        ),
    ],
)
def test_each_refusal_has_its_words(spec: dict[str, Any], reason: str) -> None:
    decision = ask(pod("p", **spec), ledger(node("a")))
    assert decision.message.startswith(f"0/1 nodes are available: 1 {reason}. preemption: ")


def test_a_cordoned_node_is_unschedulable_but_for_those_that_tolerate_it() -> None:
    where = ledger(node("a", unschedulable=True))
    assert "1 node(s) were unschedulable" in ask(pod("p"), where).message
    toleration = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}
    assert ask(pod("p", tolerations=[toleration]), where).node == "a"


def test_host_ports_clash_on_one_node_only() -> None:
    def wanting() -> PodInfo:
        wanting.number += 1  # type: ignore[attr-defined]
        made = pod(f"p{wanting.number}")  # type: ignore[attr-defined]
        made.pod["spec"]["containers"][0]["ports"] = [{"containerPort": 80, "hostPort": 80}]
        return made

    wanting.number = 0  # type: ignore[attr-defined]
    where = ledger(node("a"), node("b"))
    used = set()
    for _ in range(2):
        info = wanting()
        decision = ask(info, where)
        where.place(info, decision.node)
        used.add(decision.node)
    assert used == {"a", "b"}
    assert "2 node(s) didn't have free ports" in ask(wanting(), where).message


def anti(key: str = "kubernetes.io/hostname") -> dict[str, Any]:
    term = {"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": key}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def test_anti_affinity_holds_both_ways() -> None:
    where = ledger(node("a"), node("b"))
    for name in ("one", "two"):
        info = pod(name, labels={"app": "a"}, affinity=anti())
        where.place(info, ask(info, where).node)
    assert {len(item.pods) for item in where.nodes.values()} == {1}
    third = ask(pod("three", labels={"app": "a"}, affinity=anti()), where)
    assert "2 node(s) didn't match pod anti-affinity rules" in third.message
    plain = ask(pod("four", labels={"app": "a"}), where)
    assert "2 node(s) didn't satisfy existing pods anti-affinity rules" in plain.message
    assert ask(pod("five"), where).node


def test_the_first_pod_of_a_group_that_wants_to_be_together_may_start_anywhere() -> None:
    term = {"labelSelector": {"matchLabels": {"app": "a"}}, "topologyKey": "zone"}
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    where = ledger(*(node(f"n{i}", labels={"zone": f"z{i % 2}"}) for i in range(4)))
    zones = set()
    for index in range(6):
        info = pod(f"p{index}", labels={"app": "a"}, affinity=affinity)
        decision = ask(info, where, seed=index)
        where.place(info, decision.node)
        zones.add(where.nodes[decision.node].labels["zone"])
    assert len(zones) == 1


@given(st.integers(1, 3), st.integers(1, 20), st.integers(2, 4))
def test_spread_constraints_keep_domains_within_the_skew(skew: int, count: int, zones: int) -> None:
    constraint = {
        "topologyKey": "zone",
        "maxSkew": skew,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "a"}},
    }
    where = ledger(*(node(f"n{i}", labels={"zone": f"z{i % zones}"}) for i in range(zones * 2)))
    for index in range(count):
        info = pod(f"p{index}", labels={"app": "a"}, topologySpreadConstraints=[constraint])
        where.place(info, ask(info, where, seed=index).node)
        sizes: dict[str, int] = {}
        for item in where.nodes.values():
            zone = item.labels["zone"]
            sizes[zone] = sizes.get(zone, 0) + len(item.pods)
        assert max(sizes.values()) - min(sizes.values()) <= skew


def test_preemption_takes_the_least_important_and_as_few_as_it_can() -> None:
    where = ledger(node("a", cpu="2"), node("b", cpu="2"))
    where.place(pod("big", "2", priority=5), "a")
    where.place(pod("small-1", "1", priority=1), "b")
    where.place(pod("small-2", "1", priority=2), "b")
    decision = ask(pod("urgent", "1", priority=10), where)
    assert decision.nominated == "b"
    assert [victim.name for victim in decision.victims] == ["small-1"]
    never = ask(pod("meek", "1", priority=10, preemptionPolicy="Never"), where)
    assert never.victims == ()
    assert "not eligible due to preemptionPolicy=Never" in never.message


def test_room_that_was_promised_is_not_given_to_a_lesser_pod() -> None:
    where = ledger(node("a", cpu="2"))
    urgent = pod("urgent", "2", priority=10)
    where.nominated[urgent.uid] = ("a", urgent)
    assert not ask(pod("meek", "1", priority=1), where).node
    assert ask(urgent, where).node == "a"


def test_pods_of_one_set_are_spread_over_nodes() -> None:
    where = ledger(*(node(f"n{i}") for i in range(3)))
    for index in range(6):
        info = pod(f"p{index}")
        info.pod["metadata"]["ownerReferences"] = [
            {"kind": "ReplicaSet", "name": "rs", "uid": "rs", "controller": True}
        ]
        where.place(info, ask(info, where, seed=index).node)
    assert [len(item.pods) for item in where.nodes.values()] == [2, 2, 2]


def test_requests_count_sidecars_init_containers_and_overhead() -> None:
    def container(cpu: str, **more: Any) -> dict[str, Any]:
        return {"name": "c", "resources": {"requests": {"cpu": cpu}}, **more}

    spec = {
        "initContainers": [container("100m", restartPolicy="Always"), container("2")],
        "containers": [container("500m"), container("500m")],
        "overhead": {"cpu": "50m"},
    }
    assert requests_of({"spec": spec}) == {"cpu": 2150}
    spec["initContainers"] = [container("100m", restartPolicy="Always"), container("200m")]
    assert requests_of({"spec": spec}) == {"cpu": 1150}


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "k", "value": "w"}, False),
        ({"key": "j", "operator": "Exists"}, False),
        ({"key": "k", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
def test_a_toleration_fits_by_key_value_and_effect(toleration: dict[str, Any], fits: bool) -> None:
    assert tolerates(toleration, {"key": "k", "value": "v", "effect": "NoSchedule"}) is fits
