"""Pods that are given other resources while they run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.client.client import PatchType
from slipway.cluster.client.resources import PODS
from slipway.cluster.nodes.container_resize import needs_restart
from slipway.cluster.nodes.namespaces import cgroups

Pods = Any


def test_a_restart_is_needed_for_what_asks_for_one_and_changes() -> None:
    spec = {
        "resources": {"limits": {"memory": "2Mi", "cpu": "1"}},
        "resizePolicy": [{"resourceName": "memory", "restartPolicy": "RestartContainer"}],
    }
    assert needs_restart(spec, {"limits": {"memory": "1Mi", "cpu": "1"}})
    assert needs_restart(spec, {"limits": {"cpu": "1"}})
    assert not needs_restart(spec, {"limits": {"memory": "2Mi", "cpu": "2"}})
    assert not needs_restart({**spec, "resizePolicy": []}, {"limits": {"memory": "1Mi"}})


async def resized(pods: Pods, name: str, memory: str) -> None:
    body = {"spec": {"containers": [{"name": "main", "resources": {"limits": {"memory": memory}}}]}}
    await pods.client.patch(PODS, name, "default", body, PatchType.STRATEGIC, subresource="resize")


def limit_of(status: dict[str, Any]) -> int:
    """The bytes that the kernel lets the pod's first container have; 0 while it has no group."""
    id = status["containerStatuses"][0]["containerID"].partition("://")[2]
    for folder in Path(cgroups.home()).glob(f"slipway-*-{id[:12]}"):
        name = "memory.limit_in_bytes" if (folder / "memory.limit_in_bytes").exists() else "memory.max"
        return int((folder / name).read_text())
    return 0


async def test_a_container_gets_more_memory_in_place_or_by_a_restart(namespace_pods: Pods) -> None:
    if not cgroups.home():
        pytest.skip("needs a memory control group that this user may write")
    pods = namespace_pods
    resources = {"requests": {"memory": "32Mi"}, "limits": {"memory": "64Mi"}}
    container = {"command": ["sleep", "1000"], "resources": resources}
    by_restart = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
    await pods.create("grows", container, restartPolicy="Always")
    await pods.create("again", {**container, "resizePolicy": by_restart}, restartPolicy="Always")
    for name, restarts in (("grows", 0), ("again", 1)):
        assert limit_of(await pods.running(name)) == 64 << 20
        await resized(pods, name, "256Mi")
        status = await pods.until(
            name, lambda status: "containerStatuses" in status and limit_of(status) == 256 << 20
        )
        assert status["containerStatuses"][0]["restartCount"] == restarts
    assert ("Killing", "Container main resize requires restart") in await pods.events("again")
