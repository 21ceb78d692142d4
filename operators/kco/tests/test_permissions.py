"""The chart grants what KCO uses, and nothing else: played under the rendered roles, compared with what was done.

For each set of values: `helm template` makes ServiceAccount, roles and bindings; an operator with the settings of
the rendered ConfigMap acts as that ServiceAccount, so the API server's RBAC decides; a scene for each feature is
played; then the API server is asked what the ServiceAccount did (`slipway roles` prints the same), and that is
compared with the rules of the chart, both ways.
"""

import asyncio
import base64
import contextlib
import json
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from kco.actions.ledger import RunKey
from kco.operator.controller import TARGET_APPS
from kco.operator.process import Operator
from kco.settings import PREFIX, Settings
from operator_kit.kube.client import (
    CONFIG_MAPS,
    EVENTS,
    PODS,
    SECRETS,
    KubeClient,
    Resource,
)
from operator_kit.kube.config import ClusterConfig, parse_kubeconfig
from operator_kit.settings import load
from slipway.cluster import Cluster

CHART = Path(__file__).resolve().parent.parent / "chart"
HELM = shutil.which("helm")
pytestmark = pytest.mark.skipif(HELM is None, reason="helm is missing: `make tools` builds it")

RUNS = Resource("operator.kco.local", "v1alpha1", "actionruns")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
RBAC = "rbac.authorization.k8s.io"
KINDS = {
    "ServiceAccount": Resource("", "v1", "serviceaccounts"),
    "Role": Resource(RBAC, "v1", "roles"),
    "RoleBinding": Resource(RBAC, "v1", "rolebindings"),
    "ClusterRole": Resource(RBAC, "v1", "clusterroles", namespaced=False),
    "ClusterRoleBinding": Resource(RBAC, "v1", "clusterrolebindings", namespaced=False),
    "Deployment": Resource("apps", "v1", "deployments"),
    "StatefulSet": Resource("apps", "v1", "statefulsets"),
    "DaemonSet": Resource("apps", "v1", "daemonsets"),
}
Deed = tuple[str, str, str, str]
"""Where ("home": the operator's namespace, "there": what it watches), group, resource, verb."""


@pytest.fixture(scope="module")
def site() -> Iterator[ClusterConfig]:
    """A cluster with a simulated node: pods become ready, can be evicted, and answer an exec."""
    with Cluster(name="kco-permissions", nodes=1) as cluster:
        yield parse_kubeconfig(yaml.safe_dump(cluster.kubeconfig()), source="embedded cluster")


def render(values: dict[str, Any], release: str, namespace: str, folder: Path) -> list[dict[str, Any]]:
    path = folder / "values.yaml"
    path.write_text(yaml.safe_dump(values))
    command = [str(HELM), "template", release, str(CHART), "-n", namespace, "-f", str(path)]
    done = subprocess.run([*command, "--kube-version", "1.37.0"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [body for body in yaml.safe_load_all(done.stdout) if body]


@dataclass
class Stage:
    """One release of the chart, its operator, and what is played before it."""

    admin: KubeClient
    config: ClusterConfig
    app: Any
    until: Callable[..., Any]
    bodies: list[dict[str, Any]]
    home: str
    there: str
    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    operators: list[tuple[Operator, asyncio.Task[int]]] = field(default_factory=list)

    # -- life --------------------------------------------------------------------------------------------

    @property
    def account(self) -> str:
        found = next(body for body in self.bodies if body["kind"] == "ServiceAccount")
        return str(found["metadata"]["name"])

    async def install(self) -> None:
        for body in self.bodies:
            if body["kind"] in KINDS and body["kind"] != "Deployment":
                await self.admin.create(KINDS[body["kind"]], body["metadata"].get("namespace"), body)

    async def start(self) -> Operator:
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 3600},
        }
        accounts = KINDS["ServiceAccount"]
        answer = await self.admin.create(accounts, self.home, request, name=self.account, subresource="token")
        acting = replace(
            self.config,
            token=answer["status"]["token"],
            client_certificate=None,
            client_key=None,
            namespace=self.home,
        )
        data = next(body for body in self.bodies if body["kind"] == "ConfigMap")["data"]
        environment = {
            **data,
            "KCO_METRICS_PORT": "0",
            "KCO_HEALTH_PORT": "0",
            "KCO_ALLOWED_NETWORKS": "127.0.0.0/8",
            "KCO_LEASE_DURATION": "3",
            "KCO_RUN_HISTORY": "1",
            "KCO_IDENTITY": uuid.uuid4().hex[:8],
        }
        settings = load(Settings, prefix=PREFIX, environment=environment)
        operator = Operator(settings, acting, host="127.0.0.1")
        task = asyncio.create_task(operator.run(signals=False))
        self.operators.append((operator, task))
        waiting = asyncio.create_task(operator.started.wait())
        await asyncio.wait({task, waiting}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            task.result()
        return operator

    async def stop(self, only: Operator | None = None) -> None:
        ending = [entry for entry in self.operators if only in (None, entry[0])]
        for operator, _ in ending:
            operator.stop()
        for entry in ending:
            await asyncio.wait_for(entry[1], 60)
            self.operators.remove(entry)

    # -- acting ------------------------------------------------------------------------------------------

    async def make(self, name: str, *actions: dict[str, Any], **spec: Any) -> None:
        given = {
            "graphqlEndpoint": self.app.url,
            "stateQuery": "{ application { status health load } }",
            "pollingInterval": 1,
            "actions": list(actions),
            **spec,
        }
        body = {"apiVersion": "operator.kco.local/v1alpha1", "kind": "TargetApp", "spec": given}
        await self.admin.create(TARGET_APPS, self.there, {**body, "metadata": {"name": name}})

    async def monitored(self, name: str) -> None:
        async def state() -> bool:
            found = await self.admin.get(TARGET_APPS, self.there, name)
            return bool((found.get("status") or {}).get("state") == "Monitoring")

        await self.until(state)

    async def ended(self, target: str) -> list[dict[str, Any]]:
        runs = (await self.admin.list(RUNS, self.there))["items"]
        mine = [run for run in runs if run["spec"]["targetRef"]["name"] == target]
        return [run for run in mine if (run.get("status") or {}).get("finishedAt")]

    async def all_succeed(self, target: str, count: int) -> None:
        """Every rule of the target has run, and each run had its effect."""

        async def done() -> Any:
            found = await self.ended(target)
            return found if len(found) >= count else None

        for run in await self.until(done):
            assert run["status"]["phase"] == "Succeeded", run

    async def make_workload(self, kind: str, name: str) -> None:
        labels = {"app": name}
        container = {"name": "main", "image": "i"}
        pods = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec: dict[str, Any] = {"selector": {"matchLabels": labels}, "template": pods}
        body = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        await self.admin.create(KINDS[kind], self.there, body)

        async def ready() -> bool:
            pods = (await self.admin.list(PODS, self.there, labelSelector=f"app={name}"))["items"]
            conditions = [one for pod in pods for one in (pod.get("status") or {}).get("conditions") or []]
            return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

        await self.until(ready)

    # -- comparing ---------------------------------------------------------------------------------------

    async def used(self) -> set[Deed]:
        """What the ServiceAccount did, without what every authenticated caller may do."""
        user = f"system:serviceaccount:{self.home}:{self.account}"
        answer = await self.admin.request("GET", "/slipway/roles", query={"user": user})
        everybodys = set()
        for name in ("system:basic-user", "system:discovery", "system:public-info-viewer"):
            role = await self.admin.get(KINDS["ClusterRole"], None, name)
            everybodys |= {deed[1:] for deed in deeds([role], self.home)}
        return {deed for deed in deeds(answer["roles"], self.home) if deed[1:] not in everybodys}

    def granted(self) -> set[Deed]:
        return deeds([body for body in self.bodies if body["kind"] in ("Role", "ClusterRole")], self.home)


def deeds(roles: list[dict[str, Any]], home: str) -> set[Deed]:
    found: set[Deed] = set()
    for role in roles:
        where = "home" if role["metadata"].get("namespace") == home else "there"
        for rule in role["rules"]:
            for group in rule.get("apiGroups") or ():
                for resource in rule["resources"]:
                    found |= {(where, group, resource, verb) for verb in rule["verbs"]}
    return found


# -- scenes, one for each feature ------------------------------------------------------------------------


def rule(name: str, action: str, **parameters: Any) -> dict[str, Any]:
    """Runs when the application turns unhealthy."""
    trigger = {"field": "application.health", "condition": "equals", "value": "unhealthy"}
    given = {"name": name, "trigger": trigger, "action": action, "parameters": parameters}
    return {**given, "retry": {"attempts": 1}}


async def watching(stage: Stage) -> None:
    """States, Events that are repeated, pods, runs that are found, pruned and finished."""
    hook = f"http://127.0.0.1:{stage.app.port}/control"
    await stage.make("plain", rule("tell", "webhook", url=hook, payload={"a": "b"}))
    await stage.make("of-pods", graphqlEndpoint="/graphql", selector={"matchLabels": {"app": "none"}})
    await stage.monitored("plain")
    body = await stage.admin.get(TARGET_APPS, stage.there, "plain")
    # As after a crash between claiming a run and writing that down: the claim is found, and its holder asked.
    key = RunKey(stage.there, "plain", body["metadata"]["uid"], "tell", "", 1)
    claimed = {
        "apiVersion": "operator.kco.local/v1alpha1",
        "kind": "ActionRun",
        "metadata": {"name": key.name},
        "spec": {
            "targetRef": {"name": "plain", "uid": key.uid},
            "rule": "tell",
            "action": "webhook",
            "transition": 1,
            "requestedBy": "another/1",
        },
    }
    await stage.admin.create(RUNS, stage.there, claimed)
    for turn in range(1, 4):
        stage.app.turn(application={"health": "unhealthy"})

        async def told(count: int = turn) -> Any:
            events = (await stage.admin.list(EVENTS, stage.there))["items"]
            said = [event for event in events if event["involvedObject"]["name"] == "plain"]
            return [event for event in said if "→ unhealthy" in event["message"] and event["count"] >= count]

        await stage.until(told)
        stage.app.turn(application={"health": "healthy"})

        async def cleared(count: int = turn) -> Any:
            events = (await stage.admin.list(EVENTS, stage.there))["items"]
            return [event for event in events if "→ healthy" in event["message"] and event["count"] >= count]

        await stage.until(cleared)

    async def pruned() -> bool:
        left = await stage.ended("plain")
        return bool(left) and all(run["spec"]["transition"] == 3 for run in left)

    await stage.until(pruned)


async def references(stage: Stage) -> None:
    """A header from a Secret, the schema from a ConfigMap."""
    token = base64.b64encode(b"Bearer canary").decode()
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token"}, "data": {"h": token}}
    await stage.admin.create(SECRETS, stage.there, secret)
    schema = "type Query { application: Application } type Application { status: String health: String load: Float }"
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "schema"}, "data": {"s": schema}}
    await stage.admin.create(CONFIG_MAPS, stage.there, config)
    header = {"name": "Authorization", "valueFrom": {"secretKeyRef": {"name": "token", "key": "h"}}}
    source = {"configMapKeyRef": {"name": "schema", "key": "s"}}
    await stage.make("refers", headers=[header], graphqlSchema=source)
    await stage.monitored("refers")


async def act(stage: Stage, target: str, *actions: dict[str, Any], **spec: Any) -> None:
    """Let the application turn unhealthy and all of the target's rules run."""
    await stage.make(target, *actions, **spec)
    await stage.monitored(target)
    stage.app.turn(application={"health": "unhealthy"})
    await stage.all_succeed(target, len(actions))
    stage.app.turn(application={"health": "healthy"})


async def restarting(stage: Stage) -> None:
    """All three ways, and workloads of every kind."""
    kinds = ("Deployment", "StatefulSet", "DaemonSet")
    await asyncio.gather(*(stage.make_workload(kind, f"w-{kind.lower()}") for kind in kinds))
    chosen = {kind: {"matchLabels": {"app": f"w-{kind.lower()}"}} for kind in kinds}
    every = {"matchExpressions": [{"key": "app", "operator": "Exists"}]}
    ways = {"evict": chosen["Deployment"], "delete": chosen["DaemonSet"], "rollout": every}
    rules = [
        rule(way, "restart_pod", method=way, gracePeriod=0, podSelector=pods) for way, pods in ways.items()
    ]
    await act(stage, "restart", *rules)


async def scaling(stage: Stage) -> None:
    for kind in ("Deployment", "StatefulSet"):
        await stage.make_workload(kind, f"s-{kind.lower()}")
    rules = [
        rule(kind.lower(), "scale_deployment", deploymentName=f"s-{kind.lower()}", kind=kind, replicas=2)
        for kind in ("Deployment", "StatefulSet")
    ]
    await act(stage, "scale", *rules)


async def patching(stage: Stage) -> None:
    """Each of the chart's patchable kinds."""
    for kind in ("Deployment", "StatefulSet"):
        await stage.make_workload(kind, f"p-{kind.lower()}")
    flags = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "p-configmap"}}
    await stage.admin.create(CONFIG_MAPS, stage.there, flags)
    change = {"metadata": {"annotations": {"turned": "yes"}}}
    rules = [
        rule(kind, "patch_resource", resourceType=kind, resourceName=f"p-{kind}", patchData=change)
        for kind in ("configmap", "deployment", "statefulset")
    ]
    await act(stage, "patch", *rules)


async def executing(stage: Stage) -> None:
    await stage.make_workload("Deployment", "e")
    selector = {"matchLabels": {"app": "e"}}
    await act(stage, "exec", rule("ask", "exec_command", command=["true"], podSelector=selector))


async def two_replicas(stage: Stage) -> None:
    """The second one takes over its share, and leaves it to the first when it goes."""
    for number in range(8):
        await stage.make(f"share-{number}")
    first = stage.operators[0][0]
    await stage.until(lambda: len(first.controller.targets) >= 8)
    second = await stage.start()
    await stage.until(lambda: second.controller.targets and len(first.controller.targets) < 8)
    await stage.stop(second)
    await stage.until(lambda: len(first.controller.targets) >= 8)


async def borrowed_rights(stage: Stage) -> None:
    """A TargetApp whose actions run as a ServiceAccount of its namespace."""
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "weak"}}
    await stage.admin.create(KINDS["ServiceAccount"], stage.there, account)
    hook = f"http://127.0.0.1:{stage.app.port}/control"
    scale = rule("scale", "scale_deployment", deploymentName="none", replicas=2)
    await stage.make(
        "borrowed", rule("tell", "webhook", url=hook, payload={}), scale, serviceAccountName="weak"
    )

    async def refused() -> bool:
        found = await stage.admin.get(TARGET_APPS, stage.there, "borrowed")
        conditions = (found.get("status") or {}).get("conditions") or []
        return any(
            one["type"] == "ActionsAuthorized" and one["status"] == "False" and "patch deployments/scale" in one["message"]
            for one in conditions
        )  # fmt: skip

    await stage.until(refused)


SCENES = {
    "restart_pod": restarting,
    "scale_deployment": scaling,
    "patch_resource": patching,
    "exec_command": executing,
}
OFF = dict.fromkeys(SCENES, False)
ALL = dict.fromkeys(SCENES, True)
VARIANTS: dict[str, dict[str, Any]] = {
    "no action but webhook": {"actions": OFF},
    **{f"only {action}": {"actions": {**OFF, action: True}} for action in SCENES},
    "everything in one namespace": {"actions": ALL, "watchNamespace": "THERE"},
    "no references, but history": {
        "actions": OFF,
        "rbac": {"secrets": False},
        "extraConfig": {"HISTORY_URL": "sqlite:///HISTORY"},
    },
    "impersonation": {"actions": {**OFF, "scale_deployment": True}, "rbac": {"impersonation": True}},
    "shared targets": {"actions": OFF, "replicaCount": 2, "extraConfig": {"SHARING": "shares"}},
    "no election": {"actions": OFF, "extraConfig": {"LEADER_ELECTION": "false"}},
}


@pytest.fixture
async def stage(
    request: pytest.FixtureRequest,
    site: ClusterConfig,
    app: Any,
    until: Any,
    install_crds: Any,
    tmp_path: Path,
) -> AsyncIterator[Stage]:
    async with KubeClient(site, user_agent="test") as admin:
        await install_crds(admin)
        names = []
        for prefix in ("home-", "there-"):
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": prefix}}
            names.append((await admin.create(NAMESPACES, None, body))["metadata"]["name"])
        home, there = names
        text = json.dumps(request.param).replace("THERE", there).replace("HISTORY", f"{tmp_path}/h.db")
        bodies = render(json.loads(text), f"kco-{home}", home, tmp_path)
        made = Stage(admin, site, app, until, bodies, home, there, tmp_path)
        await made.install()
        yield made
        with contextlib.suppress(Exception):
            await made.stop()
        for name in names:
            await admin.delete(NAMESPACES, None, name)


@pytest.mark.parametrize("stage", VARIANTS.values(), ids=list(VARIANTS), indirect=True)
async def test_51_what_is_granted_is_used_and_what_is_used_is_granted(stage: Stage) -> None:
    granted = stage.granted()
    await stage.start()
    await watching(stage)
    resources = {(resource, verb) for _, _, resource, verb in granted}
    if ("secrets", "get") in resources:
        await references(stage)
    if ("serviceaccounts", "impersonate") in resources:
        await borrowed_rights(stage)
    enabled = stage.operators[0][0].settings.enabled_actions
    for action, scene in SCENES.items():
        if action in enabled:
            await scene(stage)
    if stage.operators[0][0].settings.sharing == "shares":
        await two_replicas(stage)
    await stage.stop()
    used = await stage.used()
    assert sorted(used - granted) == [], "used, and not granted by the chart"
    assert sorted(granted - used) == [], "granted by the chart, and not used"
