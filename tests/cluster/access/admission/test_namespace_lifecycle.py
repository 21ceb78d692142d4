"""What is created in a namespace whose own create is still under way. hikaru's suite makes both at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from slipway.cluster.access.admission.namespace_lifecycle import NamespaceLifecycle
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.creating import create
from slipway.cluster.registry.registry import Registry
from slipway.cluster.status import StatusError

NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "soon"}}
OBJECT = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "soon"}}


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    options = ClusterOptions(nodes=0, controllers=False, scheduler=False, listen=False, tls=False)
    async with EmbeddedCluster(options) as cluster:
        yield cluster.plane.registry


def creation(registry: Registry, plural: str, namespace: str) -> Call:
    return Call("create", registry.definitions.find("", "v1", plural).resource, namespace)


async def test_an_object_waits_for_a_namespace_that_comes_a_moment_later(registry: Registry) -> None:
    judge = NamespaceLifecycle(registry, patience=60)
    waiting = asyncio.create_task(judge.mutate(creation(registry, "configmaps", "soon"), OBJECT, None))
    await asyncio.sleep(0)
    assert not waiting.done()
    await create(registry, creation(registry, "namespaces", ""), NAMESPACE)
    assert await waiting == OBJECT


async def test_a_namespace_that_does_not_come_is_missing(registry: Registry) -> None:
    judge = NamespaceLifecycle(registry, patience=0)
    with pytest.raises(StatusError, match='namespaces "soon" not found'):
        await judge.mutate(creation(registry, "configmaps", "soon"), OBJECT, None)
