"""Garbage collection against a real API server: background, foreground, orphan, absent and strange owners."""

import asyncio
from collections.abc import Callable
from typing import Any

from slipway.cluster.client.objects import name_of
from slipway.cluster.client.resources import (
    CLUSTER_ROLES,
    CONFIG_MAPS,
    CUSTOM_RESOURCE_DEFINITIONS,
    EVENTS,
    NAMESPACES,
    SECRETS,
    ApiResource,
)

Play = Callable[..., None]


def owner_ref(owner: Any, **more: Any) -> dict[str, Any]:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        **more,
    }


def config_map(name: str, *owners: Any, namespace: str = "default", **meta: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, **meta}
    if owners:
        metadata["ownerReferences"] = list(owners)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


async def exists(world: Any, name: str, namespace: str = "default") -> bool:
    return name in {name_of(item) for item in await world.list(CONFIG_MAPS, namespace=namespace)}


def test_background_deletion_takes_dependents_and_their_dependents(play: Play) -> None:
    async def story(world: Any) -> None:
        top = await world.create(CONFIG_MAPS, config_map("top"))
        middle = await world.create(CONFIG_MAPS, config_map("middle", owner_ref(top)))
        await world.create(SECRETS, {"metadata": {"name": "low", "ownerReferences": [owner_ref(middle)]}})
        await world.api.delete(CONFIG_MAPS, "top", "default", propagation="Background")
        assert not await exists(world, "top")
        await world.gone(CONFIG_MAPS, "middle", seconds=5)
        await world.gone(SECRETS, "low", seconds=5)

    play(story)


def test_foreground_deletion_waits_for_blocking_dependents(play: Play) -> None:
    async def story(world: Any) -> None:
        top = await world.create(CONFIG_MAPS, config_map("top"))
        held = config_map("held", owner_ref(top, blockOwnerDeletion=True), finalizers=["example.com/hold"])
        await world.create(CONFIG_MAPS, held)
        await world.create(CONFIG_MAPS, config_map("free", owner_ref(top)))
        await world.api.delete(CONFIG_MAPS, "top", "default", propagation="Foreground")
        await world.gone(CONFIG_MAPS, "free", seconds=5)
        await asyncio.sleep(10)
        waiting = await world.get(CONFIG_MAPS, "top")
        assert waiting["metadata"]["finalizers"] == ["foregroundDeletion"]
        await world.merge(CONFIG_MAPS, "held", {"metadata": {"finalizers": None}})
        await world.gone(CONFIG_MAPS, "top", seconds=5)
        assert not await exists(world, "held")

    play(story)


def test_orphan_deletion_lets_dependents_live_without_the_reference(play: Play) -> None:
    async def story(world: Any) -> None:
        top = await world.create(CONFIG_MAPS, config_map("top"))
        await world.create(CONFIG_MAPS, config_map("child", owner_ref(top)))
        await world.api.delete(CONFIG_MAPS, "top", "default", propagation="Orphan")
        await world.gone(CONFIG_MAPS, "top", seconds=5)
        await asyncio.sleep(10)
        child = await world.get(CONFIG_MAPS, "child")
        assert "ownerReferences" not in child["metadata"]

    play(story)


def test_an_object_born_with_an_absent_owner_is_deleted(play: Play) -> None:
    async def story(world: Any) -> None:
        ghost = {"apiVersion": "v1", "kind": "ConfigMap", "name": "ghost", "uid": "no-such-uid"}
        await world.create(CONFIG_MAPS, config_map("child", ghost))
        await world.gone(CONFIG_MAPS, "child", seconds=5)

    play(story)


def test_one_owner_that_lives_keeps_the_object_and_the_dead_reference_goes(play: Play) -> None:
    async def story(world: Any) -> None:
        one = await world.create(CONFIG_MAPS, config_map("one"))
        two = await world.create(CONFIG_MAPS, config_map("two"))
        await world.create(CONFIG_MAPS, config_map("child", owner_ref(one), owner_ref(two)))
        await world.api.delete(CONFIG_MAPS, "one", "default", propagation="Background")

        async def one_left() -> bool:
            child = await world.get(CONFIG_MAPS, "child")
            return [ref["name"] for ref in child["metadata"]["ownerReferences"]] == ["two"]

        await world.until(one_left, 5)

    play(story)


def test_an_owner_in_another_namespace_does_not_count(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(NAMESPACES, {"metadata": {"name": "other"}})
        owner = await world.create(CONFIG_MAPS, config_map("owner", namespace="other"))
        await world.create(CONFIG_MAPS, config_map("child", owner_ref(owner)))
        await world.gone(CONFIG_MAPS, "child", seconds=5)
        messages = [event["message"] for event in await world.list(EVENTS)]
        assert any('does not exist in namespace "default"' in message for message in messages)
        assert await exists(world, "owner", "other")

    play(story)


def test_a_cluster_scoped_owner_takes_namespaced_dependents(play: Play) -> None:
    async def story(world: Any) -> None:
        role = await world.api.create(CLUSTER_ROLES, {"metadata": {"name": "owner"}, "rules": []})
        await world.create(CONFIG_MAPS, config_map("child", owner_ref(role)))
        await asyncio.sleep(5)
        assert await exists(world, "child")
        await world.api.delete(CLUSTER_ROLES, "owner", propagation="Background")
        await world.gone(CONFIG_MAPS, "child", seconds=5)

    play(story)


def test_a_cluster_scoped_object_is_never_deleted_for_a_namespaced_owner(play: Play) -> None:
    async def story(world: Any) -> None:
        owner = await world.create(CONFIG_MAPS, config_map("owner"))
        meta = {"name": "child", "ownerReferences": [owner_ref(owner)]}
        await world.api.create(CLUSTER_ROLES, {"metadata": meta, "rules": []})
        await world.api.delete(CONFIG_MAPS, "owner", "default", propagation="Background")
        await asyncio.sleep(60)
        assert (await world.get(CLUSTER_ROLES, "child"))["metadata"]["name"] == "child"

    play(story)


def test_a_ring_of_owners_ends_when_one_is_deleted(play: Play) -> None:
    async def story(world: Any) -> None:
        one = await world.create(CONFIG_MAPS, config_map("one"))
        two = await world.create(CONFIG_MAPS, config_map("two", owner_ref(one, blockOwnerDeletion=True)))
        references = [owner_ref(two, blockOwnerDeletion=True)]
        await world.merge(CONFIG_MAPS, "one", {"metadata": {"ownerReferences": references}})
        await world.api.delete(CONFIG_MAPS, "one", "default", propagation="Foreground")
        await world.gone(CONFIG_MAPS, "one", seconds=10)
        await world.gone(CONFIG_MAPS, "two", seconds=10)

    play(story)


def test_custom_resources_are_collected_once_their_kind_is_served(play: Play) -> None:
    shirts = ApiResource("example.com", "v1", "shirts", "Shirt")

    async def story(world: Any) -> None:
        schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        await world.api.create(
            CUSTOM_RESOURCE_DEFINITIONS,
            {
                "metadata": {"name": "shirts.example.com"},
                "spec": {
                    "group": "example.com",
                    "scope": "Namespaced",
                    "names": {
                        "plural": "shirts",
                        "singular": "shirt",
                        "kind": "Shirt",
                        "listKind": "ShirtList",
                    },
                    "versions": [
                        {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
                    ],
                },
            },
        )

        async def served() -> Any:
            return await world.create(shirts, {"metadata": {"name": "owner"}})

        owner = await world.until(served, 5)
        await world.create(CONFIG_MAPS, config_map("child", owner_ref(owner)))
        await world.create(shirts, {"metadata": {"name": "small", "ownerReferences": [owner_ref(owner)]}})
        await asyncio.sleep(40)
        assert await exists(world, "child")
        await world.api.delete(shirts, "owner", "default", propagation="Background")
        await world.gone(CONFIG_MAPS, "child", seconds=10)
        await world.gone(shirts, "small", seconds=10)

    play(story)


def test_at_rest_nothing_is_written(play: Play) -> None:
    async def story(world: Any) -> None:
        top = await world.create(CONFIG_MAPS, config_map("top"))
        await world.create(CONFIG_MAPS, config_map("child", owner_ref(top)))
        await asyncio.sleep(5)
        assert await world.quiet(600) == []
        assert name_of(await world.get(CONFIG_MAPS, "child")) == "child"

    play(story)
