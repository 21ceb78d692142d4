"""Namespaces: what they have from the start, and how they go."""

import asyncio
from collections.abc import Callable
from typing import Any

from slipway.cluster.client.objects import condition_of
from slipway.cluster.client.resources import CONFIG_MAPS, NAMESPACES, PODS, SECRETS, SERVICE_ACCOUNTS
from slipway.cluster.controllers.registrations import Settings

Play = Callable[..., None]


async def with_account(world: Any, name: str) -> Any:
    await world.create(NAMESPACES, {"metadata": {"name": name}})
    return await world.until(lambda: world.get(SERVICE_ACCOUNTS, "default", name), 5)


def test_each_namespace_gets_its_account_and_the_root_ca(play: Play) -> None:
    async def story(world: Any) -> None:
        await with_account(world, "fresh")
        bundle = await world.until(lambda: world.get(CONFIG_MAPS, "kube-root-ca.crt", "fresh"), 5)
        assert bundle["data"] == {"ca.crt": "CA"}
        await world.api.delete(SERVICE_ACCOUNTS, "default", "fresh")
        await world.api.delete(CONFIG_MAPS, "kube-root-ca.crt", "fresh")
        await world.until(lambda: world.get(SERVICE_ACCOUNTS, "default", "fresh"), 5)
        await world.until(lambda: world.get(CONFIG_MAPS, "kube-root-ca.crt", "fresh"), 5)
        assert await world.quiet(600) == []

    play(story)


def test_a_namespace_goes_with_all_that_is_in_it(play: Play) -> None:
    async def story(world: Any) -> None:
        await with_account(world, "doomed")
        meta = {"namespace": "doomed"}
        await world.create(SECRETS, {"metadata": {"name": "s", **meta}})
        await world.create(
            PODS, {"metadata": {"name": "p", **meta}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        )
        await asyncio.sleep(5)
        await world.api.delete(NAMESPACES, "doomed")
        await world.gone(NAMESPACES, "doomed", seconds=10)
        await world.create(NAMESPACES, {"metadata": {"name": "doomed"}})
        assert await world.list(SECRETS, namespace="doomed") == []

    play(story)


def test_an_empty_namespace_goes_at_once(play: Play) -> None:
    async def story(world: Any) -> None:
        await with_account(world, "empty")
        await asyncio.sleep(1)
        started = world.clock.now()
        await world.api.delete(NAMESPACES, "empty")
        await world.gone(NAMESPACES, "empty", seconds=5)
        assert world.clock.now() - started <= 0.5

    play(story)


def test_what_holds_a_namespace_back_is_told_in_its_conditions(play: Play) -> None:
    async def story(world: Any) -> None:
        await with_account(world, "stuck")
        held = {"name": "held", "namespace": "stuck", "finalizers": ["example.com/hold"]}
        await world.create(CONFIG_MAPS, {"metadata": held})
        await asyncio.sleep(5)
        await world.api.delete(NAMESPACES, "stuck")
        await asyncio.sleep(60)
        namespace = await world.get(NAMESPACES, "stuck")
        assert namespace["status"]["phase"] == "Terminating"
        remaining = condition_of(namespace, "NamespaceFinalizersRemaining")
        assert remaining
        assert remaining["reason"] == "SomeFinalizersRemain"
        assert remaining["message"] == (
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        )
        content = condition_of(namespace, "NamespaceContentRemaining")
        assert content
        assert content["message"] == ("Some resources are remaining: configmaps. has 1 resource instances")
        await world.api.patch(CONFIG_MAPS, "held", "stuck", {"metadata": {"finalizers": None}})
        await world.gone(NAMESPACES, "stuck", seconds=30)

    play(story)


def test_a_token_secret_is_filled_and_goes_with_its_account(play: Play) -> None:
    async def mint(namespace: str, account: str, uid: str, secret: str, secret_uid: str) -> str:
        return f"token of {namespace}/{account} in {secret}"

    async def story(world: Any) -> None:
        await world.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}})
        annotations = {"kubernetes.io/service-account.name": "robot"}
        await world.create(
            SECRETS,
            {
                "metadata": {"name": "robot-token", "annotations": annotations},
                "type": "kubernetes.io/service-account-token",
            },
        )

        async def filled() -> Any:
            secret = await world.get(SECRETS, "robot-token")
            return secret if (secret.get("data") or {}).get("token") else None

        secret = await world.until(filled, 5)
        assert set(secret["data"]) == {"token", "ca.crt", "namespace"}
        assert secret["metadata"]["annotations"]["kubernetes.io/service-account.uid"]
        assert await world.quiet(60) == []
        await world.api.delete(SERVICE_ACCOUNTS, "robot", "default")
        await world.gone(SECRETS, "robot-token", seconds=5)

    play(story, Settings(ca_bundle="CA", mint_token=mint))
