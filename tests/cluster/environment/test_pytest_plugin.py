"""The `cluster` fixture, as an operator's author uses it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from slipway.cluster.environment.embedded import ClusterError
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
        cluster.delete("greeting", "first")
        cluster.wait_gone("configmaps", "first-greeting")


@pytest.mark.parametrize("attempt", [1, 2])
def test_a_definition_can_be_applied_in_every_test_though_an_operator_left_finalizers(
    cluster: TestCluster, attempt: int
) -> None:
    cluster.apply(CRD)
    greeting = {
        "apiVersion": "docs.example.com/v1",
        "kind": "Greeting",
        "metadata": {"name": "held", "finalizers": ["docs.example.com/nobody-is-left-to-remove-this"]},
        "spec": {"name": f"attempt {attempt}"},
    }
    cluster.apply(greeting)
    found = cluster.get("greeting", "held")
    assert found is not None
    assert found["spec"]["name"] == f"attempt {attempt}"


@pytest.mark.parametrize("word", ["configmaps", "configmap", "ConfigMap", "cm"])
def test_resources_go_by_the_names_that_kubectl_takes(cluster: TestCluster, word: str) -> None:
    cluster.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: '1'}")
    found = cluster.get(word, "settings")
    assert found is not None
    assert found["metadata"]["namespace"] == cluster.namespace


def test_a_resource_that_is_not_served_is_named_in_the_error(cluster: TestCluster) -> None:
    with pytest.raises(ClusterError, match=r"no resource 'widgets\.example\.com'.*CRD"):
        cluster.get("widgets.example.com", "one")


def test_everything_but_kubectl_works_where_there_is_no_kubectl(
    cluster: TestCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    second = cluster.new_namespace()
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": second},
    }
    cluster.apply({**settings, "data": {"a": "1", "b": "2"}})
    cluster.patch("cm", "settings", {"data": {"b": None}}, namespace=second)
    assert cluster.wait("cm", "settings", namespace=second)["data"] == {"a": "1"}
    cluster.delete("cm", "settings", namespace=second)
    cluster.wait_gone("cm", "settings", namespace=second)
    with pytest.raises(ClusterError, match="no kubectl on PATH"):
        cluster.kubectl("get", "nodes")


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
