"""Real Helm: install, upgrade, rollback, uninstall of a chart with hooks and a CRD.

`HELM=PATH` says which, of the third or fourth version; else the one on PATH. What the fourth asks is also replayed
without it: recordings/1.37/helm_4.json.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from slipway.cluster.environment.test_cluster import TestCluster

HELM = os.environ.get("HELM") or shutil.which("helm")
CHART = Path(__file__).parent / "charts" / "counter"
pytestmark = pytest.mark.skipif(HELM is None, reason="helm is not on PATH (make tools builds it)")


def helm(cluster: TestCluster, *words: str) -> str:
    command = [str(HELM), "--kubeconfig", str(cluster.kubeconfig), "-n", cluster.namespace, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_chart_lives_its_whole_life(cluster: TestCluster) -> None:
    installed = json.loads(
        helm(cluster, "install", "one", str(CHART), "--wait", "--timeout=60s", "-o", "json")
    )
    assert installed["info"]["status"] == "deployed"
    before = cluster.get("configmap", "one-hook-pre-install")
    assert before is not None, "the pre-install hook ran and left its mark"
    deployment = cluster.get("deployment", "one-counter")
    assert deployment is not None
    assert deployment["status"]["readyReplicas"] == 1
    assert cluster.get("counters.charts.example.com", "one") is not None

    helm(cluster, "upgrade", "one", str(CHART), "--set", "replicas=2", "--wait", "--timeout=60s")
    upgraded = cluster.get("deployment", "one-counter")
    assert upgraded is not None
    assert upgraded["spec"]["replicas"] == 2
    helm(cluster, "rollback", "one", "1", "--wait", "--timeout=60s")
    history = json.loads(helm(cluster, "history", "one", "-o", "json"))
    assert [entry["status"] for entry in history] == ["superseded", "superseded", "deployed"]
    back = cluster.get("deployment", "one-counter")
    assert back is not None
    assert back["spec"]["replicas"] == 1

    assert "Succeeded" in helm(cluster, "test", "one")
    helm(cluster, "uninstall", "one", "--wait", "--timeout=60s")
    cluster.wait_gone("deployment", "one-counter")
    assert helm(cluster, "list", "-q") == ""


def test_a_chart_that_does_not_become_ready_fails_with_its_name(cluster: TestCluster) -> None:
    command = [str(HELM), "--kubeconfig", str(cluster.kubeconfig), "-n", cluster.namespace]
    command += ["install", "bad", str(CHART), "--set", "image=example.com/nowhere", "--wait", "--timeout=3s"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "deadline" in done.stderr or "not ready" in done.stderr or "timed out" in done.stderr
