"""A pod may be replaced by the manifest that made it: what admission added then is not taken for a change."""

from __future__ import annotations

from typing import Any

from slipway.cluster.client.client import Client
from slipway.cluster.client.resources import PODS


def manifest(image: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": image}]},
    }


async def test_priority_and_tolerations_that_admission_added_stay(client: Client) -> None:
    made = await client.create(PODS, manifest("one"))
    assert made["spec"]["priority"] == 0
    assert len(made["spec"]["tolerations"]) == 2
    await client.update(PODS, manifest("two"))
    found = await client.get(PODS, "p", "default")
    assert found["spec"]["containers"][0]["image"] == "two"
    for field in ("priority", "preemptionPolicy", "tolerations"):
        assert found["spec"][field] == made["spec"][field]


async def test_the_same_manifest_can_be_applied_again_with_another_image(client: Client) -> None:
    for image in ("one", "two"):
        await client.apply(PODS, manifest(image), field_manager="tester")
    assert (await client.get(PODS, "p", "default"))["spec"]["containers"][0]["image"] == "two"
