"""Real kubectl, old and new, against the schemas of a real cluster: explain, generators, checked fields."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slipway.cluster.environment.cluster import Cluster

# The newest that sends JSON and reads OpenAPI v2, the newest that sends JSON, and one that sends protobuf.
FOUND = {
    version: path
    for version in ("1.27", "1.31", "1.33")
    if (path := shutil.which(f"kubectl.{version}", path="/usr/lib/google-cloud-sdk/bin")) is not None
}
if not FOUND and (on_path := shutil.which("kubectl")) is not None:
    FOUND["on PATH"] = on_path

pytestmark = pytest.mark.skipif(not FOUND, reason="no kubectl on this machine (make tools builds it)")

CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "crontabs.stable.example.com"},
    "spec": {
        "group": "stable.example.com",
        "scope": "Namespaced",
        "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "shortNames": ["ct"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "description": "Runs things now and then.",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["schedule"],
                                "properties": {
                                    "schedule": {"type": "string", "description": "When it runs."}
                                },
                            }
                        },
                    }
                },
            }
        ],
    },
}

Kubectl = Callable[..., str]


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with Cluster(nodes=0, controllers=False, scheduler=False) as cluster:
        yield cluster.write_kubeconfig(tmp_path_factory.mktemp("kube") / "config")


@pytest.fixture(params=FOUND)
def kubectl(request: pytest.FixtureRequest, kubeconfig: Path, tmp_path: Path) -> Kubectl:
    def run(*words: str, text: str = "", fails: bool = False) -> str:
        done = subprocess.run(
            [FOUND[request.param], "--kubeconfig", str(kubeconfig), "--cache-dir", str(tmp_path), *words],
            input=text,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stderr or done.stdout
        return done.stderr if fails else done.stdout

    return run


def test_explain_describes_fields_of_built_in_kinds(kubectl: Kubectl) -> None:
    policy = kubectl("explain", "pods.spec.restartPolicy")
    assert "Restart policy for all containers within the pod." in policy
    assert "OnFailure" in policy
    assert "A single application container that you want to run" in kubectl(
        "explain", "deployment.spec.template.spec.containers"
    )
    assert "targetCPUUtilizationPercentage" in kubectl(
        "explain", "hpa.spec", "--api-version=autoscaling/v1", "--recursive"
    )
    recursive = kubectl("explain", "deployments", "--recursive")
    assert "livenessProbe" in recursive
    assert len(recursive.splitlines()) > 1000


def test_explain_describes_custom_kinds(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", text=json.dumps(CRD))
    assert "Runs things now and then." in kubectl("explain", "crontabs")
    schedule = kubectl("explain", "ct.spec.schedule")
    assert "When it runs." in schedule
    assert "ownerReferences" in kubectl("explain", "crontabs", "--recursive")


def test_explain_names_what_it_does_not_know(kubectl: Kubectl) -> None:
    assert "does not exist" in kubectl("explain", "pods.spec.nothing", fails=True)


def test_api_resources_lists_what_the_release_serves(kubectl: Kubectl) -> None:
    names = set(kubectl("api-resources", "-o", "name").split())
    assert {
        "pods",
        "deployments.apps",
        "horizontalpodautoscalers.autoscaling",
        "leases.coordination.k8s.io",
    } <= names
    assert {"selfsubjectreviews.authentication.k8s.io", "resourceslices.resource.k8s.io"} <= names
    assert "resource.k8s.io/v1" in kubectl("api-versions").split()


GENERATORS = """
create configmap NAME --from-literal=a=b
create secret generic NAME --from-literal=a=b
create secret docker-registry NAME-registry --docker-username=u --docker-password=p
create namespace NAME
create serviceaccount NAME
create quota NAME --hard=pods=3,requests.cpu=1500m --scopes=NotTerminating
create service clusterip NAME --tcp=80:8080
create service externalname NAME-outside --external-name example.org
create deployment NAME --image=nginx --replicas=2 --port=80
create job NAME --image=busybox -- true
create cronjob NAME --image=busybox --schedule=@hourly -- true
create ingress NAME --rule=example.org/path*=svc:80
create role NAME --verb=get,list --resource=pods
create clusterrole NAME --verb=get --resource=nodes
create rolebinding NAME --role=NAME --user=jane
create clusterrolebinding NAME --clusterrole=NAME --user=jane
create poddisruptionbudget NAME --selector=app=web --min-available=50%
create priorityclass NAME --value=10
autoscale deployment NAME --min=1 --max=3
create token NAME
""".strip().splitlines()


def test_every_generator_of_kubectl_create_works(kubectl: Kubectl, request: pytest.FixtureRequest) -> None:
    name = f"made-by-{request.node.callspec.params['kubectl'].replace('.', '-').replace(' ', '-').lower()}"
    for generator in GENERATORS:
        kubectl(*generator.replace("NAME", name).split())
    quota = json.loads(kubectl("get", "quota", name, "-o", "json"))
    assert quota["spec"] == {"hard": {"pods": "3", "requests.cpu": "1500m"}, "scopes": ["NotTerminating"]}
    budget = json.loads(kubectl("get", "pdb", name, "-o", "json"))
    assert budget["spec"]["minAvailable"] == "50%"
    deployment = json.loads(kubectl("get", "deployment", name, "-o", "json"))
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"] == 80


def test_questions_about_oneself_are_answered(kubectl: Kubectl, request: pytest.FixtureRequest) -> None:
    assert kubectl("auth", "can-i", "create", "pods").strip() == "yes"
    assert "selfsubjectaccessreviews" in kubectl("auth", "can-i", "--list")
    if request.node.callspec.params["kubectl"] == "1.27":  # it knows only versions that 1.37 no longer has
        assert "not enabled in the cluster" in kubectl("auth", "whoami", fails=True)
    else:
        assert "kubernetes-admin" in kubectl("auth", "whoami")
