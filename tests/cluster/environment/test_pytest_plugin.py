"""The `cluster` fixture, as an operator's author uses it."""

from __future__ import annotations

import ssl
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from slipway.cluster.environment.embedded import ClusterError
from slipway.cluster.environment.test_cluster import TestCluster
from slipway.cluster.faults import Faults, Refuse

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


def test_a_test_that_fails_shows_what_the_operator_said_and_whether_it_still_runs(
    cluster: TestCluster,
) -> None:
    dying = [sys.executable, "-c", "import sys; sys.exit('no such operator')"]
    with (
        pytest.raises(ClusterError, match=r"not as wanted within 0\.5 s") as caught,
        cluster.process(dying) as running,
    ):
        running.wait(30)
        cluster.wait("configmaps", "never", timeout=0.5)
    [note] = caught.value.__notes__
    assert "ended with 1, having said:\nno such operator" in note
    with pytest.raises(ClusterError, match="ended with 1"), cluster.process(dying) as running:
        running.wait(30)


def test_any_question_can_be_waited_for(cluster: TestCluster) -> None:
    answers = iter([0, 0, 7])
    assert cluster.until(lambda: next(answers)) == 7
    with pytest.raises(ClusterError, match="nothing true within 0 s; last answer: None"):
        cluster.until(lambda: None, timeout=0)


def test_fault_rules_end_with_their_test_and_spare_its_own_client(
    cluster: TestCluster, faults: Faults
) -> None:
    assert not faults.rules  # of the tests before
    rule = faults.add(Refuse(500))
    cluster.apply("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {a: '1'}")
    assert rule.count == 0
    request = urllib.request.Request(f"{cluster.embedded.url}/version", headers={"User-Agent": "somebody"})  # type: ignore[union-attr]
    context = ssl.create_default_context(cadata=cluster.embedded.embedded.ca.decode())  # type: ignore[union-attr]
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, context=context)
    assert caught.value.code == 500
    assert [hit.agent for hit in rule.hits] == ["somebody"]


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
