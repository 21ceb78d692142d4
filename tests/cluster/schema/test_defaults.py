"""Defaults of built-in kinds, held to what a real 1.37 server made of the same objects."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.schema.builtin import definitions
from slipway.cluster.schema.decoding import decode
from slipway.cluster.schema.defaults import apply_builtin_defaults
from slipway.cluster.schema.defaults_computed import COMPUTED, pull_policy

HERE = Path(__file__).parent
RECORDED = HERE.parent / "patching" / "data" / "apply-1.37.json.gz"
KINDS = {
    row["kind"]: row
    for row in json.loads(gzip.decompress(RECORDED.read_bytes()))["kinds"]
    if "schema" not in row
}
# What strategies and admission plug-ins add on create, which is not defaulting.
ADDED_LATER: dict[str, list[str]] = {
    "Service": ["spec.clusterIP", "spec.clusterIPs", "spec.ipFamilies", "spec.ipFamilyPolicy"],
    "Pod": ["spec.preemptionPolicy", "spec.priority", "spec.tolerations", "status.phase", "status.qosClass"],
    "DaemonSet": ["metadata.annotations"],
    "Job": ["metadata.labels", "spec.selector", "spec.template.metadata.labels"],
    "PersistentVolumeClaim": ["metadata.finalizers"],
    "PersistentVolume": ["metadata.finalizers", "status.lastPhaseTransitionTime"],
    "Namespace": ["spec.finalizers"],
    "Node": ["spec.taints"],
}
BY_SERVER = ["uid", "resourceVersion", "creationTimestamp", "managedFields", "generation", "namespace"]


def defaulted(body: Any, row: dict[str, Any]) -> dict[str, Any]:
    group, _, version = row["apiVersion"].rpartition("/")
    obj = decode(body, group, version, row["kind"]).obj
    apply_builtin_defaults(obj, group, version, row["kind"])
    return obj


def without(obj: dict[str, Any], paths: list[str]) -> dict[str, Any]:
    obj = json.loads(json.dumps(obj))
    for path in paths:
        *way, last = path.split(".")
        holder: Any = obj
        for name in way:
            holder = holder.get(name) or {}
        holder.pop(last, None)
    return obj


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_object_is_defaulted_as_a_real_server_does(kind: str) -> None:
    row = KINDS[kind]
    ignored = [*ADDED_LATER.get(kind, []), *(f"metadata.{name}" for name in BY_SERVER)]
    created = [step for step in row["steps"] if step["status"] == 201]
    assert created
    for step in created:
        assert without(defaulted(step["body"], row), ignored) == without(step["answer"], ignored)


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_real_server_stored_needs_no_more_defaults(kind: str) -> None:
    row = KINDS[kind]
    for step in row["steps"]:
        if step["status"] < 300:
            assert defaulted(step["answer"], row) == step["answer"]


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("busybox", "Always"),
        ("busybox:latest", "Always"),
        ("busybox:1.36", "IfNotPresent"),
        ("localhost:5000/team/app", "Always"),
        ("localhost:5000/team/app:v1", "IfNotPresent"),
        ("app@sha256:" + "a" * 64, "IfNotPresent"),
        ("app:latest@sha256:" + "a" * 64, "Always"),
        ("UPPER", "IfNotPresent"),
        ("", "IfNotPresent"),
    ],
)
def test_images_are_pulled_always_when_their_tag_is_latest(image: str, policy: str) -> None:
    assert pull_policy(image) == policy


def spec_of(kind: str, api_version: str, spec: dict[str, Any]) -> dict[str, Any]:
    row = {"apiVersion": api_version, "kind": kind}
    body = {"apiVersion": api_version, "kind": kind, "metadata": {"name": "x"}, "spec": spec}
    found: dict[str, Any] = defaulted(body, row)["spec"]
    return found


def test_strategies_other_than_rolling_get_no_rolling_parameters() -> None:
    assert spec_of("Deployment", "apps/v1", {"strategy": {"type": "Recreate"}})["strategy"] == {
        "type": "Recreate"
    }
    on_delete = spec_of("StatefulSet", "apps/v1", {"updateStrategy": {"type": "OnDelete"}})
    assert on_delete["updateStrategy"] == {"type": "OnDelete"}


def test_jobs_are_counted_once_unless_they_say_otherwise() -> None:
    once = spec_of("Job", "batch/v1", {})
    assert (once["completions"], once["parallelism"], once["backoffLimit"]) == (1, 1, 6)
    queue = spec_of("Job", "batch/v1", {"parallelism": 3})
    assert ("completions" in queue, queue["parallelism"]) == (False, 3)
    indexed = spec_of(
        "Job", "batch/v1", {"completions": 2, "backoffLimitPerIndex": 1, "podFailurePolicy": {"rules": []}}
    )
    assert (indexed["backoffLimit"], indexed["podReplacementPolicy"]) == (2147483647, "Failed")


def test_services_are_defaulted_by_type() -> None:
    node_port = spec_of("Service", "v1", {"type": "NodePort", "ports": [{"port": 80, "targetPort": "web"}]})
    assert node_port["externalTrafficPolicy"] == "Cluster"
    assert node_port["ports"] == [{"protocol": "TCP", "port": 80, "targetPort": "web"}]
    balancer = spec_of("Service", "v1", {"type": "LoadBalancer", "sessionAffinity": "ClientIP"})
    assert balancer["allocateLoadBalancerNodePorts"] is True
    assert balancer["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    external = spec_of("Service", "v1", {"type": "ExternalName", "externalName": "x.y"})
    assert "internalTrafficPolicy" not in external


def test_pods_of_the_host_network_publish_their_ports_and_claim_their_limits() -> None:
    spec = spec_of(
        "Pod",
        "v1",
        {
            "hostNetwork": True,
            "serviceAccount": "old",
            "terminationGracePeriodSeconds": -5,
            "containers": [
                {"name": "c", "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}}}
            ],
            "volumes": [{"name": "v"}, {"name": "h", "hostPath": {"path": "/x"}}],
        },
    )
    assert spec["serviceAccountName"] == "old"
    assert spec["terminationGracePeriodSeconds"] == 1
    assert spec["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP", "hostPort": 80}]
    assert spec["containers"][0]["resources"]["requests"] == {"cpu": "1"}
    assert spec["volumes"] == [
        {"name": "v", "emptyDir": {}},
        {"name": "h", "hostPath": {"path": "/x", "type": ""}},
    ]


def test_behaviour_of_autoscalers_is_filled_in_only_where_there_is_any() -> None:
    assert "behavior" not in spec_of("HorizontalPodAutoscaler", "autoscaling/v2", {"maxReplicas": 2})
    behaviour = spec_of(
        "HorizontalPodAutoscaler", "autoscaling/v2", {"maxReplicas": 2, "behavior": {"scaleDown": {}}}
    )["behavior"]
    assert behaviour["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert "stabilizationWindowSeconds" not in behaviour["scaleDown"]


def test_limit_ranges_of_containers_derive_defaults_from_limits() -> None:
    spec = spec_of(
        "LimitRange", "v1", {"limits": [{"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}}]}
    )
    assert spec["limits"][0]["default"] == {"cpu": "2"}
    assert spec["limits"][0]["defaultRequest"] == {"cpu": "2"}


def test_every_row_names_a_published_type_and_fields_that_it_has() -> None:
    table = json.loads((Path(pull_policy.__code__.co_filename).parent / "data" / "defaults.json").read_text())
    for name in [*table["types"], *COMPUTED]:
        assert name in definitions()
    for name, rows in table["types"].items():
        for row in rows:
            for path in [*row["set"], *row.get("when", {})]:
                assert_path(name, path.replace("?", "").split("."))


def assert_path(definition: str, path: list[str]) -> None:
    part = definitions()[definition]["properties"][path[0]]
    if len(path) > 1:
        assert_path(part["ref"], path[1:])
