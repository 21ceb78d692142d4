"""Scene one: a small application with a Service on three nodes; a node is drained and the application moves."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from typing import Any

from tests.demo.stage import SceneFailed, Stage

SERVER = """
import http.server, os
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ("hello from %s on %s\\n" % (os.environ["POD"], os.environ["NODE"])).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body)))
        self.end_headers(); self.wfile.write(body)
    def log_message(self, *words): pass
address = os.environ["ADDRESS"]  # pods without a network of their own share loopback: each has one address there
address = address if address.startswith("127.") else ""
http.server.ThreadingHTTPServer((address, 8080), Page).serve_forever()
"""


def _field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def manifests() -> list[dict[str, Any]]:
    container = {
        "name": "web",
        "image": "python",
        "command": [sys.executable, "-u", "-c", SERVER],
        "env": [
            _field("POD", "metadata.name"),
            _field("NODE", "spec.nodeName"),
            _field("ADDRESS", "status.podIP"),
        ],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 2},
            },
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
    }
    return [deployment, service]


def ask(stage: Stage) -> str:
    """One request to the Service, through `kubectl port-forward`."""
    forward = subprocess.Popen(
        ["kubectl", "port-forward", "service/web", ":80"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=stage.environment(),
    )
    try:
        assert forward.stdout is not None
        line = forward.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        if found is None:
            raise SceneFailed(f"kubectl port-forward said: {line}{forward.stdout.read()}")
        with urllib.request.urlopen(f"http://127.0.0.1:{found.group(1)}/", timeout=10) as answer:
            return str(answer.read().decode().strip())
    finally:
        forward.terminate()
        forward.wait()


def _nodes_of_pods(stage: Stage) -> dict[str, str]:
    pods = stage.get("pods", "-l", "app=web", "--field-selector=status.phase=Running")["items"]
    return {
        pod["metadata"]["name"]: pod["spec"]["nodeName"]
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
    }


def play(stage: Stage) -> None:
    with stage.step("kubectl apply: a Deployment of three, and its Service"):
        documents = json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests()})
        stage.show(stage.kubectl("apply", "-f", "-", text=documents))
        stage.show(stage.kubectl("rollout", "status", "deployment/web", "--timeout=60s"))
    stage.show(stage.kubectl("get", "pods", "-o", "wide"))
    with stage.step("ask the Service"):
        stage.show(ask(stage))
    before = _nodes_of_pods(stage)
    victim = sorted(before.values())[0]
    with stage.step(f"kubectl drain {victim}"):
        stage.show(
            stage.kubectl("drain", victim, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=60s")
        )

    def moved() -> bool:
        now = _nodes_of_pods(stage)
        return len(now) == 3 and victim not in now.values()

    with stage.step("the pods of that node come back elsewhere"):
        stage.until(f"three pods, none on {victim}", moved)
        stage.show(stage.kubectl("rollout", "status", "deployment/web", "--timeout=60s"))
    stage.show(stage.kubectl("get", "nodes"))
    stage.show(stage.kubectl("get", "pods", "-o", "wide"))
    with stage.step("ask the Service again"):
        stage.show(ask(stage))
    stage.kubectl("uncordon", victim)
