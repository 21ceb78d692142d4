"""Pods in a user namespace: what works without root, where the host reaches pods through the cluster's process."""

from __future__ import annotations

import asyncio
import errno
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.client.resources import CONFIG_MAPS, SERVICES
from slipway.cluster.nodes.runtimes import namespaces_possible

Pods = Any
pytestmark = pytest.mark.skipif(
    not namespaces_possible(), reason="this kernel allows no namespaces to this user"
)


async def test_the_host_reaches_a_pod_by_port_forward_and_node_port(rootless_pods: Pods) -> None:
    pods = rootless_pods
    await pods.create("web", {"image": "nginx"}, labels={"app": "web"})
    await pods.running("web")
    assert not list(Path("/sys/class/net").glob(f"{pods.cluster.nodes.runtime.bridge}*")), (
        "the host sees no bridge"
    )
    spec = {"type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80}]}
    service = await pods.client.create(
        SERVICES, {"metadata": {"name": "web", "namespace": "default"}, "spec": spec}
    )

    def get() -> bytes:
        port = service["spec"]["ports"][0]["nodePort"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=3) as answer:
            return bytes(answer.read())

    async with asyncio.timeout(30):
        while True:
            try:
                page = await asyncio.to_thread(get)
                break
            except OSError:
                await asyncio.sleep(0.05)
    assert b"Welcome to nginx!" in page
    connection = await pods.kubelet.port_forward("default", "web", 80)
    await connection.write(b"GET / HTTP/1.0\r\n\r\n")
    assert (await connection.read()).startswith(b"HTTP/1.1 200 OK")
    await connection.close()


async def test_a_pod_is_refused_by_a_service_that_nothing_stands_behind(rootless_pods: Pods) -> None:
    pods = rootless_pods
    spec = {"selector": {"app": "nobody"}, "ports": [{"port": 80}]}
    await pods.client.create(SERVICES, {"metadata": {"name": "empty", "namespace": "default"}, "spec": spec})
    connect = "import os, socket; print(socket.socket().connect_ex((os.environ['EMPTY_SERVICE_HOST'], 80)))"
    said = await pods.output("unseen", {"image": "python", "command": ["python3", "-c", connect]})
    assert int(said) == errno.ECONNREFUSED


async def test_pods_have_a_root_volumes_names_and_the_api(rootless_pods: Pods) -> None:
    pods = rootless_pods
    await pods.client.create(
        CONFIG_MAPS, {"metadata": {"name": "c", "namespace": "default"}, "data": {"colour": "green"}}
    )
    script = (
        "import os, ssl, urllib.request\n"
        "where = '/var/run/secrets/kubernetes.io/serviceaccount/'\n"
        "context = ssl.create_default_context(cafile=where + 'ca.crt')\n"
        "headers = {'Authorization': 'Bearer ' + open(where + 'token').read()}\n"
        "request = urllib.request.Request('https://kubernetes.default/version', headers=headers)\n"
        "print(os.getuid(), os.uname().nodename, open('/etc/conf/colour').read(),\n"
        "      urllib.request.urlopen(request, context=context).status)\n"
    )
    mounts = [{"name": "c", "mountPath": "/etc/conf"}, {"name": "d", "mountPath": "/data"}]
    container = {"image": "python", "command": ["python3", "-c", script], "volumeMounts": mounts}
    volumes = [{"name": "c", "configMap": {"name": "c"}}, {"name": "d", "emptyDir": {}}]
    assert await pods.output("all", container, volumes=volumes) == "0 all green 200\n"


async def test_a_container_is_the_user_it_asks_for_and_has_no_rights_beyond(rootless_pods: Pods) -> None:
    pods = rootless_pods
    script = (
        "id -u; id -g; touch /data/mine; stat -c '%u %g' /data/mine; grep CapEff /proc/self/status;"
        " if mount -t tmpfs none /tmp 2>/dev/null; then echo mounted; fi"
    )
    container = {
        "image": "busybox",
        "command": ["sh", "-c", script],
        "securityContext": {"runAsUser": 65532, "runAsGroup": 65533, "runAsNonRoot": True},
        "volumeMounts": [{"name": "d", "mountPath": "/data"}],
    }
    said = await pods.output("user", container, volumes=[{"name": "d", "emptyDir": {}}])
    assert said.split() == ["65532", "65533", "65532", "65533", "CapEff:", "0000000000000000"]
    await pods.create("long", {**container, "command": ["sleep", "1000"], "volumeMounts": []})
    await pods.running("long")
    assert await pods.run("long", "id", "-u") == (0, "65532\n")
