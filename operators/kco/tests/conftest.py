"""Fixtures: an embedded cluster with KCO's CRDs, a GraphQL application to turn, a running operator."""

import asyncio
import contextlib
import importlib.util
import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from kco.operator.controller import TARGET_APPS
from kco.operator.process import Operator
from kco.settings import Settings
from operator_kit.kube.client import EVENTS, KubeClient, Resource
from operator_kit.kube.config import ClusterConfig, parse_kubeconfig
from slipway.cluster import Cluster

KCO = Path(__file__).resolve().parent.parent
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)


def _load(name: str, path: Path) -> Any:
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A thread that outlives what it belongs to is a fault here, not a remark."""
    strict = pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
    for item in items:
        if item.path.is_relative_to(KCO):
            item.add_marker(strict)


graphql_app = _load("kco_graphql_app", KCO / "examples" / "application" / "graphql_app.py")

QUERY = "query AppState { application { status health pendingTasks load lastError } }"


@pytest.fixture
async def app() -> AsyncIterator[Any]:
    """A GraphQL application on a free port."""
    application = graphql_app.Application()
    await application.start()
    yield application
    await application.stop()


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    """An API server and its controllers, without nodes; one for all tests of a process."""
    with Cluster(name="kco-tests", nodes=0) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def admin(control_plane: Cluster) -> ClusterConfig:
    return parse_kubeconfig(yaml.safe_dump(control_plane.kubeconfig()), source="embedded cluster")


@pytest.fixture
async def client(admin: ClusterConfig) -> AsyncIterator[KubeClient]:
    async with KubeClient(admin, user_agent="test") as kube:
        await install_definitions(kube)
        yield kube


async def install_definitions(kube: KubeClient) -> None:
    """The CRDs, once per cluster."""
    installed = {item["metadata"]["name"] for item in (await kube.list(CRDS))["items"]}
    for path in sorted((KCO / "crds").glob("*.yaml")):
        body = yaml.safe_load(path.read_text())
        if body["metadata"]["name"] not in installed:
            await kube.create(CRDS, None, body)
    for _ in range(100):
        served = (await kube.list(CRDS))["items"]
        if all(
            any(
                c["type"] == "Established" and c["status"] == "True"
                for c in item.get("status", {}).get("conditions", [])
            )
            for item in served
        ):
            return
        await asyncio.sleep(0.05)


@pytest.fixture
def install_crds() -> Callable[..., Any]:
    return install_definitions


@pytest.fixture
async def namespace(client: KubeClient, request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A namespace of the test's own."""
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "t-"}}
    made = await client.create(NAMESPACES, None, body)
    name = made["metadata"]["name"]
    yield name
    with contextlib.suppress(Exception):
        await client.delete(NAMESPACES, None, name)


class Bed:
    """A namespace in which an operator runs: make TargetApps, wait for what comes of them."""

    def __init__(self, client: KubeClient, config: ClusterConfig, namespace: str) -> None:
        self.client = client
        self.config = config
        self.namespace = namespace
        self.operators: list[tuple[Operator, asyncio.Task[int]]] = []

    def settings(self, **changes: Any) -> Settings:
        given = {
            "namespace": self.namespace,
            "operator_namespace": self.namespace,
            "metrics_port": 0,
            "health_port": 0,
            "allowed_networks": ("127.0.0.0/8",),
            "lease_duration": 3,
            **changes,
        }
        return Settings(**given)

    async def start(
        self, config: ClusterConfig | None = None, *, wait: bool = True, **changes: Any
    ) -> Operator:
        operator = Operator(self.settings(**changes), config or self.config, host="127.0.0.1")
        task = asyncio.create_task(operator.run(signals=False))
        self.operators.append((operator, task))
        if wait:
            waiting = asyncio.create_task(operator.started.wait())
            await asyncio.wait({task, waiting}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if task.done():
                task.result()
        return operator

    async def stop(self, operator: Operator | None = None) -> int:
        """Stop one operator (the latest), gracefully."""
        chosen, task = self.operators.pop() if operator is None else self._find(operator)
        chosen.stop()
        return await asyncio.wait_for(task, 60)

    async def kill(self, operator: Operator | None = None) -> None:
        """End an operator as a crash would: nothing is finished, released or written."""
        chosen, task = self.operators.pop() if operator is None else self._find(operator)
        for worker in list(chosen.services.queue._workers.values()):
            worker.cancel()
        chosen.services.queue._ledger = _Gone()  # type: ignore[assignment]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def _find(self, operator: Operator) -> tuple[Operator, "asyncio.Task[int]"]:
        entry = next(entry for entry in self.operators if entry[0] is operator)
        self.operators.remove(entry)
        return entry

    async def make(self, name: str = "app", **spec: Any) -> dict[str, Any]:
        given = {"stateQuery": QUERY, "pollingInterval": 1, **spec}
        body = {
            "apiVersion": "operator.kco.local/v1alpha1",
            "kind": "TargetApp",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": given,
        }
        return await self.client.create(TARGET_APPS, self.namespace, body)

    async def read(self, name: str = "app") -> dict[str, Any]:
        return await self.client.get(TARGET_APPS, self.namespace, name)

    async def edit(self, name: str = "app", **spec: Any) -> dict[str, Any]:
        return await self.client.patch(TARGET_APPS, self.namespace, name, {"spec": spec})

    async def events(self, reason: str | None = None) -> list[dict[str, Any]]:
        items = (await self.client.list(EVENTS, self.namespace))["items"]
        return [item for item in items if reason is None or item["reason"] == reason]

    async def runs(self) -> list[dict[str, Any]]:
        listing = await self.client.list(
            Resource("operator.kco.local", "v1alpha1", "actionruns"), self.namespace
        )
        return sorted(listing["items"], key=lambda item: item["metadata"]["creationTimestamp"])

    async def condition(self, kind: str, name: str = "app") -> dict[str, Any]:
        status = (await self.read(name)).get("status") or {}
        return next((entry for entry in status.get("conditions", []) if entry["type"] == kind), {})


class _Gone:
    """A ledger after the process has died: nothing reaches it."""

    def __getattr__(self, name: str) -> Any:
        async def nothing(*_: Any, **__: Any) -> None:
            await asyncio.Event().wait()

        return nothing


@pytest.fixture
async def bed(client: KubeClient, admin: ClusterConfig, namespace: str) -> AsyncIterator[Bed]:
    made = Bed(client, admin, namespace)
    yield made
    for operator, _ in made.operators:
        operator.stop()
    for _, task in made.operators:
        await asyncio.wait({task}, timeout=60)
        assert task.done(), f"the operator does not stop: {task.get_stack()}"


@pytest.fixture
def until() -> Callable[..., Any]:
    """Wait until an (asynchronous) question has a true answer, and give that answer; by the clock of the loop."""

    async def wait(question: Callable[[], Any], seconds: float = 60.0, pause: float = 0.05) -> Any:
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            answer = question()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return answer
            if loop.time() > end:
                raise AssertionError(f"not within {seconds} s: last answer {answer!r}")
            await asyncio.sleep(pause)

    return wait


def postgresql_programs() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of the test's own: private folder, free port, own user."""
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("PostgreSQL is missing: apt-get install postgresql")
    folder = tmp_path_factory.mktemp("pg")
    before: dict[str, Any] = {}
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("running as root without a user postgres: apt-get install postgresql")
        before = {"user": user.pw_uid, "group": user.pw_gid}
        for place in (folder, *folder.parents):
            if str(place) != "/" and "pytest" in str(place):
                place.chmod(0o755)
        os.chown(folder, user.pw_uid, user.pw_gid)
    data = folder / "data"
    quiet: dict[str, Any] = {"check": True, "capture_output": True, "cwd": "/", **before}
    subprocess.run([programs / "initdb", "-D", data, "-U", "kco", "-A", "trust", "--no-sync"], **quiet)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    subprocess.run(
        [programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start"], **quiet
    )
    yield f"postgresql://kco@127.0.0.1:{port}/postgres"
    subprocess.run([programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **{**quiet, "check": False})
