"""Claims and volumes: static binding, provisioning for the first consumer, and what happens after."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slipway.cluster.client.resources import EVENTS, PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES, PODS
from slipway.cluster.controllers.registrations import Settings

Play = Callable[..., None]


def claim(name: str = "data", size: str = "1Gi", **spec: Any) -> dict[str, Any]:
    resources = {"requests": {"storage": size}}
    return {
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": resources, **spec},
    }


def list_folder(path: Path) -> list[str]:
    return [entry.name for entry in path.iterdir()]


def volume(name: str, size: str, **spec: Any) -> dict[str, Any]:
    given = {
        "capacity": {"storage": size},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "hostPath": {"path": f"/srv/{name}"},
    }
    return {"metadata": {"name": name}, "spec": {**given, **spec}}


def pod(name: str, claim_name: str) -> dict[str, Any]:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": claim_name}}]
    return {
        "metadata": {"name": name},
        "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": volumes},
    }


async def phase(world: Any, resource: Any, name: str) -> str:
    return str((await world.get(resource, name)).get("status", {}).get("phase", ""))


def test_a_claim_gets_a_folder_when_its_first_pod_comes_and_loses_it_when_deleted(
    play: Play, tmp_path: Path
) -> None:
    async def story(world: Any) -> None:
        await world.create(PERSISTENT_VOLUME_CLAIMS, claim())
        await asyncio.sleep(5)
        assert await phase(world, PERSISTENT_VOLUME_CLAIMS, "data") == "Pending"
        events = {event["reason"]: event["message"] for event in await world.list(EVENTS)}
        assert events == {"WaitForFirstConsumer": "waiting for first consumer to be created before binding"}
        assert await world.quiet(600) == []
        await world.create(PODS, pod("p", "data"))
        await asyncio.sleep(5)
        found = await world.get(PERSISTENT_VOLUME_CLAIMS, "data")
        assert found["status"]["phase"] == "Bound"
        assert found["status"]["capacity"] == {"storage": "1Gi"}
        assert found["spec"]["storageClassName"] == "standard"
        assert (await world.get(PODS, "p"))["spec"]["nodeName"] == "node-1"
        made = await world.get(PERSISTENT_VOLUMES, found["spec"]["volumeName"])
        folder = Path(made["spec"]["hostPath"]["path"])
        assert list_folder(tmp_path) == [folder.name]
        assert folder.parent == tmp_path
        assert await world.quiet(600) == []
        await world.api.delete(PODS, "p", "default")
        await asyncio.sleep(5)
        await world.api.delete(PERSISTENT_VOLUME_CLAIMS, "data", "default")
        await world.gone(PERSISTENT_VOLUMES, made["metadata"]["name"], seconds=30)
        assert list_folder(tmp_path) == []

    play(story, Settings(ca_bundle="CA", volumes_root=tmp_path))


def test_a_claim_takes_the_smallest_volume_that_is_large_enough_and_the_volume_stays(play: Play) -> None:
    async def story(world: Any) -> None:
        for name, size in (("small", "500Mi"), ("right", "2Gi"), ("huge", "10Gi")):
            await world.api.create(PERSISTENT_VOLUMES, volume(name, size, storageClassName="manual"))
        await asyncio.sleep(2)
        assert await phase(world, PERSISTENT_VOLUMES, "huge") == "Available"
        await world.create(PERSISTENT_VOLUME_CLAIMS, claim(storageClassName="manual"))
        await asyncio.sleep(5)
        found = await world.get(PERSISTENT_VOLUME_CLAIMS, "data")
        assert (found["spec"]["volumeName"], found["status"]["phase"]) == ("right", "Bound")
        assert await phase(world, PERSISTENT_VOLUMES, "right") == "Bound"
        assert await world.quiet(600) == []
        await world.api.delete(PERSISTENT_VOLUME_CLAIMS, "data", "default")
        await asyncio.sleep(5)
        assert await phase(world, PERSISTENT_VOLUMES, "right") == "Released"
        await world.create(PERSISTENT_VOLUME_CLAIMS, claim("again", storageClassName="manual"))
        await asyncio.sleep(5)
        assert (await world.get(PERSISTENT_VOLUME_CLAIMS, "again"))["spec"]["volumeName"] == "huge"

    play(story)


def test_a_reserved_volume_waits_for_its_claim(play: Play) -> None:
    async def story(world: Any) -> None:
        reference = {"namespace": "default", "name": "mine"}
        await world.api.create(
            PERSISTENT_VOLUMES, volume("kept", "5Gi", storageClassName="", claimRef=reference)
        )
        await world.create(PERSISTENT_VOLUME_CLAIMS, claim("other", storageClassName=""))
        await asyncio.sleep(5)
        assert await phase(world, PERSISTENT_VOLUME_CLAIMS, "other") == "Pending"
        await world.create(PERSISTENT_VOLUME_CLAIMS, claim("mine", storageClassName=""))
        await asyncio.sleep(5)
        assert (await world.get(PERSISTENT_VOLUME_CLAIMS, "mine"))["spec"]["volumeName"] == "kept"

    play(story)


def test_a_pod_whose_claim_is_missing_says_so_and_starts_when_it_comes(play: Play, tmp_path: Path) -> None:
    async def story(world: Any) -> None:
        await world.create(PODS, pod("p", "data"))
        await asyncio.sleep(5)
        conditions = (await world.get(PODS, "p"))["status"]["conditions"]
        assert 'persistentvolumeclaim "data" not found' in conditions[0]["message"]
        await world.create(PERSISTENT_VOLUME_CLAIMS, claim())
        await asyncio.sleep(20)
        assert (await world.get(PODS, "p"))["spec"]["nodeName"] == "node-1"

    play(story, Settings(ca_bundle="CA", volumes_root=tmp_path))


def test_a_claim_that_a_pod_uses_goes_only_with_the_pod(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(PERSISTENT_VOLUME_CLAIMS, claim())
        await world.create(PODS, pod("p", "data"))
        await asyncio.sleep(5)
        await world.api.delete(PERSISTENT_VOLUME_CLAIMS, "data", "default")
        await asyncio.sleep(30)
        found = await world.get(PERSISTENT_VOLUME_CLAIMS, "data")
        assert found["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
        assert await world.quiet(300) == []
        await world.api.delete(PODS, "p", "default")
        await world.gone(PERSISTENT_VOLUME_CLAIMS, "data", seconds=30)
        await world.gone(PERSISTENT_VOLUMES, found["spec"]["volumeName"], seconds=30)

    play(story)
