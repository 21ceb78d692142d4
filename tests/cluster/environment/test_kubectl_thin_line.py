"""The thinnest line: a cluster started by the command line, spoken to by the real kubectl."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

KUBECTL = shutil.which("kubectl")
pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not on PATH (make tools builds it)")


def slipway(*words: str, home: Path) -> str:
    environment = {**os.environ, "SLIPWAY_HOME": str(home)}
    command = [sys.executable, "-m", "slipway.cli", *words]
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[str]:
    slipway("up", "--detach", "--runtime", "simulated", home=tmp_path)
    yield slipway("kubeconfig", "--path", home=tmp_path).strip()
    slipway("down", home=tmp_path)


def test_kubectl_applies_reads_and_deletes(kubeconfig: str, tmp_path: Path) -> None:
    def kubectl(*words: str, text: str = "") -> str:
        command = [str(KUBECTL), "--kubeconfig", kubeconfig, *words]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}}
    assert "created" in kubectl("apply", "-f", "-", "--validate=false", text=json.dumps(manifest))
    manifest["data"] = {"x": "2"}
    assert "configured" in kubectl("apply", "-f", "-", "--validate=false", text=json.dumps(manifest))
    assert json.loads(kubectl("get", "configmap", "a", "-o", "json"))["data"] == {"x": "2"}
    assert os.stat(kubeconfig).st_mode & 0o777 == 0o600
    kubectl("delete", "configmap", "a")
    names = [
        item["metadata"]["name"] for item in json.loads(kubectl("get", "configmaps", "-o", "json"))["items"]
    ]
    assert "a" not in names
