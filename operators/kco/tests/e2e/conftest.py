"""KCO and an application in pods, on the embedded cluster or on any other.

- Nothing set: the embedded cluster. Where this is root with namespaces, the image `localhost/kco:test` is a root that
  holds Python and KCO alone (scripts/image/host_root.py) and the chart is installed as it is; elsewhere pods run
  this environment's own interpreter.
- KCO_TEST_ARCHIVE=path: that image is what operators/kco/build.sh wrote there (ARCHIVE=path).
- SLIPWAY_TEST_KUBECONFIG=path KCO_TEST_IMAGE=name:tag: the cluster of that file, with an image that it can pull.
  KUBECONFIG alone is not looked at: a shell's own cluster is never touched by accident.
"""

import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from slipway.cluster import Cluster
from slipway.cluster.nodes.runtimes import best_runtime

KCO = Path(__file__).resolve().parent.parent.parent
TOP = KCO.parent.parent
PROGRAMS = {
    "application": KCO / "examples" / "application" / "graphql_app.py",
    "receiver": Path(__file__).with_name("receiver.py"),
}
HELM = shutil.which("helm")
PORT = 8085
HOOKS = 8086
LOCAL_IMAGE = "localhost/kco:test"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.fixture(scope="session")
def image() -> str:
    """The image that pods are made of; empty where they run the programs of this machine."""
    if os.environ.get("SLIPWAY_TEST_KUBECONFIG"):
        given = os.environ.get("KCO_TEST_IMAGE", "")
        if ":" not in given.rpartition("/")[2]:
            pytest.fail(
                f"KCO_TEST_IMAGE={given!r}: name an image of KCO with its tag that the cluster of "
                "SLIPWAY_TEST_KUBECONFIG can pull"
            )
        return given
    own_roots = os.geteuid() == 0 and best_runtime() == "namespaces"
    if os.environ.get("KCO_TEST_ARCHIVE") and not own_roots:
        pytest.fail("KCO_TEST_ARCHIVE: containers with roots of their own need root and namespaces")
    return LOCAL_IMAGE if own_roots else ""


@pytest.fixture(scope="session")
def shared_cluster(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The embedded cluster, with the image."""
    rows: list[dict[str, Any]] = []
    folder = tmp_path_factory.mktemp("image")
    archive = os.environ.get("KCO_TEST_ARCHIVE")
    if archive:
        rows.append({"match": image, "oci": str(Path(archive).absolute())})
    elif image:
        root = folder / "root"
        wanted = "kco[postgresql,speed,subscriptions]"
        subprocess.run([sys.executable, TOP / "scripts" / "image" / "host_root.py", wanted, root], check=True)
        path = "/opt/kco/bin:/usr/bin:/bin"
        rows.append({"match": image, "rootfs": str(root), "command": ["kco"], "env": {"PATH": path}})
    mapping = folder / "images.yaml"
    mapping.write_text(yaml.safe_dump({"images": rows}))
    with Cluster(name=f"kco-{uuid.uuid4().hex[:6]}", runtime="auto", images=mapping) as cluster:
        yield cluster


class Site:
    """A namespace with an application and the operator."""

    def __init__(self, cluster: Any, image: str, folder: Path) -> None:
        self.cluster = cluster
        self.image = image
        self.folder = folder
        self.port = PORT
        self.python = "python3" if image else sys.executable

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
        self._deploy("shop", "application", PORT, replicas)
        self.until(lambda: len(self.ready_pods()) == replicas, 120)

    def install_receiver(self) -> str:
        """A receiver of webhooks that refuses the first request; its URL."""
        self._deploy("hooks", "receiver", HOOKS, 1)
        (pod,) = self.until(lambda: self.ready_pods("hooks"), 120)
        return f"http://{pod['status']['podIP']}:{HOOKS}/"

    def received(self) -> list[dict[str, Any]]:
        (pod,) = self.ready_pods("hooks")
        return list(json.loads(self._ask(pod, f"{HOOKS}/seen")))

    def _deploy(self, name: str, program: str, port: int, replicas: int) -> None:
        """A Deployment of one of our programs, which reaches its pods as a ConfigMap: images hold KCO alone."""
        namespace = self.cluster.namespace
        source = PROGRAMS[program]
        self.cluster.kubectl("create", "configmap", name, f"--from-file=program.py={source}")
        where = "/program/program.py" if self.image else str(source)
        container: dict[str, Any] = {
            "name": "main",
            "image": self.image or "python",
            "command": [self.python],
            "args": [where, "--host", "$(POD_IP)", "--port", str(port)],
            "env": [{"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": port}, "periodSeconds": 1},
        }
        pod: dict[str, Any] = {
            "containers": [container],
            "terminationGracePeriodSeconds": 1,
            "automountServiceAccountToken": False,
        }
        if self.image:
            container["volumeMounts"] = [{"name": "program", "mountPath": "/program"}]
            pod["volumes"] = [{"name": "program", "configMap": {"name": name}}]
        labels = {"app": name}
        self.cluster.apply(
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name, "namespace": namespace},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": labels},
                    "template": {"metadata": {"labels": labels}, "spec": pod},
                },
            }
        )

    def install_operator(self, **values: Any) -> None:
        """Real `helm install`; the pod acts as its ServiceAccount, so the chart's own RBAC decides.

        With an image, everything else is as the chart has it: a user without a name, a root that cannot be written.
        """
        actions = ("restart_pod", "scale_deployment", "patch_resource", "exec_command")
        given: dict[str, Any] = {
            "watchNamespace": self.cluster.namespace,
            "actions": dict.fromkeys(actions, True),
            **values,
        }
        if self.image:
            repository, _, tag = self.image.rpartition(":")
            given["image"] = {"repository": repository, "tag": tag}
        else:
            given["image"] = {"repository": "python", "tag": "3", "command": [sys.executable, "-m", "kco"]}
            # The interpreter of a checkout may lie where only this user can read it.
            given["podSecurityContext"] = {"runAsNonRoot": False, "runAsUser": os.getuid()}
            if self.ready_pods()[0]["status"]["podIP"].startswith("127."):
                self._adapt_to_plain_processes(given)
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

    def ready_pods(self, app: str = "shop") -> list[dict[str, Any]]:
        pods = json.loads(self.cluster.kubectl("get", "pods", "-l", f"app={app}", "-o", "json"))["items"]
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
        self._ask(pod, f"{PORT}/control", json.dumps({"state": {"application": state}}))

    def state(self, pod: dict[str, Any]) -> dict[str, Any]:
        return dict(json.loads(self._ask(pod, f"{PORT}/control"))["state"]["application"])

    def _ask(self, pod: dict[str, Any], path: str, body: str = "") -> str:
        """An HTTP request from inside of the pod: without root this machine has no route to a pod's address."""
        encoded = base64.b64encode(body.encode()).decode()
        program = (
            "import base64,os,urllib.request as u;"
            f"print(u.urlopen(u.Request('http://'+os.environ['POD_IP']+':{path}',"
            f"base64.b64decode('{encoded}') or None,{{'Content-Type':'application/json'}})).read().decode())"
        )
        return str(self.cluster.kubectl("exec", pod["metadata"]["name"], "--", self.python, "-c", program))

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
def site(cluster: Any, image: str, tmp_path: Path) -> Iterator[Site]:
    if HELM is None:
        pytest.skip("helm is missing: `make tools` builds it")
    made = Site(cluster, image, tmp_path)
    yield made
    subprocess.run(
        [HELM, "uninstall", "kco", "--kubeconfig", str(cluster.kubeconfig), "-n", cluster.namespace],
        capture_output=True,
        check=False,
    )
