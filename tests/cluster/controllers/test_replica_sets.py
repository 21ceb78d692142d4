"""ReplicaSets and ReplicationControllers: numbers, adoption, release, and whom to delete first."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from slipway.cluster.client.objects import controller_of, name_of
from slipway.cluster.client.resources import EVENTS, PODS, REPLICA_SETS, REPLICATION_CONTROLLERS
from slipway.cluster.controllers.pods import deletion_order

Play = Callable[..., None]
TEMPLATE = {
    "metadata": {"labels": {"app": "a"}},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
}


def replica_set(replicas: int = 2) -> dict[str, Any]:
    selector = {"matchLabels": {"app": "a"}}
    return {
        "metadata": {"name": "rs"},
        "spec": {"replicas": replicas, "selector": selector, "template": TEMPLATE},
    }


async def ready(world: Any, resource: Any, count: int) -> Any:
    found = await world.get(resource, "rs")
    status = found.get("status") or {}
    return found if status.get("readyReplicas", 0) == count == status.get("replicas", 0) else None


@pytest.mark.parametrize("kind", ["ReplicaSet", "ReplicationController"])
def test_pods_are_kept_at_the_wanted_number(play: Play, kind: str) -> None:
    resource = REPLICA_SETS if kind == "ReplicaSet" else REPLICATION_CONTROLLERS

    async def story(world: Any) -> None:
        made = replica_set(2)
        if kind == "ReplicationController":
            made["spec"]["selector"] = {"app": "a"}
        await world.create(resource, made)
        await world.until(lambda: ready(world, resource, 2))
        victim = (await world.list(PODS))[0]
        await world.api.delete(PODS, name_of(victim), "default")
        await asyncio.sleep(10)
        assert name_of(victim) not in {name_of(pod) for pod in await world.list(PODS)}
        await world.until(lambda: ready(world, resource, 2))
        await world.merge(resource, "rs", {"spec": {"replicas": 0}})
        await world.until(lambda: ready(world, resource, 0))
        await asyncio.sleep(5)
        assert await world.quiet(600) == []

    play(story)


def test_a_matching_orphan_is_adopted_and_a_relabelled_pod_released(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(
            PODS, {"metadata": {"name": "orphan", "labels": {"app": "a"}}, "spec": TEMPLATE["spec"]}
        )
        await world.create(REPLICA_SETS, replica_set(2))
        await world.until(lambda: ready(world, REPLICA_SETS, 2))
        orphan = await world.get(PODS, "orphan")
        assert (controller_of(orphan) or {})["name"] == "rs"
        assert len(await world.list(PODS)) == 2
        await world.merge(PODS, "orphan", {"metadata": {"labels": {"app": "b"}}})

        async def released() -> bool:
            return controller_of(await world.get(PODS, "orphan")) is None

        await world.until(released)
        await asyncio.sleep(5)
        assert len(await world.list(PODS)) == 3

    play(story)


def test_each_pod_is_told_in_an_event(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(REPLICA_SETS, replica_set(1))
        await world.until(lambda: ready(world, REPLICA_SETS, 1))
        (pod,) = await world.list(PODS)
        (event,) = [e for e in await world.list(EVENTS) if e["involvedObject"]["kind"] == "ReplicaSet"]
        assert event["reason"] == "SuccessfulCreate"
        assert event["message"] == f"Created pod: {name_of(pod)}"
        assert event["source"] == {"component": "replicaset-controller"}

    play(story)


def pod(
    name: str, phase: str = "Running", ready: bool = True, node: str = "n", **more: Any
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "creationTimestamp": more.get("created", "2026-01-01T00:00:00Z"),
            "annotations": more.get("annotations", {}),
        },
        "spec": {"nodeName": node},
        "status": {
            "phase": phase,
            "conditions": [
                {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-01-01T00:00:00Z"}
            ],
            "containerStatuses": [{"restartCount": more.get("restarts", 0)}],
        },
    }


def test_the_least_useful_pod_goes_first() -> None:
    cost = {"controller.kubernetes.io/pod-deletion-cost": "-5"}
    expected = [
        pod("unassigned", "Pending", False, ""),
        pod("pending", "Pending", False),
        pod("unready", "Running", False),
        pod("cheap", annotations=cost, node="other"),
        pod("restarted", node="crowded", restarts=3),
        pod("young", node="crowded", created="2026-01-01T23:00:00Z"),
        pod("old", node="crowded"),
        pod("alone", node="lonely"),
    ]
    shuffled = expected[::-1]
    now = 1767311999.0  # a day later
    assert [p["metadata"]["name"] for p in deletion_order(shuffled, shuffled, now)] == [
        p["metadata"]["name"] for p in expected
    ]
