"""DaemonSets against a real API server: a pod on each node that wants it, taints, rollouts."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from slipway.cluster.client.client import PatchType
from slipway.cluster.client.objects import condition_of, labels_of
from slipway.cluster.client.resources import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS
from slipway.cluster.controllers.daemonset import View, step
from slipway.cluster.controllers.writes import Create

Play = Callable[..., None]


def daemon_set(image: str = "agent:1", pod_spec: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "agent"},
        "spec": {
            "selector": {"matchLabels": {"app": "agent"}},
            "template": {
                "metadata": {"labels": {"app": "agent"}},
                "spec": {"containers": [{"name": "c", "image": image}], **(pod_spec or {})},
            },
            **spec,
        },
    }


async def places(world: Any) -> list[str]:
    return sorted(pod["spec"].get("nodeName", "") for pod in await world.list(PODS))


async def three_nodes(world: Any) -> None:
    await world.add_node("node-2", {"disk": "ssd"})
    await world.add_node("node-3")


def test_each_node_gets_one_pod_and_new_nodes_too(play: Play) -> None:
    async def story(world: Any) -> None:
        await three_nodes(world)
        await world.create(DAEMON_SETS, daemon_set())
        await asyncio.sleep(5)
        assert await places(world) == ["node-1", "node-2", "node-3"]
        await world.add_node("node-4")
        await asyncio.sleep(5)
        assert await places(world) == ["node-1", "node-2", "node-3", "node-4"]
        status = (await world.get(DAEMON_SETS, "agent"))["status"]
        assert status["desiredNumberScheduled"] == status["numberReady"] == status["numberAvailable"] == 4
        assert status["updatedNumberScheduled"] == 4
        assert await world.quiet(3600) == []

    play(story)


def test_selectors_and_taints_decide_which_nodes(play: Play) -> None:
    async def story(world: Any) -> None:
        await three_nodes(world)
        await world.create(DAEMON_SETS, daemon_set(pod_spec={"nodeSelector": {"disk": "ssd"}}))
        await asyncio.sleep(5)
        assert await places(world) == ["node-2"]
        await world.api.patch(NODES, "node-3", "", {"metadata": {"labels": {"disk": "ssd"}}})
        await asyncio.sleep(5)
        assert await places(world) == ["node-2", "node-3"]
        taint = {"key": "broken", "effect": "NoExecute"}
        await world.api.patch(NODES, "node-2", "", {"spec": {"taints": [taint]}})
        await asyncio.sleep(5)
        assert await places(world) == ["node-3"]

    play(story)


def test_a_cordoned_node_keeps_its_daemons(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.api.patch(NODES, "node-1", "", {"spec": {"unschedulable": True}})
        await world.create(DAEMON_SETS, daemon_set())
        await asyncio.sleep(5)
        assert await places(world) == ["node-1"]

    play(story)


def test_a_rollout_replaces_one_pod_after_the_other(play: Play) -> None:
    async def story(world: Any) -> None:
        await three_nodes(world)
        await world.create(DAEMON_SETS, daemon_set())
        await asyncio.sleep(10)
        change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "agent:2"}]}}}}
        await world.api.patch(DAEMON_SETS, "agent", "default", change, PatchType.STRATEGIC)
        for _ in range(200):
            pods = await world.list(PODS)
            ready = [
                pod
                for pod in pods
                if (condition_of(pod, "Ready") or {}).get("status") == "True"
                and not pod["metadata"].get("deletionTimestamp")
            ]
            assert len(ready) >= 2
            await asyncio.sleep(0.2)
        images = {pod["spec"]["containers"][0]["image"] for pod in await world.list(PODS)}
        assert images == {"agent:2"}
        found = await world.get(DAEMON_SETS, "agent")
        assert found["status"]["updatedNumberScheduled"] == 3
        assert len(await world.list(CONTROLLER_REVISIONS)) == 2
        hashes = {labels_of(pod)["controller-revision-hash"] for pod in await world.list(PODS)}
        assert len(hashes) == 1
        assert await world.quiet(600) == []

    play(story)


def test_with_surge_the_new_pod_is_there_before_the_old_one_goes(play: Play) -> None:
    async def story(world: Any) -> None:
        rolling = {"maxSurge": 1, "maxUnavailable": 0}
        await world.create(DAEMON_SETS, daemon_set(updateStrategy={"rollingUpdate": rolling}))
        await asyncio.sleep(5)
        change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "agent:2"}]}}}}
        await world.api.patch(DAEMON_SETS, "agent", "default", change, PatchType.STRATEGIC)
        for _ in range(100):
            pods = await world.list(PODS)
            ready = [pod for pod in pods if (condition_of(pod, "Ready") or {}).get("status") == "True"]
            assert ready
            await asyncio.sleep(0.2)
        (pod,) = await world.list(PODS)
        assert pod["spec"]["containers"][0]["image"] == "agent:2"

    play(story)


def test_a_failed_daemon_is_replaced_with_growing_pauses(play: Play) -> None:
    async def story(world: Any) -> None:
        world.kubelet.outcome = lambda pod: ("Failed", 1)
        seen: set[str] = set()
        await world.create(DAEMON_SETS, daemon_set())
        for _ in range(240):
            seen |= {pod["metadata"]["name"] for pod in await world.list(PODS)}
            await asyncio.sleep(0.25)
        assert 3 <= len(seen) <= 8

    play(story)


def test_revisions_tell_why_the_template_changed(play: Play) -> None:
    async def story(world: Any) -> None:
        wanted = daemon_set()
        wanted["metadata"]["annotations"] = {"kubernetes.io/change-cause": "first try"}
        await world.create(DAEMON_SETS, wanted)
        await asyncio.sleep(5)
        (revision,) = await world.list(CONTROLLER_REVISIONS)
        assert revision["metadata"]["annotations"]["kubernetes.io/change-cause"] == "first try"

    play(story)


@pytest.mark.parametrize("phase", ["Failed", "Succeeded"])
def test_a_daemon_that_ended_because_it_is_deleted_did_not_fail_and_is_replaced(phase: str) -> None:
    owner = {"apiVersion": "apps/v1", "kind": "DaemonSet", **daemon_set()}
    owner["metadata"] |= {"namespace": "default", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    pod = {
        "metadata": {
            "name": "agent-1",
            "namespace": "default",
            "uid": "p",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "deletionTimestamp": "2026-01-01T00:00:01Z",
            "ownerReferences": [{"kind": "DaemonSet", "name": "agent", "uid": "u", "controller": True}],
        },
        "spec": {"nodeName": "node-1"},
        "status": {"phase": phase},
    }
    node = {"metadata": {"name": "node-1"}, "spec": {}, "status": {}}
    plan = step(View(owner, [pod], [node], [], now=0.0))
    assert [event.reason for event in plan.events] == []
    made = [write for write in plan.writes if isinstance(write, Create) and write.resource == PODS]
    assert len(made) == 1


def test_a_revision_is_written_in_the_order_in_which_others_compare_it(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(DAEMON_SETS, daemon_set())
        await asyncio.sleep(5)
        [revision] = await world.list(CONTROLLER_REVISIONS)
        text = json.dumps(revision["data"])
        assert text == json.dumps(revision["data"], sort_keys=True)
        assert text.startswith('{"spec": {"template": {"$patch": "replace"')

    play(story)
