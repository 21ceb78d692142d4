"""A deleted CustomResourceDefinition takes its objects along, and waits for their finalizers."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from slipway.cluster.client.client import Client
from slipway.cluster.client.resources import CUSTOM_RESOURCE_DEFINITIONS, ApiResource
from slipway.cluster.clock import Clock
from slipway.cluster.status import StatusError

THINGS = ApiResource("x.io", "v1", "things", "Thing")
SCHEMA = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def definition(scope: str = "Namespaced") -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.x.io"},
        "spec": {
            "group": "x.io",
            "scope": scope,
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": SCHEMA}}
            ],
        },
    }


def thing(name: str, *finalizers: str) -> dict[str, Any]:
    return {
        "apiVersion": "x.io/v1",
        "kind": "Thing",
        "metadata": {"name": name, "finalizers": list(finalizers)},
    }


async def gone(client: Client) -> None:
    """Wait until the definition is gone."""
    async with asyncio.timeout(30):
        while (await client.list(CUSTOM_RESOURCE_DEFINITIONS))["items"]:
            await Clock().sleep(0.01)


async def test_a_definition_without_objects_goes_at_once(client: Client) -> None:
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    await client.delete(CUSTOM_RESOURCE_DEFINITIONS, "things.x.io")
    await gone(client)
    with pytest.raises(StatusError) as caught:
        await client.list(THINGS)
    assert caught.value.code == 404


async def test_conditions_that_others_wrote_do_not_hold_a_definition(client: Client) -> None:
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    status = {"status": {"conditions": [{"message": "updated"}]}}
    await client.patch(CUSTOM_RESOURCE_DEFINITIONS, "things.x.io", "", status, subresource="status")
    await client.delete(CUSTOM_RESOURCE_DEFINITIONS, "things.x.io")
    await gone(client)


async def test_objects_of_every_namespace_go_first(client: Client) -> None:
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    for namespace in ("default", "kube-system"):
        await client.create(THINGS, {**thing("a"), "metadata": {"name": "a", "namespace": namespace}})
    await client.delete(CUSTOM_RESOURCE_DEFINITIONS, "things.x.io")
    await gone(client)
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    assert (await client.list(THINGS))["items"] == []


async def test_objects_without_a_namespace_go_first(client: Client) -> None:
    things = ApiResource("x.io", "v1", "things", "Thing", False)
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition("Cluster"))
    await client.create(things, thing("a"))
    await client.delete(CUSTOM_RESOURCE_DEFINITIONS, "things.x.io")
    await gone(client)


async def test_finalizers_of_objects_hold_the_definition_and_say_so(client: Client) -> None:
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, definition())
    held = thing("held", "x.io/wait")
    held["metadata"]["namespace"] = "default"
    await client.create(THINGS, held)
    await client.delete(CUSTOM_RESOURCE_DEFINITIONS, "things.x.io")
    async with asyncio.timeout(30):
        while not (await client.get(THINGS, "held", "default"))["metadata"].get("deletionTimestamp"):
            await Clock().sleep(0.01)
    crd = await client.get(CUSTOM_RESOURCE_DEFINITIONS, "things.x.io")
    terminating = next(row for row in crd["status"]["conditions"] if row["type"] == "Terminating")
    assert (terminating["status"], terminating["reason"]) == ("True", "InstanceDeletionInProgress")
    with pytest.raises(StatusError) as caught:
        await client.create(THINGS, {**thing("late"), "metadata": {"name": "late", "namespace": "default"}})
    assert caught.value.code == 403
    assert "create not allowed while custom resource definition is terminating" in caught.value.message
    await client.patch(THINGS, "held", "default", {"metadata": {"finalizers": None}})
    await gone(client)
