"""Credentials of every kind, start-up and clean-up, watches that the server ends, an operator as a pod."""

from __future__ import annotations

import base64
import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway.cluster.environment.test_cluster import TestCluster
from slipway.cluster.nodes.runtimes import best_runtime

OPERATORS = Path(__file__).parent / "operators"
OPERATOR_ROLE = [
    {
        "apiGroups": ["conformance.example.com"],
        "resources": ["*"],
        "verbs": ["list", "watch", "patch", "get"],
    },
    {
        "apiGroups": ["apiextensions.k8s.io"],
        "resources": ["customresourcedefinitions"],
        "verbs": ["list", "watch"],
    },
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]},
    {"apiGroups": [""], "resources": ["events"], "verbs": ["create"]},
]


def let_in(cluster: TestCluster, name: str) -> None:
    """A service account that may do what kopf's documentation asks for, and no more."""
    role = f"{cluster.namespace}-{name}"
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": cluster.namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role}
    cluster.apply(
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}},
        {**rbac, "kind": "ClusterRole", "metadata": {"name": role}, "rules": OPERATOR_ROLE},
        {
            **rbac,
            "kind": "ClusterRoleBinding",
            "metadata": {"name": role},
            "subjects": [subject],
            "roleRef": reference,
        },
    )


@pytest.mark.parametrize("login", ["", "kubeconfig", "session"])
def test_credentials_from_the_kubeconfig(
    cluster: TestCluster, run: Any, samples: Callable[..., Any], login: str
) -> None:
    with run("entering", LOGIN=login) as operator:
        samples("one")
        operator.wait("created")
        if login == "kubeconfig":
            assert [note["retry"] for note in operator.notes("login")] == [0, 1]
        assert [note["retry"] for note in operator.notes("startup")] == [0, 1]
        operator.stop()
        assert operator.wait("cleanup")["startups"] == 1


def test_a_token_with_just_the_rights_it_needs(
    cluster: TestCluster, run: Any, samples: Callable[..., Any], tmp_path: Path
) -> None:
    let_in(cluster, "operator")
    document = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]
    authority = tmp_path / "ca.pem"
    authority.write_bytes(base64.b64decode(document["certificate-authority-data"]))
    path = f"/api/v1/namespaces/{cluster.namespace}/serviceaccounts/operator/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = cluster.request(
        "POST", path, headers={"content-type": "application/json"}, body=json.dumps(request).encode()
    )
    assert isinstance(answer.body, bytes)
    token = json.loads(answer.body)["status"]["token"]
    with run(
        "entering", LOGIN="token", SERVER=document["server"], CA=str(authority), TOKEN=token
    ) as operator:
        samples("one")
        operator.wait("created")
        assert "403" not in operator.log


def test_watches_go_on_when_the_server_has_ended_them(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("entering") as operator:
        samples("before")
        operator.wait("created", name="before")
        time.sleep(2.5)  # longer than the watches' timeoutSeconds
        samples("after")
        operator.wait("created", name="after")
        assert len(operator.notes("created")) == 2


@pytest.mark.cluster(runtime="auto")
def test_an_operator_runs_as_a_pod_with_its_service_account(
    cluster: TestCluster, samples: Callable[..., Any], tmp_path: Path
) -> None:
    if best_runtime() == "process":
        pytest.skip("pods without namespaces have no in-cluster credentials: no namespaces on this machine")
    let_in(cluster, "operator")
    folder = tmp_path / "operator"
    shutil.copytree(OPERATORS, folder)
    command = [
        sys.executable,
        "-m",
        "kopf",
        "run",
        "--standalone",
        "-n",
        cluster.namespace,
        str(folder / "entering.py"),
    ]
    container = {
        "name": "main",
        "image": "python",
        "command": command,
        "env": [
            {"name": "JOURNAL", "value": "/tmp/journal"},
            {"name": "LOGIN", "value": "service account"},
        ],
        "volumeMounts": [{"name": "code", "mountPath": str(folder)}],
    }
    volumes = [{"name": "code", "hostPath": {"path": str(folder)}}]
    spec = {
        "serviceAccountName": "operator",
        "containers": [container],
        "volumes": volumes,
        "terminationGracePeriodSeconds": 5,
    }
    cluster.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "operator"}, "spec": spec})
    samples("one")
    handled = "kopf.zalando.org/last-handled-configuration"
    try:
        cluster.wait("samples", "one", lambda obj: handled in obj["metadata"].get("annotations", {}))
    finally:
        log = cluster.request("GET", f"/api/v1/namespaces/{cluster.namespace}/pods/operator/log")
        print(log.body)
