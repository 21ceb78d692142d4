"""The real kubectl, unmodified, through what people do with it. KUBECTL=path tries another version."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slipway.cluster.environment.test_cluster import TestCluster

KUBECTL = os.environ.get("KUBECTL") or shutil.which("kubectl")
pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not on PATH (make tools builds it)")
SLEEPER = {
    "name": "main",
    "image": "busybox",
    "command": ["sh", "-c", "echo ready; sleep 3600"],
}


def deployment(name: str, replicas: int = 1) -> str:
    spec = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"terminationGracePeriodSeconds": 1, "containers": [SLEEPER]},
        },
    }
    return json.dumps(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}
    )


def pod(name: str, **container: object) -> str:
    spec = {"terminationGracePeriodSeconds": 1, "containers": [{**SLEEPER, **container}]}
    return json.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"p": name}}, "spec": spec}
    )


class Shell:
    """kubectl in the test's namespace; `ok` wants success, `fails` wants an error that says something."""

    def __init__(self, cluster: TestCluster) -> None:
        self.cluster = cluster

    def call(
        self, *words: str, text: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        command = [str(KUBECTL), "--kubeconfig", str(self.cluster.kubeconfig), *words]
        return subprocess.run(
            command, input=text, capture_output=True, text=True, check=False, timeout=timeout
        )

    def ok(self, line: str, wanted: str = "", text: str | None = None) -> str:
        done = self.call(*line.split(" "), text=text)
        assert done.returncode == 0, f"kubectl {line}: {done.stderr}"
        assert re.search(wanted, done.stdout + done.stderr), f"kubectl {line}: {done.stdout}{done.stderr}"
        return done.stdout

    def fails(self, line: str, wanted: str, text: str | None = None) -> None:
        done = self.call(*line.split(" "), text=text)
        assert done.returncode != 0, f"kubectl {line} succeeded: {done.stdout}"
        assert re.search(wanted, done.stderr), f"kubectl {line}: {done.stderr}"

    def minor(self) -> int:
        return int(json.loads(self.ok("version --client -o json"))["clientVersion"]["minor"].rstrip("+"))


@pytest.fixture
def shell(cluster: TestCluster) -> Shell:
    return Shell(cluster)


def test_generators_send_what_the_server_understands(shell: Shell) -> None:
    shell.ok("create configmap settings --from-literal=a=1 --from-literal=b=2", "configmap/settings created")
    shell.ok("create secret generic hidden --from-literal=k=v", "secret/hidden created")
    shell.ok("create secret docker-registry pull --docker-username=u --docker-password=p", "created")
    shell.ok("create serviceaccount robot", "serviceaccount/robot created")
    shell.ok(
        "create role reader --verb=get,list --resource=pods", "role.rbac.authorization.k8s.io/reader created"
    )
    shell.ok("create rolebinding readers --role=reader --serviceaccount=x:robot", "created")
    shell.ok("create deployment web --image=busybox --replicas=0", "deployment.apps/web created")
    shell.ok("create job once --image=busybox -- true", "job.batch/once created")
    shell.ok("create cronjob daily --image=busybox --schedule=@daily -- true", "cronjob.batch/daily created")
    shell.ok("create service clusterip front --tcp=80:8080", "service/front created")
    shell.ok("create ingress way --rule=example.com/*=front:80", "ingress.networking.k8s.io/way created")
    shell.ok("create poddisruptionbudget keep --selector=app=web --min-available=1", "created")
    shell.ok("create quota limits --hard=pods=20", "resourcequota/limits created")
    shell.ok("create token robot", r"^eyJ")
    shell.ok("autoscale deployment web --min=1 --max=3 --cpu-percent=80", "autoscaled")
    shell.ok("expose deployment web --port=80 --name=exposed", "service/exposed exposed")
    shell.ok("run lonely --image=busybox --restart=Never -- true", "pod/lonely created")


def test_output_in_every_form(shell: Shell) -> None:
    shell.ok("create configmap one --from-literal=a=1", "created")
    shell.ok("get configmap one", r"NAME +DATA +AGE\none +1 +")
    shell.ok("get configmap one -o wide", "NAME")
    shell.ok("get configmap one -o yaml", 'a: "1"')
    assert json.loads(shell.ok("get configmap one -o json"))["data"] == {"a": "1"}
    assert shell.ok("get configmap one -o name") == "configmap/one\n"
    assert shell.ok("get configmap one -o jsonpath={.data.a}") == "1"
    assert shell.ok("get configmap one -o go-template={{.data.a}}") == "1"
    shell.ok("get configmap one -o custom-columns=WHAT:.metadata.name", r"WHAT\none")
    shell.ok("get configmaps --show-labels", "LABELS")
    shell.ok("get configmaps --sort-by=.metadata.name", "kube-root-ca.crt")
    shell.ok("get configmaps -l nothing=here", "No resources found")
    shell.ok("get configmaps --field-selector metadata.name=one --no-headers", r"^one ")
    shell.ok("get configmap,serviceaccount", "serviceaccount/default")
    shell.ok("get all -A", "service/kubernetes")
    shell.fails("get configmap none", 'configmaps "none" not found')
    shell.fails("get nothings", "the server doesn't have a resource type")


def test_watching_shows_changes_as_they_come(shell: Shell) -> None:
    shell.ok("create configmap seen --from-literal=a=1", "created")
    command = [str(KUBECTL), "--kubeconfig", str(shell.cluster.kubeconfig), "get", "configmap", "seen", "-w"]
    watching = subprocess.Popen([*command, "--output-watch-events"], stdout=subprocess.PIPE, text=True)
    try:
        assert watching.stdout is not None
        lines = [watching.stdout.readline(), watching.stdout.readline()]
        assert "EVENT" in lines[0]
        assert "ADDED" in lines[1]
        shell.ok("label configmap seen new=label", "labeled")
        assert "MODIFIED" in watching.stdout.readline()
        shell.ok("delete configmap seen", "deleted")
        assert "DELETED" in watching.stdout.readline()
    finally:
        watching.kill()
        watching.wait()


def test_apply_on_either_side(shell: Shell, tmp_path: Path) -> None:
    manifest = tmp_path / "web.json"
    manifest.write_text(deployment("web", 0))
    shell.ok(f"apply -f {manifest}", "deployment.apps/web created")
    shell.ok(f"apply -f {manifest}", "unchanged")
    manifest.write_text(deployment("web", 0).replace("3600", "7200"))
    done = shell.call("diff", "-f", str(manifest))
    assert done.returncode == 1
    assert "7200" in done.stdout
    shell.ok(f"apply -f {manifest} --dry-run=server", r"configured \(server dry run\)")
    shell.ok(f"apply -f {manifest}", "configured")
    shell.ok(f"apply --server-side -f {manifest} --force-conflicts", "serverside-applied")
    shell.ok(
        f"apply --server-side -f {manifest} --field-manager=other --force-conflicts", "serverside-applied"
    )
    manifest.write_text(deployment("web", 1).replace("3600", "7200"))
    shell.fails(f"apply --server-side -f {manifest} --field-manager=third", "conflict")
    shell.ok("apply view-last-applied deployment web", "7200")
    shell.fails("create -f -", "already exists", text=deployment("web"))
    wrong = deployment("strict").replace('"replicas"', '"replicsa"')
    shell.fails("apply -f -", 'unknown field "spec.replicsa"', text=wrong)
    shell.ok(f"replace -f {manifest} --dry-run=server", "replaced")


def test_edits_small_and_large(shell: Shell) -> None:
    shell.ok("apply -f -", "created", text=deployment("web", 0))
    shell.ok("label deployment web tier=front", "labeled")
    shell.fails("label deployment web tier=back", "already has a value")
    shell.ok("label deployment web tier=back --overwrite", "labeled")
    shell.ok("label deployment web tier-", "unlabeled")
    shell.ok("annotate deployment web note=hello", "annotate")  # 1.27 leaves the d out
    shell.ok('patch deployment web -p {"spec":{"paused":true}}', "patched")
    shell.ok('patch deployment web --type=merge -p {"spec":{"paused":null}}', "patched")
    operations = '[{"op":"replace","path":"/spec/revisionHistoryLimit","value":3}]'
    shell.ok(f"patch deployment web --type=json -p {operations}", "patched")
    shell.ok('patch deployment web --subresource=scale --type=merge -p {"spec":{"replicas":0}}', "patched")
    shell.ok("set image deployment/web main=python", "image updated")
    shell.ok("set env deployment/web COLOUR=green", "env updated")
    shell.ok("set resources deployment/web --limits=cpu=200m", "resource requirements updated")
    shell.ok("scale deployment web --replicas=0", "scaled")
    environment = {**os.environ, "KUBE_EDITOR": "sed -i s/green/blue/"}
    command = [str(KUBECTL), "--kubeconfig", str(shell.cluster.kubeconfig), "edit", "deployment", "web"]
    edited = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert "edited" in edited.stdout, edited.stderr
    shell.ok("get deployment web -o yaml", "value: blue")


def test_rollouts(shell: Shell) -> None:
    shell.ok("apply -f -", "created", text=deployment("web", 2))
    shell.ok("rollout status deployment/web --timeout=60s", "successfully rolled out")
    shell.ok("set env deployment/web STEP=two", "updated")
    shell.ok("rollout status deployment/web --timeout=60s", "successfully rolled out")
    shell.ok("rollout history deployment/web", "REVISION")
    shell.ok("rollout undo deployment/web", "rolled back")
    shell.ok("rollout status deployment/web --timeout=60s", "successfully rolled out")
    assert "STEP" not in shell.ok("get deployment web -o yaml")
    shell.ok("rollout pause deployment/web", "paused")
    shell.ok("rollout resume deployment/web", "resumed")
    shell.ok("rollout restart deployment/web", "restarted")
    shell.ok("rollout status deployment/web --timeout=60s", "successfully rolled out")
    shell.ok("wait deployment/web --for=condition=Available --timeout=30s", "condition met")
    shell.ok("describe deployment web", "ScalingReplicaSet")
    shell.ok("events --for deployment/web", "Scaled up replica set")


def test_inside_a_pod(shell: Shell, tmp_path: Path) -> None:
    server = "import http.server; http.server.HTTPServer(('', 18080), http.server.SimpleHTTPRequestHandler).serve_forever()"
    shell.ok("apply -f -", "created", text=pod("box"))
    shell.ok("wait pod/box --for=condition=Ready --timeout=60s", "condition met")
    shell.ok("logs box", "ready")
    shell.ok("logs box --tail=1 --timestamps", r"\d{4}-\d\d-\d\dT.* ready")
    assert shell.ok("exec box -- echo from inside") == "from inside\n"
    done = shell.call("exec", "box", "--", "sh", "-c", "exit 9")
    assert done.returncode == 9
    done = shell.call("exec", "-i", "box", "--", "cat", text="typed\n")
    assert done.stdout == "typed\n"
    source, back = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("carried\n")
    place = f"/tmp/kubectl-cp-{shell.cluster.namespace}"
    shell.ok(f"cp {source} box:{place}")
    shell.ok(f"cp box:{place} {back}")
    assert back.read_text() == "carried\n"
    shell.ok(f"exec box -- rm {place}")
    shell.ok("describe pod box", "Started")
    shell.ok("apply -f -", "created", text=pod("web", image="python", command=[sys.executable, "-c", server]))
    shell.ok("wait pod/web --for=condition=Ready --timeout=60s", "condition met")
    command = [
        str(KUBECTL),
        "--kubeconfig",
        str(shell.cluster.kubeconfig),
        "port-forward",
        "pod/web",
        ":18080",
    ]
    forward = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert forward.stdout is not None
        found = re.search(r":(\d+) ->", forward.stdout.readline())
        assert found is not None
        import urllib.request

        for _ in range(50):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{found.group(1)}/", timeout=5) as answer:
                    assert answer.status == 200
                break
            except OSError:
                time.sleep(0.1)
        else:
            pytest.fail("the forwarded port never answered")
    finally:
        forward.kill()
        forward.wait()
    shell.ok("delete pod box web --now", "deleted")


def test_deletion_with_every_cascade(shell: Shell) -> None:
    for policy in ("background", "foreground", "orphan"):
        name = f"web-{policy}"
        shell.ok("apply -f -", "created", text=deployment(name, 1))
        shell.ok(f"rollout status deployment/{name} --timeout=60s")
        shell.ok(f"delete deployment {name} --cascade={policy} --timeout=60s", "deleted")
        left = json.loads(shell.ok(f"get replicasets -l app={name} -o json"))["items"]
        if policy == "orphan":
            assert len(left) == 1
            assert "ownerReferences" not in left[0]["metadata"]
        elif policy == "foreground":
            assert left == []
    shell.ok("create configmap a --from-literal=x=y", "created")
    shell.ok("delete configmap a --dry-run=server", "server dry run")
    shell.ok("delete configmap --all", "deleted")
    shell.ok("delete configmap a --ignore-not-found")
    shell.fails("delete configmap a", "not found")


def test_who_may_do_what(shell: Shell) -> None:
    namespace = shell.cluster.namespace
    shell.ok("auth can-i create pods", "yes")
    shell.ok("create serviceaccount robot", "created")
    account = f"system:serviceaccount:{namespace}:robot"
    shell.fails(f"auth can-i list pods --as={account}", "^$")
    shell.ok("create role reader --verb=list --resource=pods", "created")
    shell.ok(f"create rolebinding readers --role=reader --serviceaccount={namespace}:robot", "created")
    shell.ok(f"auth can-i list pods --as={account}", "yes")
    shell.ok(f"get pods --as={account}", "No resources found")
    shell.fails(f"get secrets --as={account}", "is forbidden")
    if shell.minor() >= 28:  # older ones ask for versions of the review that are gone
        shell.ok("auth whoami", "kubernetes-admin")
    shell.ok(f"auth can-i --list --as={account}", "pods")


def test_the_cluster_describes_itself(shell: Shell) -> None:
    shell.ok("version", r"Server Version: .*v1\.37")
    shell.ok("api-versions", "apps/v1")
    shell.ok("api-resources --namespaced=true -o wide", "deployments")
    shell.ok("cluster-info", "is running at")
    shell.ok("explain deployment.spec.strategy", "rollingUpdate")
    shell.ok("explain pods --recursive", "terminationMessagePath")
    shell.ok("get --raw /readyz?verbose", "readyz check passed")
    shell.ok("get nodes -o wide", "Ready")
    shell.ok("describe node", "Allocatable")
    shell.ok("config view --minify", "server: https://127.0.0.1")
    shell.ok("cluster-info dump", r"==== START logs for container|\"kind\": \"NodeList\"")
    shell.ok("top nodes", "MEMORY")


def test_top_shows_what_pods_use(shell: Shell) -> None:
    shell.ok("create -f -", "created", text=pod("sleeper"))
    shell.ok("wait --for=condition=Ready pod/sleeper --timeout=60s")
    deadline = time.monotonic() + 60
    while shell.call("top", "pod", "sleeper", "--containers").returncode != 0:  # measured before it ran
        assert time.monotonic() < deadline, "the pod is not measured"
        time.sleep(0.5)
    shell.ok("top pod sleeper --containers", r"sleeper +main +\d+m +\d+Mi")
    shell.fails("top pod nothing", "not found")


@pytest.mark.cluster(nodes=2)
def test_a_node_is_drained_and_comes_back(shell: Shell) -> None:
    shell.ok("apply -f -", "created", text=deployment("web", 2))
    shell.ok("rollout status deployment/web --timeout=60s")
    node = shell.ok("get nodes -o jsonpath={.items[0].metadata.name}")
    shell.ok(f"cordon {node}", "cordoned")
    shell.ok(f"drain {node} --ignore-daemonsets --timeout=60s", "drained")
    shell.ok("rollout status deployment/web --timeout=60s")
    pods = json.loads(shell.ok("get pods -o json"))["items"]
    assert all(one["spec"]["nodeName"] != node for one in pods if "deletionTimestamp" not in one["metadata"])
    shell.ok(f"uncordon {node}", "uncordoned")
    shell.ok(f"taint node {node} key=value:NoSchedule", "tainted")
    shell.ok(f"taint node {node} key-", "untainted")


def test_certificates_are_signed(shell: Shell) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    name = f"csr-{shell.cluster.namespace}"
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jane")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    import base64

    encoded = base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {
        "request": encoded,
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
    }
    body = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": spec,
    }
    shell.ok("apply -f -", "created", text=json.dumps(body))
    shell.ok(f"get csr {name}", "Pending")
    shell.ok(f"certificate approve {name}", "approved")
    for _ in range(100):
        issued = shell.ok(f"get csr {name} -o jsonpath={{.status.certificate}}")
        if issued:
            break
        time.sleep(0.1)
    certificate = x509.load_pem_x509_certificate(base64.b64decode(issued))
    assert certificate.subject == subject
    shell.ok(f"delete csr {name}", "deleted")
