"""Evictions through the API: what they leave in the pod for those who ask why it went."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from slipway.cluster.client.client import Client
from slipway.cluster.client.objects import condition_of
from slipway.cluster.client.resources import PODS
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.status import StatusError


@pytest.fixture
async def api() -> AsyncIterator[Client]:
    options = ClusterOptions(
        nodes=0,
        controllers=False,
        scheduler=False,
        listen=False,
        tls=False,
        service_account_admission=False,
    )
    async with EmbeddedCluster(options) as cluster:
        client = cluster.client()
        # On a node that nobody runs: it stays until somebody has stopped it.
        spec = {"nodeName": "away", "containers": [{"name": "c", "image": "i"}]}
        await client.create(PODS, {"metadata": {"name": "p", "namespace": "default"}, "spec": spec})
        yield client


async def evict(api: Client, **options: Any) -> None:
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": "p"},
        "deleteOptions": options,
    }
    await api.create(PODS, body, namespace="default", name="p", subresource="eviction")


async def test_an_evicted_pod_says_that_it_was_disrupted(api: Client) -> None:
    await evict(api)
    pod = await api.get(PODS, "p", "default")
    assert pod["metadata"]["deletionTimestamp"]
    condition = condition_of(pod, "DisruptionTarget")
    assert condition is not None
    assert (condition["status"], condition["reason"]) == ("True", "EvictionByEvictionAPI")
    assert condition["message"] == "Eviction API: evicting"


async def test_the_note_does_not_stand_in_the_way_of_the_callers_own_precondition(api: Client) -> None:
    version = (await api.get(PODS, "p", "default"))["metadata"]["resourceVersion"]
    with pytest.raises(StatusError, match="ResourceVersion in the precondition"):
        await evict(api, preconditions={"resourceVersion": "1"})
    assert condition_of(await api.get(PODS, "p", "default"), "DisruptionTarget") is None
    await evict(api, preconditions={"resourceVersion": version})
    assert (await api.get(PODS, "p", "default"))["metadata"]["deletionTimestamp"]


async def test_a_dry_run_leaves_no_note(api: Client) -> None:
    await evict(api, dryRun=["All"])
    assert condition_of(await api.get(PODS, "p", "default"), "DisruptionTarget") is None
