"""`a_cluster(runtime)`: a cluster that runs pods, with free address ranges; `Pods` to create and watch them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster import ClusterOptions, EmbeddedCluster
from slipway.cluster.client.client import Client
from slipway.cluster.client.resources import EVENTS, PODS
from slipway.cluster.kubelet import Kubelet, LogOptions
from slipway.cluster.status import StatusError


class Pods:
    """Pods of the namespace `default` on a cluster's first node."""

    def __init__(self, cluster: EmbeddedCluster) -> None:
        self.cluster = cluster
        self.client: Client = cluster.client()
        self.node = f"{cluster.options.name}-1"

    @property
    def kubelet(self) -> Kubelet:
        return self.cluster.kubelets[self.node]

    async def create(self, name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
        rows = [{"name": "main", "image": "busybox", **container} for container in containers]
        labels = spec.pop("labels", {})
        body = {
            "metadata": {"name": name, "namespace": "default", "labels": labels},
            "spec": {
                "nodeName": self.node,
                "containers": rows,
                "terminationGracePeriodSeconds": 2,
                "restartPolicy": "Never",
                **spec,
            },
        }
        return await self.client.create(PODS, body)

    async def until(
        self, name: str, wanted: Callable[[dict[str, Any]], Any], seconds: float = 60
    ) -> dict[str, Any]:
        """The pod's status as soon as `wanted(status)` holds."""
        status: dict[str, Any] = {}
        try:
            async with asyncio.timeout(seconds):
                while True:
                    status = (await self.client.get(PODS, name, "default"))["status"]
                    if wanted(status):
                        return status
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{name}: {status} {await self.events(name)}") from None

    async def running(self, name: str) -> dict[str, Any]:
        return await self.until(name, lambda status: status["phase"] == "Running")

    async def ready(self, name: str) -> dict[str, Any]:
        return await self.until(name, lambda status: condition(status, "Ready") == "True")

    async def over(self, name: str) -> dict[str, Any]:
        return await self.until(name, lambda status: status["phase"] in ("Succeeded", "Failed"))

    async def comes_true(self, holds: Callable[[], Awaitable[Any]], seconds: float = 60) -> Any:
        """Ask again and again, until the answer is a true one; that."""
        async with asyncio.timeout(seconds):
            while True:
                if found := await holds():
                    return found
                await asyncio.sleep(0.02)

    async def logged(self, name: str, wanted: str, container: str = "main") -> str:
        """The container's log as soon as these words are in it."""

        async def text() -> str:
            found = await self.log(name, container)
            return found if wanted in found else ""

        found: str = await self.comes_true(text)
        return found

    async def log(self, name: str, container: str = "main", **options: Any) -> str:
        chunks = self.kubelet.logs("default", name, container, LogOptions(**options))
        return b"".join([chunk async for chunk in chunks]).decode()

    async def output(self, name: str, *containers: dict[str, Any], **spec: Any) -> str:
        """What a pod that ends by itself has said; it must end well."""
        await self.create(name, *containers, **spec)
        status = await self.over(name)
        text = await self.log(name)
        assert status["phase"] == "Succeeded", (status, text)
        return text

    async def run(self, name: str, *command: str, tty: bool = False) -> tuple[int, str]:
        """Exit code and output of an exec."""
        session = await self.kubelet.exec("default", name, "main", command, stdin=False, tty=tty)
        out = b"".join([data async for data in session.stdout()])
        return await session.wait(), out.decode()

    async def events(self, name: str) -> list[tuple[str, str]]:
        found = await self.client.list(EVENTS, "default", field_selector=f"involvedObject.name={name}")
        return [(event["reason"], event["message"]) for event in found["items"]]

    async def gone(self, name: str, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while True:
                try:
                    await self.client.get(PODS, name, "default")
                except StatusError as error:
                    if error.code != 404:
                        raise
                    return
                await asyncio.sleep(0.02)


def condition(status: dict[str, Any], kind: str) -> str:
    return next((row["status"] for row in status.get("conditions", ()) if row["type"] == kind), "")


AClusterFactory = Callable[..., AbstractAsyncContextManager[Pods]]


@pytest.fixture
def a_cluster(tmp_path: Path) -> AClusterFactory:
    @asynccontextmanager
    async def make(runtime: str, **more: Any) -> AsyncIterator[Pods]:
        options = ClusterOptions(
            name=f"t{os.getpid()}",
            runtime=runtime,
            data=tmp_path,
            **more,
        )
        async with EmbeddedCluster(options) as cluster:
            yield Pods(cluster)

    return make


@pytest.fixture
async def process_pods(a_cluster: AClusterFactory) -> AsyncIterator[Pods]:
    async with a_cluster("process") as pods:
        yield pods


@pytest.fixture
async def namespace_pods(a_cluster: AClusterFactory) -> AsyncIterator[Pods]:
    if os.geteuid() != 0:
        pytest.skip("needs root: makes a bridge in the host's network namespace")
    async with a_cluster("namespaces") as pods:
        yield pods


@pytest.fixture
async def rootless_pods(a_cluster: AClusterFactory) -> AsyncIterator[Pods]:
    async with a_cluster("rootless") as pods:
        yield pods
