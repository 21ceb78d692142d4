"""Pods that really run, as plain processes: create, crash, restart, log, exec, delete."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster import ClusterOptions, EmbeddedCluster
from slipway.cluster.client.client import Client
from slipway.cluster.client.resources import CONFIG_MAPS, EVENTS, PODS, SERVICES
from slipway.cluster.kubelet import LogOptions
from slipway.cluster.status import StatusError

NODE = "pods-1"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[EmbeddedCluster]:
    options = ClusterOptions(name="pods", nodes=1, runtime="process", data=tmp_path)
    async with EmbeddedCluster(options) as cluster:
        yield cluster


def pod(name: str, script: str, **more: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "python", "command": [sys.executable, "-u", "-c", script]}
    container.update(more.pop("container", {}))
    spec = {"nodeName": NODE, "containers": [container], "terminationGracePeriodSeconds": 2, **more}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


async def until(client: Client, name: str, wanted: Any, seconds: float = 60) -> dict[str, Any]:
    """The pod's status as soon as `wanted(status)` holds."""
    async with asyncio.timeout(seconds):
        while True:
            status = (await client.get(PODS, name, "default"))["status"]
            if wanted(status):
                return dict(status)
            await asyncio.sleep(0.05)


def first(status: dict[str, Any]) -> dict[str, Any]:
    return dict((status.get("containerStatuses") or [{}])[0])


async def test_a_pod_that_ends_well_succeeds_and_keeps_its_log(cluster: EmbeddedCluster) -> None:
    client = cluster.client()
    await client.create(PODS, pod("one", "print('hello'); print('again')", restartPolicy="Never"))
    status = await until(client, "one", lambda s: s.get("phase") == "Succeeded")
    assert first(status)["state"]["terminated"]["reason"] == "Completed"
    log = cluster.kubelets[NODE].logs("default", "one", "main", LogOptions())
    assert b"".join([chunk async for chunk in log]) == b"hello\nagain\n"


async def test_a_crash_is_restarted_at_once_and_then_held_back(cluster: EmbeddedCluster) -> None:
    client = cluster.client()
    await client.create(PODS, pod("crash", "import sys; print('boom'); sys.exit(3)"))
    status = await until(
        client,
        "crash",
        lambda s: first(s).get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff",
    )
    container = first(status)
    assert container["restartCount"] == 1
    assert container["lastState"]["terminated"]["exitCode"] == 3
    assert "back-off 10s restarting failed container=main" in container["state"]["waiting"]["message"]
    previous = cluster.kubelets[NODE].logs("default", "crash", "main", LogOptions())
    assert b"".join([chunk async for chunk in previous]) == b"boom\n"
    await client.delete(PODS, "crash", "default")


async def test_deletion_asks_first_and_then_insists(cluster: EmbeddedCluster) -> None:
    client = cluster.client()
    script = (
        "import signal,time; signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True));"
        "print('up', flush=True)\nwhile True: time.sleep(60)"
    )
    await client.create(PODS, pod("stubborn", script, terminationGracePeriodSeconds=5))
    await until(client, "stubborn", lambda s: s.get("phase") == "Running")
    said = cluster.kubelets[NODE].logs("default", "stubborn", "main", LogOptions(follow=True))
    assert await anext(said) == b"up\n"
    deleted = await client.delete(PODS, "stubborn", "default")
    assert deleted["metadata"]["deletionGracePeriodSeconds"] == 5
    assert b"".join([chunk async for chunk in said]) == b"asked\n"
    async with asyncio.timeout(30):
        with pytest.raises(StatusError) as caught:
            while True:
                await client.get(PODS, "stubborn", "default")
                await asyncio.sleep(0.05)
    assert caught.value.code == 404


async def test_exec_runs_beside_the_container_and_tells_its_exit_code(cluster: EmbeddedCluster) -> None:
    client = cluster.client()
    await client.create(PODS, pod("target", "import time; time.sleep(60)"))
    await until(client, "target", lambda s: s.get("phase") == "Running")
    session = await cluster.kubelets[NODE].exec(
        "default", "target", "main", ["sh", "-c", "cat; echo oops >&2; exit 7"], stdin=True, tty=False
    )
    await session.write_stdin(b"from outside\n")
    await session.close_stdin()
    assert b"".join([chunk async for chunk in session.stdout()]) == b"from outside\n"
    assert b"".join([chunk async for chunk in session.stderr()]) == b"oops\n"
    assert await session.wait() == 7


async def test_variables_come_from_everywhere(cluster: EmbeddedCluster) -> None:
    client = cluster.client()
    await client.create(
        CONFIG_MAPS, {"metadata": {"name": "settings", "namespace": "default"}, "data": {"COLOUR": "green"}}
    )
    container = {
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "settings"}}],
        "env": [
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "BOTH", "value": "$(NAME)-$(P_COLOUR)-$(UNKNOWN)-$$(NAME)"},
        ],
    }
    script = "import os; print(os.environ['BOTH'], os.environ['KUBERNETES_SERVICE_HOST'])"
    await client.create(PODS, pod("vars", script, container=container, restartPolicy="Never"))
    await until(client, "vars", lambda s: s.get("phase") == "Succeeded")
    log = cluster.kubelets[NODE].logs("default", "vars", "main", LogOptions())
    text = b"".join([chunk async for chunk in log]).decode()
    service = (await client.get(SERVICES, "kubernetes", "default"))["spec"]["clusterIP"]
    assert text == f"vars-green-$(UNKNOWN)-$(NAME) {service}\n"


async def test_an_image_that_nobody_declared_fails_as_a_pull_does(cluster: EmbeddedCluster) -> None:
    client = cluster.client()
    await client.create(PODS, pod("nowhere", "", container={"image": "example.com/none:1"}))
    await until(
        client,
        "nowhere",
        lambda s: first(s).get("state", {}).get("waiting", {}).get("reason") == "ImagePullBackOff",
    )
    async with asyncio.timeout(30):
        while True:
            events = (await client.list(EVENTS, "default"))["items"]
            if any("slipway images add" in event["message"] for event in events):
                break
            await asyncio.sleep(0.05)


async def test_init_containers_run_first_and_in_order(cluster: EmbeddedCluster) -> None:
    client = cluster.client()
    shared = {"name": "shared", "mountPath": "/slipway-test-unused"}

    def step(name: str) -> dict[str, Any]:
        script = f"import os; open('/slipway-test-unused/order', 'a').write('{name} ')"
        return {
            "name": name,
            "image": "python",
            "command": [sys.executable, "-c", script],
            "volumeMounts": [shared],
        }

    spec = pod(
        "steps",
        "import os; print(open('/slipway-test-unused/order').read())",
        container={"volumeMounts": [shared]},
        initContainers=[step("first"), step("second")],
        volumes=[{"name": "shared", "emptyDir": {}}],
        restartPolicy="Never",
    )
    await client.create(PODS, spec)
    await until(client, "steps", lambda s: s.get("phase") == "Succeeded")
    log = cluster.kubelets[NODE].logs("default", "steps", "main", LogOptions())
    assert b"".join([chunk async for chunk in log]) == b"first second \n"


async def test_readiness_follows_the_probe(cluster: EmbeddedCluster, tmp_path: Path) -> None:
    client = cluster.client()
    flag = tmp_path / "ready"
    probe = {"exec": {"command": ["test", "-e", str(flag)]}, "periodSeconds": 1}
    await client.create(
        PODS, pod("probed", "import time; time.sleep(60)", container={"readinessProbe": probe})
    )
    status = await until(client, "probed", lambda s: s.get("phase") == "Running")
    assert first(status)["ready"] is False
    flag.touch()
    status = await until(client, "probed", lambda s: first(s).get("ready") is True)
    ready = next(c for c in status["conditions"] if c["type"] == "Ready")
    assert ready["status"] == "True"
