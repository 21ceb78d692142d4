"""A cluster that is left, at whatever moment, leaves no task, thread, port or file behind, and says nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster import Cluster, ClusterOptions, EmbeddedCluster
from slipway.cluster.client.resources import DEPLOYMENTS, PODS
from slipway.cluster.status import StatusError

PROBED = {
    "name": "main",
    "image": "busybox",
    "command": ["sleep", "1000"],
    "readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1},
    "lifecycle": {"preStop": {"exec": {"command": ["sleep", "5"]}}},
}


def deployment(replicas: int) -> dict[str, Any]:
    labels = {"app": "many"}
    return {
        "metadata": {"name": "many", "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [PROBED]}},
        },
    }


async def turns(count: int) -> None:
    """Let the event loop go round that many times."""
    for _ in range(count):
        await asyncio.sleep(0)


@pytest.mark.parametrize("moment", [0, 5, 20, 40, 80, 160, 320])
async def test_a_cluster_that_stops_while_pods_come_and_go_leaves_no_task(
    moment: int, caplog: pytest.LogCaptureFixture
) -> None:
    before = asyncio.all_tasks()
    caplog.set_level(logging.WARNING)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with EmbeddedCluster(ClusterOptions(nodes=2, listen=False)) as cluster:
            client = cluster.client()
            await client.create(DEPLOYMENTS, deployment(8))
            await turns(moment)
            for pod in (await client.list(PODS, "default"))["items"][:4]:
                with contextlib.suppress(StatusError):
                    await client.delete(PODS, pod["metadata"]["name"], "default")
            await turns(moment // 2)
        assert asyncio.all_tasks() == before
        gc.collect()
    assert [str(warning.message) for warning in warned if "never awaited" in str(warning.message)] == []
    assert [record.getMessage() for record in caplog.records] == []


async def test_pods_that_are_gone_leave_no_task_on_their_node() -> None:
    options = ClusterOptions(nodes=1, listen=False, controllers=False, service_account_admission=False)
    async with EmbeddedCluster(options) as cluster, asyncio.timeout(60):
        client, (node,) = cluster.client(), cluster.nodes.settings.nodes
        spec = {"nodeName": node, "containers": [PROBED]}
        await client.create(PODS, {"metadata": {"name": "one", "namespace": "default"}, "spec": spec})
        while (await client.get(PODS, "one", "default"))["status"].get("phase") != "Running":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert of_pods()
        await client.delete(PODS, "one", "default", grace_period=0)
        while of_pods():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def of_pods() -> list[str]:
    """The tasks that look after pods and their containers."""
    running = [repr(task.get_coro()) for task in asyncio.all_tasks()]
    return [name for name in running if "PodWorker" in name or "ContainerProbes" in name]


def test_a_synchronous_cluster_leaves_no_thread_port_or_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(threading.enumerate())
    with Cluster() as cluster:
        port = cluster.embedded.port
        with contextlib.suppress(TimeoutError):
            cluster.run(asyncio.sleep(1000), timeout=0.01)  # somebody who gives up waiting
    gc.collect()
    assert set(threading.enumerate()) == before
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)
    assert list(tmp_path.iterdir()) == []
    assert [record.getMessage() for record in caplog.records] == []
