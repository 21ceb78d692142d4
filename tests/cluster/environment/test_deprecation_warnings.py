"""Deprecated kinds warn on every request, as kubectl shows; a Node keeps the status it is created with."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from slipway.cluster.client.client import Client
from slipway.cluster.client.resources import CUSTOM_RESOURCE_DEFINITIONS, NODES
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Identity, Peer, Request

ADMIN = Peer(identity=Identity("admin", ("system:masters",)))


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    options = ClusterOptions(nodes=0, controllers=False, scheduler=False, listen=False)
    async with EmbeddedCluster(options) as running:
        yield running


async def warnings(cluster: EmbeddedCluster, path: str, method: str = "GET", body: Any = None) -> list[str]:
    content = b"" if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    response = await cluster.plane.api.handle(Request(method, path, "", headers, content, ADMIN))
    return response.warnings


async def test_deprecated_built_in_kinds_warn_even_when_nothing_is_found(cluster: EmbeddedCluster) -> None:
    text = '299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"'
    assert await warnings(cluster, "/api/v1/endpoints") == [text]
    assert await warnings(cluster, "/api/v1/namespaces/default/endpoints/nothing") == [text]
    assert await warnings(cluster, "/api/v1/pods") == []


async def test_deprecated_versions_of_custom_kinds_warn_once_on_every_request(
    cluster: EmbeddedCluster,
) -> None:
    client: Client = cluster.client()
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    await client.create(
        CUSTOM_RESOURCE_DEFINITIONS,
        {
            "metadata": {"name": "olds.x.io"},
            "spec": {
                "group": "x.io",
                "scope": "Namespaced",
                "names": {"plural": "olds", "kind": "Old"},
                "versions": [
                    {"name": "v1", "served": True, "storage": True, "schema": schema},
                    {
                        "name": "v1beta1",
                        "served": True,
                        "storage": False,
                        "deprecated": True,
                        "schema": schema,
                    },
                ],
            },
        },
    )
    text = '299 - "x.io/v1beta1 Old is deprecated; use x.io/v1 Old"'
    assert await warnings(cluster, "/apis/x.io/v1beta1/olds") == [text]
    old = {"apiVersion": "x.io/v1beta1", "kind": "Old", "metadata": {"name": "a"}}
    assert await warnings(cluster, "/apis/x.io/v1beta1/namespaces/default/olds", "POST", old) == [text]
    assert await warnings(cluster, "/apis/x.io/v1/olds") == []


async def test_a_node_keeps_the_status_that_it_is_created_with(cluster: EmbeddedCluster) -> None:
    client: Client = cluster.client()
    await client.create(NODES, {"metadata": {"name": "n"}, "status": {"capacity": {"memory": "1Gi"}}})
    assert (await client.get(NODES, "n"))["status"]["capacity"] == {"memory": "1Gi"}
