"""Pods that name a RuntimeClass: refused without it, and given what it says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from slipway.cluster.client.client import Client
from slipway.cluster.client.resources import PODS, ApiResource
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.status import StatusError

RUNTIME_CLASSES = ApiResource("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", namespaced=False)
CLASS: dict[str, Any] = {
    "metadata": {"name": "boxed"},
    "handler": "box",
    "overhead": {"podFixed": {"cpu": "250m", "memory": "64Mi"}},
    "scheduling": {
        "nodeSelector": {"box": "yes"},
        "tolerations": [
            {"key": "box", "operator": "Exists"},
            {"key": "own", "operator": "Equal", "value": "x", "effect": "NoSchedule"},
        ],
    },
}


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
        await client.create(RUNTIME_CLASSES, CLASS)
        yield client


async def pod(api: Client, **spec: Any) -> dict[str, Any]:
    body = {
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i"}], **spec},
    }
    made: dict[str, Any] = (await api.create(PODS, body))["spec"]
    return made


async def test_a_pod_gets_what_its_class_says(api: Client) -> None:
    tolerations = [
        {"key": "box", "operator": "Equal", "value": "old", "effect": "NoSchedule"},
        {"key": "own", "operator": "Exists"},
    ]
    made = await pod(api, runtimeClassName="boxed", nodeSelector={"disk": "ssd"}, tolerations=tolerations)
    assert made["overhead"] == {"cpu": "250m", "memory": "64Mi"}
    assert made["nodeSelector"] == {"disk": "ssd", "box": "yes"}
    keys = [row["key"] for row in made["tolerations"] if not row["key"].startswith("node.kubernetes.io/")]
    assert keys == ["own", "box"], "what a wider toleration covers is dropped"


async def test_the_overhead_of_the_class_may_be_written_out(api: Client) -> None:
    made = await pod(api, runtimeClassName="boxed", overhead={"cpu": "0.25", "memory": "64Mi"})
    assert made["overhead"]["cpu"] == "250m"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"runtimeClassName": "gone"}, 'pod rejected: RuntimeClass "gone" not found'),
        (
            {"runtimeClassName": "boxed", "overhead": {"cpu": "1"}},
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            {"overhead": {"cpu": "1"}},
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            {"runtimeClassName": "boxed", "nodeSelector": {"box": "no"}},
            "conflict: runtimeClass.scheduling.nodeSelector[box] = yes; pod.spec.nodeSelector[box] = no",
        ),
    ],
)
async def test_a_pod_that_does_not_agree_with_a_class_is_forbidden(
    api: Client, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(StatusError) as refused:
        await pod(api, **spec)
    assert refused.value.code == 403
    assert refused.value.message == f'pods "p" is forbidden: {message}'
