"""What a cluster does not need in order to be ready waits until it is needed."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from slipway.cluster import ClusterOptions, EmbeddedCluster
from slipway.cluster.client.resources import DEPLOYMENTS, REPLICA_SETS

START = """
import sys
from slipway.cluster import Cluster
with Cluster(runtime="simulated"):
    print(*sys.modules)
"""
LATER = [
    "re2",
    "slipway.cluster.environment.dumping",
    "slipway.cluster.environment.importing",
    "slipway.cluster.nodes.namespaces.runtime",
    "slipway.cluster.nodes.pod_worker",
    "slipway.cluster.schema.cel",
    "slipway.cluster.server.tables",
    "slipway.cluster.store.journal",
    "sqlite3",
    "yaml",
]
OPTIONS = ClusterOptions(nodes=0, listen=False, tls=False)


def test_a_cluster_starts_without_what_its_first_requests_do_not_need() -> None:
    loaded = subprocess.run([sys.executable, "-c", START], capture_output=True, text=True, check=True)
    modules = set(loaded.stdout.split())
    assert "slipway.cluster.server.api" in modules
    assert [name for name in LATER if name in modules] == []


@pytest.mark.parametrize("collecting", [True, False])
async def test_the_garbage_collector_is_as_it_was_after_a_start(collecting: bool) -> None:
    before = gc.isenabled()
    (gc.enable if collecting else gc.disable)()
    try:
        async with EmbeddedCluster(OPTIONS):
            assert gc.isenabled() == collecting
    finally:
        (gc.enable if before else gc.disable)()


async def test_a_controller_can_be_switched_off_and_on_before_it_has_begun() -> None:
    pod = {"containers": [{"name": "c", "image": "busybox"}]}
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": pod}
    web = {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }
    async with EmbeddedCluster(OPTIONS) as cluster:
        await cluster.controllers.switch_off("deployment-controller")
        await cluster.controllers.switch_on("deployment-controller")
        client = cluster.client()
        await client.create(DEPLOYMENTS, web)
        async for event in client.watch(REPLICA_SETS, "default", resource_version="0"):
            if event.type == "ADDED":
                assert event.object["metadata"]["ownerReferences"][0]["name"] == "web"
                break
