"""StatefulSets against a real API server: order, identity, storage, partitions."""

import asyncio
from collections.abc import Callable
from typing import Any

from slipway.cluster.client.client import PatchType
from slipway.cluster.client.objects import labels_of, name_of
from slipway.cluster.client.resources import (
    CONTROLLER_REVISIONS,
    EVENTS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    STATEFUL_SETS,
)

Play = Callable[..., None]


def stateful_set(replicas: int = 3, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "db"},
        "spec": {
            "replicas": replicas,
            "serviceName": "db",
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "c", "image": "db:1"}]},
            },
            **spec,
        },
    }


CLAIM = {
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}


async def settled(world: Any, replicas: int) -> Any:
    found = await world.get(STATEFUL_SETS, "db")
    status = found.get("status") or {}
    done = (
        status.get("observedGeneration") == found["metadata"]["generation"]
        and status.get("replicas") == replicas
        and status.get("readyReplicas", 0) == replicas
        and status.get("currentRevision") == status.get("updateRevision")
    )
    return found if done else None


async def image(world: Any, tag: str) -> None:
    change = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": tag}]}}}}
    await world.api.patch(STATEFUL_SETS, "db", "default", change, PatchType.STRATEGIC)


async def images(world: Any) -> dict[str, str]:
    return {name_of(pod): pod["spec"]["containers"][0]["image"] for pod in await world.list(PODS)}


def test_pods_come_up_one_after_the_other_with_names_of_their_own(play: Play) -> None:
    async def story(world: Any) -> None:
        world.kubelet.start_delay = 10
        await world.create(STATEFUL_SETS, stateful_set())
        await asyncio.sleep(5)
        assert [name_of(pod) for pod in await world.list(PODS)] == ["db-0"]
        await asyncio.sleep(10)
        assert [name_of(pod) for pod in await world.list(PODS)] == ["db-0", "db-1"]
        found = await world.until(lambda: settled(world, 3))
        pod = await world.get(PODS, "db-2")
        assert pod["spec"]["hostname"] == "db-2"
        assert pod["spec"]["subdomain"] == "db"
        assert labels_of(pod)["statefulset.kubernetes.io/pod-name"] == "db-2"
        assert labels_of(pod)["apps.kubernetes.io/pod-index"] == "2"
        assert labels_of(pod)["controller-revision-hash"] == found["status"]["currentRevision"]
        messages = [event["message"] for event in await world.list(EVENTS)]
        assert "create Pod db-0 in StatefulSet db successful" in messages
        assert await world.quiet(3600) == []

    play(story)


def test_parallel_management_brings_all_up_at_once(play: Play) -> None:
    async def story(world: Any) -> None:
        world.kubelet.start_delay = 10
        await world.create(STATEFUL_SETS, stateful_set(podManagementPolicy="Parallel"))
        await asyncio.sleep(2)
        assert len(await world.list(PODS)) == 3

    play(story)


def test_scaling_down_takes_the_highest_number_first_and_keeps_the_claims(play: Play) -> None:
    async def story(world: Any) -> None:
        world.kubelet.stop_delay = 5
        await world.create(STATEFUL_SETS, stateful_set(volumeClaimTemplates=[CLAIM]))
        await world.until(lambda: settled(world, 3))
        pod = await world.get(PODS, "db-1")
        assert pod["spec"]["volumes"][0]["persistentVolumeClaim"] == {"claimName": "data-db-1"}
        await world.merge(STATEFUL_SETS, "db", {"spec": {"replicas": 1}})
        await world.gone(PODS, "db-2", seconds=30)
        assert {name_of(pod) for pod in await world.list(PODS)} >= {"db-0"}
        await world.until(lambda: settled(world, 1))
        claims = {name_of(claim) for claim in await world.list(PERSISTENT_VOLUME_CLAIMS)}
        assert claims == {"data-db-0", "data-db-1", "data-db-2"}

    play(story)


def test_the_retention_policy_deletes_claims_with_the_pod_or_the_set(play: Play) -> None:
    async def story(world: Any) -> None:
        policy = {"whenScaled": "Delete", "whenDeleted": "Delete"}
        await world.create(
            STATEFUL_SETS,
            stateful_set(2, volumeClaimTemplates=[CLAIM], persistentVolumeClaimRetentionPolicy=policy),
        )
        await world.until(lambda: settled(world, 2))
        await world.merge(STATEFUL_SETS, "db", {"spec": {"replicas": 1}})
        await world.gone(PERSISTENT_VOLUME_CLAIMS, "data-db-1", seconds=60)
        assert name_of(await world.get(PERSISTENT_VOLUME_CLAIMS, "data-db-0"))
        await world.api.delete(STATEFUL_SETS, "db", "default", propagation="Background")
        await world.gone(PERSISTENT_VOLUME_CLAIMS, "data-db-0", seconds=60)

    play(story)


def test_an_update_rolls_from_the_highest_number_and_stops_at_the_partition(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(
            STATEFUL_SETS,
            stateful_set(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"partition": 2}}),
        )
        await world.until(lambda: settled(world, 3))
        await image(world, "db:2")
        await asyncio.sleep(60)
        assert await images(world) == {"db-0": "db:1", "db-1": "db:1", "db-2": "db:2"}
        await world.api.delete(PODS, "db-0", "default")
        await asyncio.sleep(30)
        assert (await images(world))["db-0"] == "db:1"
        await world.merge(
            STATEFUL_SETS, "db", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 0}}}}
        )
        await world.until(lambda: settled(world, 3))
        assert set((await images(world)).values()) == {"db:2"}
        assert len(await world.list(CONTROLLER_REVISIONS)) == 2
        assert await world.quiet(600) == []

    play(story)


def test_going_back_uses_the_old_revision_again(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(STATEFUL_SETS, stateful_set(1))
        first = (await world.until(lambda: settled(world, 1)))["status"]["currentRevision"]
        await image(world, "db:2")
        await asyncio.sleep(5)
        await world.until(lambda: settled(world, 1))
        await image(world, "db:1")
        await asyncio.sleep(5)
        found = await world.until(lambda: settled(world, 1))
        assert found["status"]["currentRevision"] == first
        revisions = {name_of(r): r["revision"] for r in await world.list(CONTROLLER_REVISIONS)}
        assert revisions[first] == 3
        assert len(revisions) == 2

    play(story)
