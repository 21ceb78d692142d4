"""Scene two: an application turns unhealthy; KCO raises the Event, restarts the pod, and says that all is well."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import yaml
from tests.demo.stage import ROOT, Stage

KCO = ROOT / "operators" / "kco"
APPLICATION = KCO / "examples" / "application" / "graphql_app.py"
NAMESPACE = "shop"
PORT = 8085


def application() -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "python",
        "command": [sys.executable],
        "args": [str(APPLICATION), "--host", "$(POD_IP)", "--port", str(PORT)],
        "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 1},
    }
    pod = {
        "containers": [container],
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {"metadata": {"labels": {"app": "shop"}}, "spec": pod},
        },
    }


def target_app() -> dict[str, Any]:
    restart = {
        "name": "restart-unhealthy",
        "trigger": {"field": "application.health", "condition": "equals", "value": "unhealthy"},
        "action": "restart_pod",
        "parameters": {"gracePeriod": 1},
    }
    return {
        "apiVersion": "operator.kco.local/v1alpha1",
        "kind": "TargetApp",
        "metadata": {"name": "shop"},
        "spec": {
            "selector": {"matchLabels": {"app": "shop"}},
            "graphqlEndpoint": "/graphql",
            "port": PORT,
            "pollingInterval": 1,
            "stateQuery": "{ application { health status } }",
            "actions": [restart],
        },
    }


def values() -> dict[str, Any]:
    return {
        "watchNamespace": NAMESPACE,
        "actions": {"restart_pod": True},
        "image": {"repository": "python", "tag": "3", "command": [sys.executable, "-m", "kco"]},
        # The interpreter of a checkout may lie where only this user can read it.
        "podSecurityContext": {"runAsNonRoot": False, "runAsUser": os.getuid()},
    }


def play(stage: Stage) -> None:
    def kubectl(*words: str, text: str | None = None) -> str:
        return stage.kubectl("-n", NAMESPACE, *words, text=text)

    helm = stage.tool("helm")
    stage.kubectl("create", "namespace", NAMESPACE)
    with stage.step("an application that answers GraphQL"):
        stage.show(kubectl("apply", "-f", "-", text=json.dumps(application())))
        kubectl("rollout", "status", "deployment/shop", "--timeout=60s")
    with stage.step("helm install kco: the operator, with the chart's own roles"):
        path = stage.home / "kco-values.yaml"
        path.write_text(yaml.safe_dump(values()))
        stage.run(
            helm,
            "install",
            "kco",
            str(KCO / "chart"),
            "-n",
            NAMESPACE,
            "-f",
            str(path),
            "--wait",
            "--timeout=60s",
        )
        stage.show(kubectl("get", "pods"))
    with stage.step("a TargetApp: restart the pod when it says that it is unhealthy"):
        stage.show(kubectl("apply", "-f", "-", text=json.dumps(target_app())))
        stage.until(
            "KCO watches the application", lambda: "Monitoring" in kubectl("get", "targetapp", "shop")
        )
        stage.show(kubectl("get", "targetapp"))
    before = kubectl("get", "pods", "-l", "app=shop", "-o", "jsonpath={.items[0].metadata.name}")
    with stage.step(f"{before} turns unhealthy; KCO restarts it"):
        code = (
            "import os,urllib.request as u;"
            f"u.urlopen(u.Request('http://'+os.environ['POD_IP']+':{PORT}/control',"
            'b\'{"state":{"application":{"health":"unhealthy"}}}\',{\'Content-Type\':\'application/json\'}))'
        )
        kubectl("exec", before, "--", sys.executable, "-c", code)

        def settled() -> bool:
            runs = json.loads(kubectl("get", "actionruns", "-o", "json"))["items"]
            return any((run.get("status") or {}).get("phase") == "Succeeded" for run in runs)

        stage.until("the action has succeeded", settled)
        kubectl("rollout", "status", "deployment/shop", "--timeout=60s")

        def healthy() -> bool:
            pods = json.loads(kubectl("get", "pods", "-l", "app=shop", "-o", "json"))["items"]
            names = [pod["metadata"]["name"] for pod in pods if "deletionTimestamp" not in pod["metadata"]]
            return len(names) == 1 and names[0] != before

        stage.until("another pod has taken its place", healthy)
    stage.show(kubectl("get", "actionruns"))

    def told() -> str:
        events = kubectl("events", "--for", "targetapp/shop")
        return events if "healthy" in events.replace("unhealthy", "") else ""

    with stage.step("KCO says that it is healthy again"):
        stage.show(stage.until("the Event of the recovery", told))
