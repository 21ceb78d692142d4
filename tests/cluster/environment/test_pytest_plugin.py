"""The `cluster` fixture, as an operator's author uses it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from slipway.cluster.environment.test_cluster import TestCluster

EXAMPLES = Path(__file__).parents[3] / "docs" / "examples"
CRD = EXAMPLES / "greeting-crd.yaml"
# The operator that docs/how-to/test-an-operator.md shows.
OPERATOR = EXAMPLES / "greeter.py"


def test_a_twenty_line_kopf_operator_is_tested_in_ten(cluster: TestCluster) -> None:
    cluster.apply(CRD)
    command = [sys.executable, "-m", "kopf", "run", str(OPERATOR), "-n", cluster.namespace]
    with cluster.process(command):
        cluster.apply(
            {
                "apiVersion": "docs.example.com/v1",
                "kind": "Greeting",
                "metadata": {"name": "first", "namespace": cluster.namespace},
                "spec": {"name": "Ada"},
            }
        )
        made = cluster.wait("configmaps", "first-greeting", lambda obj: obj["data"].get("text"))
        assert made["data"]["text"] == "Hello, Ada!"
        cluster.kubectl("delete", "greeting", "first")
        cluster.wait_gone("configmaps", "first-greeting")


def test_every_test_has_a_namespace_of_its_own(cluster: TestCluster) -> None:
    found = cluster.get("configmaps", "first-greeting")
    assert found is None
    assert cluster.namespace.startswith("test-")


@pytest.mark.cluster(nodes=0, virtual_time=True)
def test_an_own_cluster_can_have_its_time_advanced(cluster: TestCluster) -> None:
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "slow", "namespace": cluster.namespace},
        "spec": {
            "activeDeadlineSeconds": 3600,
            "template": {
                "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "busybox"}]}
            },
        },
    }
    cluster.apply(job)
    cluster.advance(3000)
    assert not (cluster.get("job", "slow") or {}).get("status", {}).get("failed")
    cluster.advance(700)
    cluster.wait(
        "job",
        "slow",
        lambda obj: any(
            condition["type"] == "Failed" and condition["reason"] == "DeadlineExceeded"
            for condition in obj.get("status", {}).get("conditions", [])
        ),
    )
