"""metrics.k8s.io, as `kubectl top` asks it: simulated pods use what their behaviour says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster import ClusterOptions, EmbeddedCluster
from slipway.cluster.client.client import Client
from slipway.cluster.client.resources import CLUSTER_ROLES, PODS, ApiResource
from slipway.cluster.environment.virtual_time import VirtualTimeLoop, run
from slipway.cluster.status import StatusError

NODE_METRICS = ApiResource("metrics.k8s.io", "v1beta1", "nodes", "NodeMetrics", False)
POD_METRICS = ApiResource("metrics.k8s.io", "v1beta1", "pods", "PodMetrics", True)
BEHAVIOURS = """
behaviours:
  - match: {name: busy}
    start: 0.2
    cpu: 0.25
    memory: 67108864
  - start: 0.2
    cpu: 0.05
    memory: 1048576
"""

Tell = Callable[[Callable[[Client], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def tell(tmp_path: Path) -> Tell:
    """Plays a story on a node that runs the pods `busy` and `calm`."""
    book = tmp_path / "behaviours.yaml"
    book.write_text(BEHAVIOURS)

    def play(story: Callable[[Client], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualTimeLoop)
            options = ClusterOptions(
                name="used", listen=False, tls=False, controllers=False, scheduler=False, seed=1,
                service_account_admission=False, behaviours=book,
            )  # fmt: skip
            async with EmbeddedCluster(options, loop.clock()) as cluster:
                client = cluster.client()
                for name in ("busy", "calm"):
                    spec = {"nodeName": "used-1", "containers": [{"name": "main", "image": "app:1"}]}
                    metadata = {"name": name, "namespace": "default", "labels": {"mood": name}}
                    await client.create(PODS, {"metadata": metadata, "spec": spec})
                await asyncio.sleep(10)
                await story(client)

        run(main())

    return play


def test_a_pod_uses_what_its_behaviour_says(tell: Tell) -> None:
    async def story(client: Client) -> None:
        found = await client.get(POD_METRICS, "busy", "default")
        assert found["containers"] == [{"name": "main", "usage": {"cpu": "250000000n", "memory": "65536Ki"}}]
        assert found["metadata"]["labels"] == {"mood": "busy"}
        assert found["timestamp"]

    tell(story)


def test_a_node_uses_what_its_pods_use_together(tell: Tell) -> None:
    async def story(client: Client) -> None:
        (node,) = (await client.list(NODE_METRICS))["items"]
        assert node["metadata"]["name"] == "used-1"
        assert node["usage"] == {"cpu": "300000000n", "memory": "66560Ki"}

    tell(story)


def test_pods_are_chosen_by_label_field_and_namespace(tell: Tell) -> None:
    async def story(client: Client) -> None:
        async def names(namespace: str = "", **selectors: str) -> list[str]:
            listed = await client.list(POD_METRICS, namespace, **selectors)
            return [item["metadata"]["name"] for item in listed["items"]]

        assert await names() == ["busy", "calm"]
        assert await names("default", label_selector="mood=calm") == ["calm"]
        assert await names(field_selector="metadata.name=busy") == ["busy"]
        assert await names("kube-system") == []

    tell(story)


def test_usage_is_an_average_since_the_sample_before(tell: Tell) -> None:
    async def story(client: Client) -> None:
        first = await client.get(POD_METRICS, "busy", "default")
        await asyncio.sleep(1)
        soon = await client.get(POD_METRICS, "busy", "default")
        assert soon["timestamp"] == first["timestamp"]
        await asyncio.sleep(59)
        later = await client.get(POD_METRICS, "busy", "default")
        assert later["window"] == "60.000s"

    tell(story)


def test_a_pod_that_does_not_run_has_no_metrics(tell: Tell) -> None:
    async def story(client: Client) -> None:
        with pytest.raises(StatusError, match=r'podmetrics.metrics.k8s.io "default/none" not found'):
            await client.get(POD_METRICS, "none", "default")

    tell(story)


def test_metrics_are_only_read(tell: Tell) -> None:
    async def story(client: Client) -> None:
        with pytest.raises(StatusError) as caught:
            await client.create(POD_METRICS, {"metadata": {"name": "made", "namespace": "default"}})
        assert caught.value.code == 405

    tell(story)


@pytest.mark.parametrize("role", ["view", "edit", "admin"])
async def test_who_may_view_a_namespace_may_see_what_its_pods_use(role: str) -> None:
    options = ClusterOptions(nodes=0, listen=False, tls=False, scheduler=False)
    async with EmbeddedCluster(options) as cluster:
        client = cluster.client()
        async with asyncio.timeout(60):
            while True:
                rules = (await client.get(CLUSTER_ROLES, role))["rules"] or []
                if any(rule["apiGroups"] == ["metrics.k8s.io"] for rule in rules):
                    break
                await asyncio.sleep(0.02)
        rbac = "rbac.authorization.k8s.io"
        binding = {
            "metadata": {"name": "jane", "namespace": "default"},
            "roleRef": {"kind": "ClusterRole", "name": role, "apiGroup": rbac},
            "subjects": [{"kind": "User", "name": "jane", "apiGroup": rbac}],
        }
        await client.create(ApiResource(rbac, "v1", "rolebindings", "RoleBinding"), binding)
        jane = cluster.client("jane", ())
        assert (await jane.list(POD_METRICS, "default"))["items"] == []
        with pytest.raises(StatusError, match="cannot list resource"):
            await jane.list(NODE_METRICS)
