"""The Helm chart with the real helm: every value, names, roles, network rules."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kco.settings import PREFIX, Settings
from operator_kit.settings import load

CHART = Path(__file__).resolve().parent.parent / "chart"
HELM = shutil.which("helm")
pytestmark = pytest.mark.skipif(HELM is None, reason="helm is missing: `make tools` builds it")


def helm(*words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run([str(HELM), *words], capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def render(tmp_path: Path, **values: Any) -> list[dict[str, Any]]:
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    text = helm("template", "r", str(CHART), "-n", "home", "--kube-version", "1.37.0", "-f", str(path)).stdout
    return [body for body in yaml.safe_load_all(text) if body]


def one(bodies: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    return next(body for body in bodies if body["kind"] == kind)


def test_61_the_chart_passes_helm_lint() -> None:
    assert "0 chart(s) failed" in helm("lint", str(CHART)).stdout


TOGGLES: list[dict[str, Any]] = [
    {},
    {"replicaCount": 3},
    {"namespaceOverride": "other"},
    {"watchNamespace": "apps"},
    {"actions": dict.fromkeys(("restart_pod", "scale_deployment", "patch_resource", "exec_command"), True)},
    {"actions": {"webhook": False}},
    {"rbac": {"create": False}},
    {"rbac": {"impersonation": True, "secrets": False, "extraRules": [{"apiGroups": ["x"], "resources": ["y"], "verbs": ["get"]}]}},
    {"serviceAccount": {"create": False, "name": "mine"}},
    {"serviceAccount": {"annotations": {"a": "b"}}},
    {"serviceMonitor": {"enabled": True, "labels": {"a": "b"}, "namespace": "monitoring"}},
    {"networkPolicy": {"enabled": True, "extraEgress": [{"ports": [{"port": 9}]}]}},
    {"config": {"METRICS_PORT": "9090"}, "extraConfig": {"SHARING": "shares"}, "configSecret": "s"},
    {"env": [{"name": "A", "value": "b"}], "extraVolumes": [{"name": "v", "emptyDir": {}}], "extraVolumeMounts": [{"name": "v", "mountPath": "/v"}]},
    {"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}], "affinity": {"nodeAffinity": {}}, "priorityClassName": "p"},
    {"podAnnotations": {"a": "b"}, "podLabels": {"c": "d"}, "imagePullSecrets": [{"name": "s"}], "image": {"command": ["x"], "tag": "t"}},
]  # fmt: skip


@pytest.mark.parametrize("values", TOGGLES, ids=lambda values: ",".join(values) or "defaults")
def test_61_every_value_renders(tmp_path: Path, values: dict[str, Any]) -> None:
    bodies = render(tmp_path, **values)
    names = [(body["kind"], body["metadata"]["name"], body["metadata"].get("namespace")) for body in bodies]
    assert len(names) == len(set(names))
    assert {"Deployment", "ConfigMap", "Service"} <= {body["kind"] for body in bodies}


def test_61_the_namespace_is_the_same_everywhere(tmp_path: Path) -> None:
    bodies = render(tmp_path, namespaceOverride="other", replicaCount=2, networkPolicy={"enabled": True})
    cluster_wide = ("ClusterRole", "ClusterRoleBinding")
    assert {body["metadata"].get("namespace") for body in bodies if body["kind"] not in cluster_wide} == {
        "other"
    }
    assert one(bodies, "ClusterRoleBinding")["subjects"][0]["namespace"] == "other"


def test_61_a_wrong_value_is_refused_by_the_schema(tmp_path: Path) -> None:
    for wrong in ("replicaCount=many", "actions.restart_pods=true", "image.pullPolicy=Sometimes"):
        done = helm("template", "r", str(CHART), "--kube-version", "1.37.0", "--set", wrong, check=False)
        assert done.returncode != 0
        assert "schema" in done.stderr


def test_61_a_disruption_budget_comes_only_with_replicas(tmp_path: Path) -> None:
    assert not any(body["kind"] == "PodDisruptionBudget" for body in render(tmp_path))
    assert any(body["kind"] == "PodDisruptionBudget" for body in render(tmp_path, replicaCount=2))


def test_61_the_network_policy_allows_what_the_operator_needs(tmp_path: Path) -> None:
    policy = one(render(tmp_path, networkPolicy={"enabled": True}), "NetworkPolicy")["spec"]
    outwards = {(port["protocol"], port["port"]) for rule in policy["egress"] for port in rule["ports"]}
    assert {("UDP", 53), ("TCP", 53), ("TCP", 443), ("TCP", 6443), ("TCP", 8080)} <= outwards
    inwards = {(port["protocol"], port["port"]) for rule in policy["ingress"] for port in rule["ports"]}
    assert inwards == {("TCP", 8080), ("TCP", 8081)}


def test_61_crds_survive_because_they_are_no_templates(tmp_path: Path) -> None:
    assert not any(body["kind"] == "CustomResourceDefinition" for body in render(tmp_path))
    assert len(list((CHART / "crds").glob("*.yaml"))) == 2


def test_10_namespaced_mode_needs_roles_only(tmp_path: Path) -> None:
    kinds = {body["kind"] for body in render(tmp_path, watchNamespace="apps")}
    assert not kinds & {"ClusterRole", "ClusterRoleBinding"}
    assert "ClusterRole" in {body["kind"] for body in render(tmp_path)}


def granted(bodies: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {
        (verb, resource)
        for body in bodies
        if body["kind"] in ("ClusterRole", "Role")
        for rule in body["rules"]
        for verb in rule["verbs"]
        for resource in rule["resources"]
    }


def test_51_destructive_verbs_come_only_with_their_action(tmp_path: Path) -> None:
    quiet = granted(render(tmp_path))
    destructive = {
        ("delete", "pods"),
        ("create", "pods/eviction"),
        ("create", "pods/exec"),
        ("patch", "deployments/scale"),
    }
    assert not quiet & destructive
    loud = granted(
        render(tmp_path, actions={"restart_pod": True, "exec_command": True, "scale_deployment": True})
    )
    assert destructive <= loud
    assert ("patch", "deployments") not in granted(render(tmp_path, actions={"exec_command": True}))


def test_57_the_config_map_holds_valid_settings(tmp_path: Path) -> None:
    data = one(render(tmp_path, watchNamespace="apps"), "ConfigMap")["data"]
    settings = load(Settings, prefix=PREFIX, environment=data)
    assert settings.namespace == "apps"
    assert settings.enabled_actions == ("webhook",)
    assert all(name.removeprefix(PREFIX).lower() in Settings.model_fields for name in data)


def test_53_the_pod_is_unprivileged_on_a_read_only_root(tmp_path: Path) -> None:
    pod = one(render(tmp_path), "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 1000
    security = pod["containers"][0]["securityContext"]
    assert security == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
