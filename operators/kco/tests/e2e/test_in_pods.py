"""End to end: KCO as a pod from its Helm chart, application pods, every action's real effect, kubectl describe.

Runs on the embedded cluster, or on any other with SLIPWAY_TEST_KUBECONFIG (then KCO_TEST_IMAGE names an image
that holds KCO and the example application).
"""

import base64
import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

KCO = Path(__file__).resolve().parent.parent.parent
APPLICATION = KCO / "examples" / "application" / "graphql_app.py"
HELM = shutil.which("helm")
PORT = 8085


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class Site:
    """A namespace with an application and the operator."""

    def __init__(self, cluster: Any, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self.local = cluster.embedded is not None
        self.python = sys.executable if self.local else "python"

    def reaches_us(self, pod: dict[str, Any]) -> bool:
        """Whether a pod can call a program of this machine: not from a user namespace, whose network is its own."""
        return self.local and (os.getuid() == 0 or pod["status"]["podIP"].startswith("127."))

    def helm(self, *words: str) -> str:
        assert HELM is not None
        done = subprocess.run(
            [HELM, *words, "--kubeconfig", str(self.cluster.kubeconfig), "-n", self.cluster.namespace],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    def install_application(self, replicas: int) -> None:
        image = os.environ.get("KCO_TEST_IMAGE", "python")
        program = str(APPLICATION) if self.local else "/examples/application/graphql_app.py"
        container = {
            "name": "main",
            "image": image,
            "command": [self.python],
            "args": [program, "--host", "$(POD_IP)", "--port", str(PORT)],
            "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": PORT}, "periodSeconds": 1},
        }
        template = {
            "metadata": {"labels": {"app": "shop"}},
            "spec": {
                "containers": [container],
                "terminationGracePeriodSeconds": 1,
                "automountServiceAccountToken": False,
            },
        }
        self.cluster.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": "shop", "namespace": self.cluster.namespace},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": {"app": "shop"}},
                    "template": template,
                },
            }
        )
        self.until(lambda: len(self.ready_pods()) == replicas, 120)

    def install_operator(self, **values: Any) -> None:
        """Real `helm install`; the pod acts as its ServiceAccount, so the chart's own RBAC decides."""
        namespace = self.cluster.namespace
        given: dict[str, Any] = {
            "watchNamespace": namespace,
            "actions": dict.fromkeys(
                ("restart_pod", "scale_deployment", "patch_resource", "exec_command"), True
            ),
            **values,
        }
        if self.local:
            given["image"] = {"repository": "python", "tag": "3", "command": [sys.executable, "-m", "kco"]}
            # The interpreter of a checkout may lie where only this user can read it.
            given["podSecurityContext"] = {"runAsNonRoot": False, "runAsUser": os.getuid()}
            if self.ready_pods()[0]["status"]["podIP"].startswith("127."):
                self._adapt_to_plain_processes(given)
        else:
            repository, _, tag = os.environ["KCO_TEST_IMAGE"].rpartition(":")
            given["image"] = {"repository": repository, "tag": tag}
        path = self.folder / "values.yaml"
        path.write_text(yaml.safe_dump(given))
        self.helm("install", "kco", str(KCO / "chart"), "-f", str(path))
        self.until(self.operator_ready, 120)

    def _adapt_to_plain_processes(self, given: dict[str, Any]) -> None:
        """Pods without namespaces share the host's ports, loopback and files: no in-cluster credentials there."""
        kubeconfig = self.folder / "operator.kubeconfig"
        given["serviceAccount"] = {"create": False, "name": "kco"}
        given["env"] = [{"name": "KUBECONFIG", "value": str(kubeconfig)}]
        given["config"] = {"METRICS_PORT": str(free_port()), "HEALTH_PORT": str(free_port())}
        given["extraConfig"] = {"ALLOWED_NETWORKS": "127.0.0.0/8"}
        self._service_account_kubeconfig(kubeconfig)

    def _service_account_kubeconfig(self, path: Path) -> None:
        self.cluster.kubectl("create", "serviceaccount", "kco")
        token = self.cluster.kubectl("create", "token", "kco", "--duration=1h").strip()
        document = yaml.safe_load(self.cluster.kubeconfig.read_text())
        document["users"] = [{"name": document["contexts"][0]["context"]["user"], "user": {"token": token}}]
        path.write_text(yaml.safe_dump(document))
        path.chmod(0o644)

    def operator_ready(self) -> bool:
        found = self.cluster.get("deployment", "kco")
        return bool(found) and (found.get("status") or {}).get("readyReplicas") == 1

    def ready_pods(self) -> list[dict[str, Any]]:
        pods = json.loads(self.cluster.kubectl("get", "pods", "-l", "app=shop", "-o", "json"))["items"]
        return [
            pod
            for pod in pods
            if not pod["metadata"].get("deletionTimestamp")
            and any(
                c["type"] == "Ready" and c["status"] == "True"
                for c in pod.get("status", {}).get("conditions", [])
            )
        ]

    def turn(self, pod: dict[str, Any], **state: Any) -> None:
        """Change what one pod of the application says."""
        body = json.dumps({"state": {"application": state}})
        encoded = base64.b64encode(body.encode()).decode()
        program = (
            "import base64,os,urllib.request as u;"
            f"u.urlopen(u.Request('http://'+os.environ['POD_IP']+':{PORT}/control',base64.b64decode('{encoded}'),"
            "{'Content-Type':'application/json'}))"
        )
        # From inside: without root this machine has no route to a pod's address.
        self.cluster.kubectl("exec", pod["metadata"]["name"], "--", self.python, "-c", program)

    def run(self, rule: str) -> dict[str, Any] | None:
        listing = self.cluster.get("actionruns.operator.kco.local")
        for run in (listing or {}).get("items", []):
            if run["spec"]["rule"] == rule and (run.get("status") or {}).get("finishedAt"):
                return dict(run["status"])
        return None

    def until(self, question: Callable[[], Any], seconds: float = 90.0) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            answer = question()
            if answer:
                return answer
            time.sleep(0.3)
        raise AssertionError(self.evidence())

    def evidence(self) -> str:
        last = "{range .items[*]}{.metadata.name}{.status.containerStatuses[*].lastState}{end}"
        words = [
            ("get", "pods,targetapps,actionruns,events", "-o", "wide"),
            ("get", "pods", "-o", f"jsonpath={last}"),
            ("logs", "deploy/kco", "--tail=60"),
            ("logs", "deploy/kco", "--previous", "--tail=30"),
        ]
        return "\n".join(self.cluster.kubectl(*line, check=False) for line in words)


@pytest.fixture
def site(cluster: Any, tmp_path: Path) -> Iterator[Site]:
    if HELM is None:
        pytest.skip("helm is missing: `make tools` builds it")
    made = Site(cluster, tmp_path)
    yield made
    subprocess.run(
        [str(HELM), "uninstall", "kco", "--kubeconfig", str(cluster.kubeconfig), "-n", cluster.namespace],
        capture_output=True,
        check=False,
    )


@pytest.fixture
def receiver() -> Iterator[Any]:
    """A webhook receiver that refuses the first request."""
    seen: list[dict[str, Any]] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append({"key": self.headers["Idempotency-Key"], "body": json.loads(body)})
            self.send_response(503 if len(seen) == 1 else 200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            return

    server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield type("Receiver", (), {"port": server.server_port, "seen": seen})
    server.shutdown()


def rule(name: str, field: str, condition: str, value: Any, action: str, **parameters: Any) -> dict[str, Any]:
    trigger = {"field": f"application.{field}", "condition": condition, "value": value}
    if condition == "exists":
        del trigger["value"]
    return {
        "name": name,
        "trigger": trigger,
        "action": action,
        "parameters": parameters,
        "retry": {"attempts": 1},
    }


@pytest.mark.timeout(180)
def test_51_every_action_has_its_effect_under_the_charts_own_roles(site: Site, receiver: Any) -> None:
    cluster = site.cluster
    site.install_application(replicas=2)
    site.install_operator()
    hook = f"http://{site.ready_pods()[0]['status']['hostIP']}:{receiver.port}/"
    cluster.kubectl("create", "configmap", "flags", "--from-literal=mode=normal")
    actions = [
        rule("restart", "health", "equals", "unhealthy", "restart_pod", gracePeriod=1),
        rule("scale", "pendingTasks", "greater_than", 10, "scale_deployment", deploymentName="shop", replicas=3),
        rule(
            "flag", "status", "equals", "draining", "patch_resource",
            resourceType="configmap", resourceName="flags", patchData={"data": {"mode": "drain"}},
        ),
        rule("tell", "load", "greater_than", 0.9, "webhook", url=hook, payload={"load": "{{ application.load }}"}),
        rule(
            "ask", "lastError", "exists", None, "exec_command",
            command=[sys.executable, "-c", "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"],
        ),
    ]  # fmt: skip
    told = site.reaches_us(site.ready_pods()[0])
    if not told:
        actions = [entry for entry in actions if entry["name"] != "tell"]
    cluster.apply(
        {
            "apiVersion": "operator.kco.local/v1alpha1",
            "kind": "TargetApp",
            "metadata": {"name": "shop", "namespace": cluster.namespace},
            "spec": {
                "selector": {"matchLabels": {"app": "shop"}},
                "port": PORT,
                "podPolicy": "Each",
                "pollingInterval": 1,
                "stateQuery": "{ application { status health pendingTasks load lastError } }",
                "actions": actions,
            },
        }
    )
    state = "{.status.state}"
    site.until(lambda: cluster.kubectl("get", "targetapp", "shop", "-o", f"jsonpath={state}") == "Monitoring")
    first, second = site.ready_pods()

    # The sick pod is replaced, and only that one.
    site.turn(first, health="unhealthy")
    assert site.until(lambda: site.run("restart"))["phase"] == "Succeeded"
    names = {
        pod["metadata"]["name"]
        for pod in site.until(lambda: len(site.ready_pods()) == 2 and site.ready_pods())
    }
    assert first["metadata"]["name"] not in names
    assert second["metadata"]["name"] in names

    site.turn(second, pendingTasks=11)
    assert site.until(lambda: site.run("scale"))["output"] == {"from": 2, "to": 3}
    site.until(lambda: len(site.ready_pods()) == 3)

    site.turn(second, status="draining")
    assert site.until(lambda: site.run("flag"))["phase"] == "Succeeded"
    assert cluster.get("configmap", "flags")["data"] == {"mode": "drain"}

    if told:
        site.turn(second, load=0.95)
        run = site.until(lambda: site.run("tell"))
        assert run["phase"] == "Succeeded", run
        assert [entry["body"]["load"] for entry in receiver.seen] == [0.95, 0.95]
        assert len({entry["key"] for entry in receiver.seen}) == 1

    site.turn(second, lastError="boom")
    ended = site.until(lambda: site.run("ask"))
    assert ended["phase"] == "Failed"
    (outcome,) = ended["output"]["pods"]
    assert (outcome["pod"], outcome["exitCode"]) == (second["metadata"]["name"], 7)
    assert (outcome["stdout"], outcome["stderr"]) == ("out\n", "err\n")

    described = site.until(lambda: _described(site, "ActionFailed"))
    for words in ("StateChanged", "ActionSucceeded", "healthy → unhealthy", "exit code 7"):
        assert words in described
    columns = cluster.kubectl("get", "tapp").splitlines()
    assert columns[0].split() == ["NAME", "STATE", "LAST", "POLL", "ENDPOINT", "ACTIONS", "AGE"]
    assert "Monitoring" in columns[1]
    site.helm("uninstall", "kco")
    assert cluster.get("targetapps", "shop") is not None, "the CRDs and their objects survive an uninstall"


def _described(site: Site, words: str) -> str | None:
    text = str(site.cluster.kubectl("describe", "targetapp", "shop"))
    return text if words in text else None
