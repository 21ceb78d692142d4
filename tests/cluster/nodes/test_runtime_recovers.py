"""The process that starts containers is killed: it is started again, and the pods with it."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.client.resources import EVENTS, NODES, SERVICES
from slipway.cluster.nodes.runtimes import namespaces_possible

Pods = Any


def shell(script: str, **more: Any) -> dict[str, Any]:
    return {"command": ["sh", "-c", script], **more}


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() != b""


async def ready(pods: Pods) -> dict[str, str]:
    node = await pods.client.get(NODES, pods.node)
    return next(dict(row) for row in node["status"]["conditions"] if row["type"] == "Ready")


async def reasons(pods: Pods, name: str) -> list[str]:
    return [reason for reason, _ in await pods.events(name)]


async def comes_back(pods: Pods, tmp_path: Path) -> None:
    runtime = pods.cluster.nodes.runtime
    first = shell(f"echo again >> {tmp_path}/inits", name="first")
    mounts = {"volumeMounts": [{"name": "host", "mountPath": str(tmp_path)}]}
    volumes = [{"name": "host", "hostPath": {"path": str(tmp_path)}}]
    (tmp_path / "inits").touch(mode=0o666)
    keep = {
        "restartPolicy": "Always",
        "volumes": volumes,
        "initContainers": [{"image": "busybox", **first, **mounts}],
    }
    await pods.create("kept", shell("sleep 1000 & wait", **mounts), **keep)
    await pods.create("once", {"command": ["sleep", "1000"]})
    for name in ("kept", "once"):
        await pods.running(name)
    before = await ready(pods)
    old = [runtime.spawner.pid, *(row.pid for row in runtime.containers.values())]
    os.kill(runtime.spawner.pid, signal.SIGKILL)
    status = await pods.until(
        "kept",
        lambda s: s["containerStatuses"][0]["restartCount"] == 1 and s["containerStatuses"][0]["ready"],
    )
    assert status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137
    assert (tmp_path / "inits").read_text() == "again\nagain\n"
    assert status["initContainerStatuses"][0]["restartCount"] == 1
    status = await pods.over("once")
    assert status["phase"] == "Failed"
    assert status["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
    assert not any(alive(pid) for pid in old)

    async def is_ready() -> bool:
        now = await ready(pods)
        return now["status"] == "True" and now["lastTransitionTime"] != before["lastTransitionTime"]

    await pods.comes_true(is_ready)

    async def told() -> bool:
        found = await pods.client.list(EVENTS, "default", field_selector=f"involvedObject.name={pods.node}")
        of_node = {event["reason"]: event["message"] for event in found["items"]}
        wanted = {"NodeNotReady", "NodeReady"}
        why = of_node.get("ContainerRuntimeDied", "")
        return (
            wanted <= set(of_node)
            and "it is started again in 1 s" in why
            and "SandboxChanged" in await reasons(pods, "kept")
        )

    await pods.comes_true(told)
    assert (await pods.run("kept", "echo", "well")) == (0, "well\n")


async def test_pods_come_back_when_the_process_that_starts_them_was_killed(
    namespace_pods: Pods, tmp_path: Path
) -> None:
    pods = namespace_pods
    ports = [{"port": 80, "targetPort": 80}]
    spec = {"selector": {"app": "web"}, "ports": ports}
    await pods.client.create(SERVICES, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
    await pods.create("web", {"image": "nginx"}, labels={"app": "web"}, restartPolicy="Always")
    await pods.ready("web")
    await comes_back(pods, tmp_path)
    await asks_by_name(pods)


@pytest.mark.skipif(not namespaces_possible(), reason="this kernel allows no namespaces to this user")
async def test_pods_and_their_network_come_back_without_root_too(rootless_pods: Pods, tmp_path: Path) -> None:
    pods = rootless_pods
    spec = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 80}]}
    await pods.client.create(SERVICES, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec})
    await pods.create("web", {"image": "nginx"}, labels={"app": "web"}, restartPolicy="Always")
    await pods.ready("web")
    await comes_back(pods, tmp_path)
    await asks_by_name(pods)


async def asks_by_name(pods: Pods) -> None:
    """The cluster's DNS and its Services lead to a pod again."""
    ask = (
        "import time, urllib.request\n"
        "for _ in range(600):\n"
        "    try:\n"
        "        print(urllib.request.urlopen('http://web.default', timeout=5).status); break\n"
        "    except OSError: time.sleep(0.1)\n"
    )
    assert await pods.output("asks", {"image": "python", "command": ["python3", "-c", ask]}) == "200\n"


async def test_plain_processes_come_back_and_none_of_the_old_ones_stays(
    process_pods: Pods, tmp_path: Path
) -> None:
    await comes_back(process_pods, tmp_path)
