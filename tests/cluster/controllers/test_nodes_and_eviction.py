"""Nodes that fall silent, taints that drive pods away, pods of nodes that are gone."""

import asyncio
from collections.abc import Callable
from typing import Any

from slipway.cluster.client.objects import condition_of, name_of
from slipway.cluster.client.resources import EVENTS, NODES, PODS
from slipway.cluster.controllers.eviction import stay

Play = Callable[..., None]


def pod(name: str, *tolerations: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "i"}]}
    if tolerations:
        spec["tolerations"] = list(tolerations)
    return {"metadata": {"name": name}, "spec": spec}


def for_ever(reason: str) -> dict[str, Any]:
    return {"key": f"node.kubernetes.io/{reason}", "operator": "Exists", "effect": "NoExecute"}


def test_a_silent_node_becomes_unknown_is_tainted_and_loses_its_pods_in_time(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(PODS, pod("leaves", {**for_ever("unreachable"), "tolerationSeconds": 300}))
        await world.create(PODS, pod("stays", for_ever("unreachable"), for_ever("not-ready")))
        await asyncio.sleep(20)
        assert await world.quiet(600) == []
        world.kubelet.alive.clear()
        await asyncio.sleep(90)
        node = await world.get(NODES, "node-1")
        ready = condition_of(node, "Ready") or {}
        assert (ready["status"], ready["reason"]) == ("Unknown", "NodeStatusUnknown")
        assert ready["message"] == "Kubelet stopped posting node status."
        taints = {(taint["key"], taint["effect"]) for taint in node["spec"]["taints"]}
        unreachable = "node.kubernetes.io/unreachable"
        assert taints == {(unreachable, "NoSchedule"), (unreachable, "NoExecute")}
        leaving = condition_of(await world.get(PODS, "leaves"), "Ready") or {}
        assert leaving["status"] == "False"
        await asyncio.sleep(200)
        assert len(await world.list(PODS)) == 2
        await asyncio.sleep(60)
        assert [name_of(item) for item in await world.list(PODS)] == ["stays"]
        reasons = {event["reason"] for event in await world.list(EVENTS)}
        assert {"NodeNotReady", "TaintManagerEviction"} <= reasons
        assert await world.quiet(600) == []

    play(story)


def test_a_node_that_reports_again_loses_its_taints(play: Play) -> None:
    async def story(world: Any) -> None:
        world.kubelet.alive.clear()
        await asyncio.sleep(120)
        assert (await world.get(NODES, "node-1"))["spec"]["taints"]
        world.kubelet.alive.add("node-1")
        now = world.clock.timestamp()
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": now}
        await world.api.patch(NODES, "node-1", "", {"status": {"conditions": [ready]}}, subresource="status")
        await asyncio.sleep(5)
        assert "taints" not in (await world.get(NODES, "node-1"))["spec"]

    play(story)


def test_a_cordon_becomes_a_taint_and_goes_with_it(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.api.patch(NODES, "node-1", "", {"spec": {"unschedulable": True}})
        await asyncio.sleep(5)
        (taint,) = (await world.get(NODES, "node-1"))["spec"]["taints"]
        assert (taint["key"], taint["effect"]) == ("node.kubernetes.io/unschedulable", "NoSchedule")
        await world.api.patch(NODES, "node-1", "", {"spec": {"unschedulable": None}})
        await asyncio.sleep(5)
        assert "taints" not in (await world.get(NODES, "node-1"))["spec"]

    play(story)


def test_pods_of_a_node_that_is_gone_are_collected(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.add_node("node-2", {"disk": "ssd"})
        wanted = pod("p")
        wanted["spec"]["nodeSelector"] = {"disk": "ssd"}
        await world.create(PODS, wanted)
        await asyncio.sleep(5)
        world.kubelet.alive.discard("node-2")
        await world.api.delete(NODES, "node-2")
        await asyncio.sleep(30)
        assert len(await world.list(PODS)) == 1
        await world.gone(PODS, "p", seconds=60)

    play(story)


def test_the_shortest_toleration_decides_and_time_counts_from_the_taint() -> None:
    taint = {"key": "k", "effect": "NoExecute", "timeAdded": "1970-01-01T00:01:40Z"}
    tolerations = [
        {"key": "k", "operator": "Exists", "tolerationSeconds": 60},
        {"operator": "Exists", "tolerationSeconds": 300},
    ]
    assert stay([taint], tolerations, 110.0) == 50.0
    assert stay([taint], [{"operator": "Exists"}], 110.0) is None
    assert stay([taint], [], 110.0) == 0.0
    assert stay([{"key": "k", "effect": "NoSchedule"}], [], 110.0) is None
