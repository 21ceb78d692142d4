"""Deployments against a real API server: rollouts, pauses, deadlines, and rest."""

import asyncio
from collections.abc import Callable
from typing import Any

from slipway.cluster.client.client import PatchType
from slipway.cluster.client.objects import annotations_of, condition_of, name_of
from slipway.cluster.client.resources import DEPLOYMENTS, EVENTS, PODS, REPLICA_SETS

Play = Callable[..., None]


def deployment(name: str = "web", replicas: int = 3, image: str = "app:1", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 10,
            "progressDeadlineSeconds": 600,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": image}]},
            },
            **spec,
        },
    }


def image_patch(image: str) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}


async def rolled_out(world: Any, name: str = "web") -> Any:
    """What `kubectl rollout status` waits for."""
    found = await world.get(DEPLOYMENTS, name)
    status, wanted = found.get("status") or {}, found["spec"]["replicas"]
    done = (
        status.get("observedGeneration", 0) >= found["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted
        and status.get("replicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )
    return found if done else None


def test_a_new_deployment_brings_its_pods_up_and_then_rests(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(DEPLOYMENTS, deployment())
        found = await world.until(lambda: rolled_out(world))
        assert annotations_of(found)["deployment.kubernetes.io/revision"] == "1"
        progressing, available = condition_of(found, "Progressing"), condition_of(found, "Available")
        (rs,) = await world.list(REPLICA_SETS)
        assert progressing
        assert progressing["reason"] == "NewReplicaSetAvailable"
        assert progressing["message"] == f'ReplicaSet "{name_of(rs)}" has successfully progressed.'
        assert available
        assert available["reason"] == "MinimumReplicasAvailable"
        assert [c["type"] for c in found["status"]["conditions"]] == ["Available", "Progressing"]
        pods = await world.list(PODS)
        digest = rs["metadata"]["labels"]["pod-template-hash"]
        assert {pod["metadata"]["labels"]["pod-template-hash"] for pod in pods} == {digest}
        assert name_of(rs) == f"web-{digest}"
        assert all(name_of(pod).startswith(f"web-{digest}-") for pod in pods)
        events = {event["reason"]: event["message"] for event in await world.list(EVENTS)}
        assert events["ScalingReplicaSet"] == f"Scaled up replica set {name_of(rs)} from 0 to 3"
        assert await world.quiet(3600) == []

    play(story)


def test_field_ownership_tells_the_user_from_the_controllers(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(DEPLOYMENTS, deployment())
        found = await world.until(lambda: rolled_out(world))
        managers = {(e["manager"], e.get("subresource", "")) for e in found["metadata"]["managedFields"]}
        assert managers == {("kubernetes-admin", ""), ("kube-controller-manager", "status")}

    play(story)


def test_a_rollout_keeps_within_surge_and_unavailability_all_the_way(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(
            DEPLOYMENTS,
            deployment(replicas=5, strategy={"rollingUpdate": {"maxSurge": 2, "maxUnavailable": 1}}),
        )
        await world.until(lambda: rolled_out(world))
        await world.api.patch(DEPLOYMENTS, "web", "default", image_patch("app:2"), PatchType.STRATEGIC)
        while not await rolled_out(world):
            pods = await world.list(PODS)
            alive = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
            ready = [pod for pod in alive if (condition_of(pod, "Ready") or {}).get("status") == "True"]
            assert len(alive) <= 7
            assert len(ready) >= 4
            await asyncio.sleep(0.1)
        pods = [pod for pod in await world.list(PODS) if not pod["metadata"].get("deletionTimestamp")]
        assert {pod["spec"]["containers"][0]["image"] for pod in pods} == {"app:2"}
        sets = {rs["spec"]["replicas"] for rs in await world.list(REPLICA_SETS)}
        assert sets == {0, 5}

    play(story)


def test_undo_brings_the_old_replica_set_back_with_a_new_revision(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(DEPLOYMENTS, deployment())
        await world.until(lambda: rolled_out(world))
        (first,) = await world.list(REPLICA_SETS)
        await world.api.patch(DEPLOYMENTS, "web", "default", image_patch("app:2"), PatchType.STRATEGIC)
        await world.until(lambda: rolled_out(world))
        await world.api.patch(DEPLOYMENTS, "web", "default", image_patch("app:1"), PatchType.STRATEGIC)
        found = await world.until(lambda: rolled_out(world))
        assert annotations_of(found)["deployment.kubernetes.io/revision"] == "3"
        again = await world.get(REPLICA_SETS, name_of(first))
        assert again["spec"]["replicas"] == 3
        assert annotations_of(again)["deployment.kubernetes.io/revision"] == "3"
        assert annotations_of(again)["deployment.kubernetes.io/revision-history"] == "1"
        assert len(await world.list(REPLICA_SETS)) == 2

    play(story)


def test_a_paused_deployment_scales_but_does_not_roll(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(DEPLOYMENTS, deployment())
        await world.until(lambda: rolled_out(world))
        await world.merge(DEPLOYMENTS, "web", {"spec": {"paused": True}})
        await world.api.patch(DEPLOYMENTS, "web", "default", image_patch("app:2"), PatchType.STRATEGIC)
        await world.merge(DEPLOYMENTS, "web", {"spec": {"replicas": 4}})
        await asyncio.sleep(30)
        (rs,) = await world.list(REPLICA_SETS)
        assert rs["status"]["readyReplicas"] == 4
        progressing = condition_of(await world.get(DEPLOYMENTS, "web"), "Progressing")
        assert progressing
        assert (progressing["status"], progressing["reason"]) == ("Unknown", "DeploymentPaused")
        await world.merge(DEPLOYMENTS, "web", {"spec": {"paused": False}})
        await world.until(lambda: rolled_out(world))
        assert len(await world.list(REPLICA_SETS)) == 2

    play(story)


def test_pods_that_never_get_ready_run_into_the_progress_deadline(play: Play) -> None:
    async def story(world: Any) -> None:
        world.kubelet.ready = lambda pod: False
        await world.create(DEPLOYMENTS, deployment(replicas=2, progressDeadlineSeconds=60))

        async def timed_out() -> Any:
            condition = condition_of(await world.get(DEPLOYMENTS, "web"), "Progressing") or {}
            return condition if condition.get("reason") == "ProgressDeadlineExceeded" else None

        condition = await world.until(timed_out, 90)
        assert condition["status"] == "False"
        assert condition["message"].endswith("has timed out progressing.")
        assert await world.quiet(600) == []

    play(story)


def test_recreate_never_runs_two_versions_at_once(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(DEPLOYMENTS, deployment(strategy={"type": "Recreate"}))
        await world.until(lambda: rolled_out(world))
        await world.api.patch(DEPLOYMENTS, "web", "default", image_patch("app:2"), PatchType.STRATEGIC)
        while not await rolled_out(world):
            images = {pod["spec"]["containers"][0]["image"] for pod in await world.list(PODS)}
            assert len(images) <= 1
            await asyncio.sleep(0.1)

    play(story)


def test_history_beyond_the_limit_is_deleted_oldest_first(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(DEPLOYMENTS, deployment(replicas=1, revisionHistoryLimit=1))
        await world.until(lambda: rolled_out(world))
        for number in (2, 3, 4):
            await world.api.patch(
                DEPLOYMENTS, "web", "default", image_patch(f"app:{number}"), PatchType.STRATEGIC
            )
            await world.until(lambda: rolled_out(world))
        await asyncio.sleep(5)
        images = {
            rs["spec"]["template"]["spec"]["containers"][0]["image"] for rs in await world.list(REPLICA_SETS)
        }
        assert images == {"app:3", "app:4"}

    play(story)


def test_deleting_a_deployment_takes_its_sets_and_pods_with_it(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(DEPLOYMENTS, deployment())
        await world.until(lambda: rolled_out(world))
        await world.api.delete(DEPLOYMENTS, "web", "default", propagation="Background")

        async def empty() -> bool:
            return not await world.list(PODS) and not await world.list(REPLICA_SETS)

        await world.until(empty)

    play(story)
