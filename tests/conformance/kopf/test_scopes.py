"""Where an operator looks: namespaces by name and by pattern, the whole cluster, and kinds that come and go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

from slipway.cluster.environment.test_cluster import TestCluster

LATECOMER = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: latecomers.conformance.example.com}
spec:
  group: conformance.example.com
  scope: Namespaced
  names: {plural: latecomers, singular: latecomer, kind: Latecomer}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
"""


def latecomer(name: str) -> dict[str, Any]:
    return {"apiVersion": "conformance.example.com/v1", "kind": "Latecomer", "metadata": {"name": name}}


def test_several_namespaces_are_watched_and_others_are_not(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    second, third = cluster.new_namespace(), cluster.new_namespace()
    with run("scopes", "--standalone", "-n", cluster.namespace, "-n", second) as operator:
        for namespace in (third, second, cluster.namespace):
            samples("one", namespace=namespace)
        operator.wait("created", namespace=second)
        operator.wait("created", namespace=cluster.namespace)
        assert operator.notes("created", namespace=third) == []


def test_a_pattern_takes_namespaces_that_come_later_but_for_the_excluded(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    pattern = f"{cluster.namespace}-*,!*-not"
    with run("scopes", "--standalone", "-n", pattern) as operator:
        excluded = cluster.new_namespace(f"{cluster.namespace}-not")
        later = cluster.new_namespace(f"{cluster.namespace}-later")
        for namespace in (cluster.namespace, excluded, later):
            samples("one", namespace=namespace)
        operator.wait("created", namespace=later)
        assert {note["namespace"] for note in operator.notes("created")} == {later}


def test_clusterwide_operators_see_namespaced_and_cluster_scoped_objects(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    second = cluster.new_namespace()
    with run("scopes", "--standalone", "--all-namespaces") as operator:
        samples("one", namespace=second)
        operator.wait("created", namespace=second)
        cluster.patch("namespaces", second, {"metadata": {"annotations": {"seen": "please"}}})
        operator.wait("namespace", name=second)


def test_a_definition_that_comes_later_is_served_and_may_leave_and_return(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("scopes", "--standalone", "-A") as operator:
        samples("beacon")
        operator.wait("created", name="beacon")
        cluster.apply(LATECOMER)
        cluster.apply(latecomer("one"))
        operator.wait("created", name="one", plural="latecomers")
        cluster.wait("latecomers", "one", lambda obj: obj["metadata"].get("finalizers"))
        cluster.delete("customresourcedefinitions", "latecomers.conformance.example.com")
        operator.wait("deleted", name="one")
        cluster.wait_gone("customresourcedefinitions", "latecomers.conformance.example.com")
        cluster.apply(yaml.safe_load(LATECOMER))
        cluster.apply(latecomer("two"))
        operator.wait("created", name="two")
