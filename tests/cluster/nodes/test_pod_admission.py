"""What a node takes and turns away, and with which words; then the same of a node that runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from slipway.cluster import ClusterOptions, EmbeddedCluster
from slipway.cluster.client.resources import EVENTS, NODES, PODS
from slipway.cluster.environment.virtual_time import VirtualTimeLoop, run
from slipway.cluster.nodes.pod_admission import Occupancy

NODE: dict[str, Any] = {
    "metadata": {"name": "n", "labels": {"disk": "ssd"}},
    "spec": {},
    "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3", "example.com/door": "1"}},
}


def pod(name: str, requests: dict[str, str] | None = None, port: int = 0, **spec: Any) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "main", "image": "app:1"}
    if requests:
        container["resources"] = {"requests": requests, "limits": requests}
    if port:
        container["ports"] = [{"containerPort": port, "hostPort": port, "protocol": "TCP"}]
    return {"metadata": {"name": name, "uid": name}, "spec": {"containers": [container], **spec}}


@pytest.mark.parametrize(
    ("refused", "reason", "message"),
    [
        (
            pod("p", {"cpu": "1500m"}),
            "OutOfcpu",
            "Node didn't have enough resource: cpu, requested: 1500, used: 1000, capacity: 2000",
        ),
        (
            pod("p", {"example.com/door": "2"}),
            "OutOfexample.com/door",
            "Node didn't have enough resource: example.com/door, requested: 2, used: 0, capacity: 1",
        ),
        (
            pod("p", port=80),
            "NodePorts",
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
        ),
        (
            pod("p", nodeSelector={"disk": "tape"}),
            "NodeAffinity",
            "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
    ],
)
def test_a_pod_that_does_not_fit_is_told_why(refused: dict[str, Any], reason: str, message: str) -> None:
    occupancy = Occupancy()
    assert occupancy.admit(pod("first", {"cpu": "1"}, port=80), NODE) is None
    rejection = occupancy.admit(refused, NODE)
    assert rejection is not None
    assert (rejection.reason, rejection.message) == (reason, message)
    assert not occupancy.has("p")


def test_what_a_pod_took_is_free_when_it_has_left() -> None:
    occupancy = Occupancy()
    assert occupancy.admit(pod("first", {"cpu": "2"}, port=80), NODE) is None
    assert occupancy.admit(pod("second", {"cpu": "2"}, port=80), NODE) is not None
    occupancy.release("first")
    assert occupancy.admit(pod("second", {"cpu": "2"}, port=80), NODE) is None


def test_a_node_takes_so_many_pods_and_no_more() -> None:
    occupancy = Occupancy()
    for name in ("a", "b", "c"):
        assert occupancy.admit(pod(name), NODE) is None
    rejection = occupancy.admit(pod("d"), NODE)
    assert rejection is not None
    assert rejection.reason == "OutOfpods"
    assert occupancy.admit(pod("a"), NODE) is None, "it is here already"


def test_resources_that_the_node_does_not_know_are_not_its_own_to_refuse() -> None:
    assert Occupancy().admit(pod("p", {"example.com/elsewhere": "5"}), NODE) is None


@pytest.mark.parametrize(
    ("name", "more", "why"),
    [
        ("kernel/msgmax", {}, '"kernel.msgmax" not allowlisted'),
        (
            "net.ipv4.tcp_rmem",
            {"hostNetwork": True},
            '"net.ipv4.tcp_rmem" not allowed with host net enabled',
        ),
        (
            "kernel.shm_rmid_forced",
            {"hostIPC": True},
            '"kernel.shm_rmid_forced" not allowed with host ipc enabled',
        ),
    ],
)
def test_only_settings_of_the_kernel_that_are_the_pods_own_may_be_set(
    name: str, more: dict[str, Any], why: str
) -> None:
    context = {"sysctls": [{"name": name, "value": "1"}]}
    rejection = Occupancy().admit(pod("p", securityContext=context, **more), NODE)
    assert rejection is not None
    assert (rejection.reason, rejection.message) == ("SysctlForbidden", f"forbidden sysctl: {why}")
    safe = {"sysctls": [{"name": "net/ipv4/tcp_rmem", "value": "1"}]}
    assert Occupancy().admit(pod("p", securityContext=safe), NODE) is None


def test_only_taints_that_drive_pods_away_count() -> None:
    taints = [{"key": "a", "effect": "NoSchedule"}, {"key": "b", "effect": "NoExecute"}]
    node = {**NODE, "spec": {"taints": taints}}
    rejection = Occupancy().admit(pod("p"), node)
    assert rejection is not None
    assert rejection.reason == "TaintToleration"
    assert Occupancy().admit(pod("p", tolerations=[{"key": "b", "operator": "Exists"}]), node) is None


def test_a_bound_pod_whose_port_is_taken_fails_and_one_bound_after_a_label_is_set_runs() -> None:
    async def story(cluster: EmbeddedCluster) -> None:
        api = cluster.client()
        for name in ("first", "second"):
            await api.create(PODS, _bound(pod(name, port=8080)))
            await asyncio.sleep(5)
        status = (await api.get(PODS, "second", "default"))["status"]
        told = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
        assert (status["phase"], status["reason"]) == ("Failed", "NodePorts")
        assert status["message"] == f"Pod was rejected: {told}"
        events = (await api.list(EVENTS, "default"))["items"]
        assert ("NodePorts", told) in [(event["reason"], event["message"]) for event in events]

        await api.patch(NODES, "adm-1", "", {"metadata": {"labels": {"disk": "tape"}}})
        await api.create(PODS, _bound(pod("third", nodeSelector={"disk": "tape"})))
        await asyncio.sleep(5)
        assert (await api.get(PODS, "third", "default"))["status"]["phase"] == "Running"

    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        options = ClusterOptions(name="adm", runtime="simulated", listen=False, tls=False, seed=1)
        async with EmbeddedCluster(options, loop.clock()) as cluster:
            await story(cluster)

    run(main())


def _bound(body: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": body["metadata"]["name"], "namespace": "default"}
    return {"metadata": metadata, "spec": {**body["spec"], "nodeName": "adm-1"}}
