"""HorizontalPodAutoscalers in both versions: what a real 1.37 server answers, and nothing lost between them."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Identity, Peer, Request
from slipway.cluster.registry.autoscaler_versions import METRICS, from_v1, to_v1

Object = dict[str, Any]
ADMIN = Peer("127.0.0.1", identity=Identity("admin", ("system:masters",)))
TARGET = {"kind": "Deployment", "name": "a", "apiVersion": "apps/v1"}


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    options = ClusterOptions(nodes=0, controllers=False, scheduler=False, listen=False, tls=False)
    async with EmbeddedCluster(options) as running:
        yield running


async def ask(
    cluster: EmbeddedCluster, method: str, version: str, name: str, body: Object | None = None
) -> Object:
    path = f"/apis/autoscaling/{version}/namespaces/default/horizontalpodautoscalers"
    path += f"/{name}" if method != "POST" else ""
    data = b"" if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"}
    response = await cluster.plane.api.handle(Request(method, path, "", headers, data, ADMIN))
    assert isinstance(response.body, bytes)
    assert response.status < 300, response.body
    answer: Object = json.loads(response.body)
    return answer


def autoscaler(version: str, **spec: Any) -> Object:
    return {
        "apiVersion": f"autoscaling/{version}",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "x"},
        "spec": {"maxReplicas": 3, "scaleTargetRef": TARGET, **spec},
    }


async def test_a_new_autoscaler_of_v1_is_answered_as_a_real_server_does(cluster: EmbeddedCluster) -> None:
    made = await ask(cluster, "POST", "v1", "x", autoscaler("v1"))
    assert made["metadata"]["generation"] == 1
    assert made["spec"] == {
        "scaleTargetRef": TARGET,
        "minReplicas": 1,
        "maxReplicas": 3,
        "targetCPUUtilizationPercentage": 80,
    }
    assert made["status"] == {"currentReplicas": 0, "desiredReplicas": 0}
    (entry,) = made["metadata"]["managedFields"]
    assert set(entry["fieldsV1"]["f:spec"]) == {
        "f:maxReplicas",
        "f:minReplicas",
        "f:scaleTargetRef",
        "f:targetCPUUtilizationPercentage",
    }
    newer = await ask(cluster, "GET", "v2", "x")
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    assert newer["spec"]["metrics"] == [{"type": "Resource", "resource": cpu}]
    assert newer["status"] == {"desiredReplicas": 0, "currentMetrics": None}


async def test_what_v1_does_not_know_survives_a_client_of_v1(cluster: EmbeddedCluster) -> None:
    metrics = [
        {
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
        },
        {
            "type": "Pods",
            "pods": {"metric": {"name": "q"}, "target": {"type": "AverageValue", "averageValue": "1k"}},
        },
    ]
    await ask(cluster, "POST", "v2", "x", autoscaler("v2", metrics=metrics))
    older = await ask(cluster, "GET", "v1", "x")
    assert older["spec"]["targetCPUUtilizationPercentage"] == 50
    assert json.loads(older["metadata"]["annotations"][METRICS]) == [
        {"type": "Pods", "pods": {"metricName": "q", "targetAverageValue": "1k"}}
    ]
    older["spec"]["maxReplicas"] = 9
    await ask(cluster, "PUT", "v1", "x", older)
    newer = await ask(cluster, "GET", "v2", "x")
    assert newer["spec"]["maxReplicas"] == 9
    assert sorted(newer["spec"]["metrics"], key=lambda metric: metric["type"], reverse=True) == metrics
    assert METRICS not in newer["metadata"].get("annotations", {})


OTHERS = [
    {
        "type": "Object",
        "object": {
            "metric": {"name": "hits", "selector": {"matchLabels": {"a": "b"}}},
            "describedObject": {"kind": "Ingress", "name": "i", "apiVersion": "networking.k8s.io/v1"},
            "target": {"type": "Value", "value": "10"},
        },
    },
    {
        "type": "External",
        "external": {
            "metric": {"name": "queue", "selector": {"matchLabels": {"a": "b"}}},
            "target": {"type": "AverageValue", "averageValue": "3"},
        },
    },
    {
        "type": "ContainerResource",
        "containerResource": {
            "name": "cpu",
            "container": "app",
            "target": {"type": "Utilization", "averageUtilization": 70},
        },
    },
    {
        "type": "Resource",
        "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}},
    },
]


@pytest.mark.parametrize("metric", OTHERS, ids=lambda metric: str(metric["type"]))
def test_every_source_of_a_metric_comes_back_as_it_was(metric: Object) -> None:
    stored = autoscaler("v2", metrics=[metric], behavior={"scaleDown": {"selectPolicy": "Disabled"}})
    stored["status"] = {
        "desiredReplicas": 2,
        "currentReplicas": 1,
        "currentMetrics": None,
        "conditions": [{"type": "AbleToScale", "status": "True"}],
    }
    before = copy.deepcopy(stored)
    back = from_v1(to_v1(stored))
    assert stored == before, "what is stored is not touched"
    assert back["spec"] == stored["spec"]
    assert back["status"] == stored["status"]
    assert back["metadata"] == stored["metadata"]
