"""The scheduler against a real API server: binding, waiting, waking up, preempting."""

import asyncio
from collections.abc import Callable
from typing import Any

from slipway.cluster.client.objects import condition_of, is_deleting, name_of
from slipway.cluster.client.resources import EVENTS, NODES, PODS, PRIORITY_CLASSES

Play = Callable[..., None]


def pod(name: str, cpu: str = "", **spec: Any) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "c", "image": "i"}
    if cpu:
        container["resources"] = {"requests": {"cpu": cpu}}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


async def events(world: Any, name: str) -> list[tuple[str, str]]:
    return [
        (event["reason"], event["message"])
        for event in await world.list(EVENTS)
        if event["involvedObject"]["name"] == name
    ]


def test_a_pod_is_bound_and_told(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(PODS, pod("p"))
        await asyncio.sleep(5)
        found = await world.get(PODS, "p")
        assert found["spec"]["nodeName"] == "node-1"
        scheduled = condition_of(found, "PodScheduled") or {}
        assert scheduled["status"] == "True"
        assert ("Scheduled", "Successfully assigned default/p to node-1") in await events(world, "p")

    play(story)


def test_a_pod_that_fits_nowhere_says_why_and_is_placed_when_a_node_comes(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(PODS, pod("p", nodeSelector={"disk": "ssd"}))
        await asyncio.sleep(5)
        condition = condition_of(await world.get(PODS, "p"), "PodScheduled") or {}
        text = (
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. "
            "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
        )
        assert (condition["status"], condition["reason"]) == ("False", "Unschedulable")
        assert condition["message"] == text
        assert await events(world, "p") == [("FailedScheduling", text)]
        assert await world.quiet(3600) == []
        await world.add_node("node-2", {"disk": "ssd"})
        await asyncio.sleep(5)
        assert (await world.get(PODS, "p"))["spec"]["nodeName"] == "node-2"

    play(story)


def test_a_pod_waits_for_another_to_leave(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(PODS, pod("first", "3"))
        await asyncio.sleep(5)
        await world.create(PODS, pod("second", "3"))
        await asyncio.sleep(5)
        condition = condition_of(await world.get(PODS, "second"), "PodScheduled") or {}
        assert condition["message"].startswith("0/1 nodes are available: 1 Insufficient cpu. preemption: ")
        await world.api.delete(PODS, "first", "default")
        await asyncio.sleep(15)
        assert (await world.get(PODS, "second"))["spec"]["nodeName"] == "node-1"

    play(story)


def test_an_important_pod_pushes_a_lesser_one_out(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.api.create(PRIORITY_CLASSES, {"metadata": {"name": "high"}, "value": 1000})
        await world.create(PODS, pod("lesser", "3"))
        await asyncio.sleep(5)
        await world.create(PODS, pod("urgent", "3", priorityClassName="high", priority=1000))
        await asyncio.sleep(30)
        urgent = await world.get(PODS, "urgent")
        assert urgent["spec"]["nodeName"] == "node-1"
        assert "lesser" not in {name_of(item) for item in await world.list(PODS)}
        reasons = {reason for reason, _ in await events(world, "lesser")}
        assert "Preempted" in reasons

    play(story)


def test_pods_with_gates_or_another_scheduler_are_left_alone(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(PODS, pod("gated", schedulingGates=[{"name": "example.com/wait"}]))
        await world.create(PODS, pod("foreign", schedulerName="other"))
        await asyncio.sleep(5)
        assert not any(item["spec"].get("nodeName") for item in await world.list(PODS))
        await world.merge(PODS, "gated", {"spec": {"schedulingGates": None}})
        await asyncio.sleep(5)
        assert (await world.get(PODS, "gated"))["spec"]["nodeName"] == "node-1"

    play(story)


def test_a_cordoned_node_gets_no_new_pods(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.api.patch(NODES, "node-1", "", {"spec": {"unschedulable": True}})
        await world.create(PODS, pod("p"))
        await asyncio.sleep(5)
        assert not (await world.get(PODS, "p"))["spec"].get("nodeName")
        await world.api.patch(NODES, "node-1", "", {"spec": {"unschedulable": None}})
        await asyncio.sleep(15)
        found = await world.get(PODS, "p")
        assert found["spec"]["nodeName"] == "node-1"
        assert not is_deleting(found)

    play(story)
