"""Where the examples are played: clusters with nodes, the application in every pod, names of the outside world.

Pods are the kubelet's own (scheduled, started, evicted, replaced by their controllers), but their program runs here:
for each pod the example application is started when the pod has an address, and ended with it. `Streets` leads
connections to a pod's address, or to a name of the outside world, to the server that stands for it.
"""

import asyncio
import contextlib
import importlib.util
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from operator_kit.kube.client import PODS, KubeClient, Resource
from operator_kit.kube.config import ClusterConfig
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.environment.virtual_time import VirtualTimeLoop, run

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
SERVED = {
    "ConfigMap": Resource("", "v1", "configmaps"),
    "Deployment": Resource("apps", "v1", "deployments"),
    "Secret": Resource("", "v1", "secrets"),
    "Service": Resource("", "v1", "services"),
    "TargetApp": Resource("operator.kco.local", "v1alpha1", "targetapps"),
}


class Streets:
    """Names, addresses and ports of the examples' world; everything else of the loop's network stays as it is."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self.doors: dict[tuple[str, int], Callable[[], int]] = {}

    def lead(self, host: str, port: int, to: Callable[[], int]) -> None:
        """Connections to this name and port go to a port of this machine."""
        address = self._names.setdefault(host, f"198.51.100.{len(self._names) + 1}")
        self.doors[address, port] = to

    def pave(self, loop: Any) -> None:
        connect, resolve = loop.create_connection, loop.getaddrinfo

        async def create_connection(factory: Any, host: Any = None, port: Any = None, **more: Any) -> Any:
            door = self.doors.get((host, port))
            if door is not None:
                host, port = "127.0.0.1", door()
            return await connect(factory, host, port, **more)

        async def getaddrinfo(host: Any, port: Any, **more: Any) -> Any:
            if host in self._names:
                return [(2, 1, 6, "", (self._names[host], port))]
            return await resolve(host, port, **more)

        loop.create_connection, loop.getaddrinfo = create_connection, getaddrinfo


class Inbox:
    """A server of somebody else's that keeps what it is sent."""

    def __init__(self) -> None:
        self.letters: list[tuple[dict[str, str], Any]] = []
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self, tls: Any = None) -> None:
        application = web.Application()
        application.router.add_post("/{path:.*}", self._receive)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handle_signals=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=tls).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        self.letters.append((dict(request.headers), await request.json()))
        return web.Response(text="thank you")


class Town:
    """One cluster with its pods' programs. `kinds` gives port, schema and first state by the label `app`."""

    def __init__(
        self, cluster: EmbeddedCluster, client: KubeClient, streets: Streets, until: Callable[..., Any]
    ) -> None:
        self.cluster = cluster
        self._until = until
        self.client = client
        self.config = client.config
        self.streets = streets
        self.graves: list[Any] = []  # asked for by a replica that is killed
        self.kinds: dict[str, tuple[int, str, dict[str, Any]]] = {}
        self.apps: dict[str, Any] = {}  # by the pod's uid
        self.pods: dict[str, dict[str, Any]] = {}

    async def make_namespace(self, name: str) -> None:
        await self.client.create(
            NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        )

    async def apply(self, namespace: str, *bodies: Path | dict[str, Any]) -> None:
        """Create what a file holds, as it stands."""
        for given in bodies:
            found = [given] if isinstance(given, dict) else list(yaml.safe_load_all(given.read_text()))
            for body in found:
                await self.client.create(SERVED[body["kind"]], namespace, body)

    async def read(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        return await self.client.get(SERVED[kind], namespace, name)

    def living(self, label: str) -> list[tuple[str, Any]]:
        """Names and programs of the pods with `app=label` that are ready."""
        found = []
        for uid, application in self.apps.items():
            pod = self.pods[uid]
            conditions = (pod.get("status") or {}).get("conditions") or []
            ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
            if (
                pod["metadata"]["labels"].get("app") == label
                and ready
                and "deletionTimestamp" not in pod["metadata"]
            ):
                found.append((pod["metadata"]["name"], application))
        return sorted(found, key=lambda entry: entry[0])

    async def until(self, question: Callable[[], Any], seconds: float = 120.0) -> Any:
        """Wait in virtual seconds until a question has a true answer."""
        return await self._until(question, seconds, pause=0.5)

    async def ready(self, label: str, count: int) -> list[tuple[str, Any]]:
        return list(await self.until(lambda: len(self.living(label)) == count and self.living(label)))

    # -- the pods' programs ------------------------------------------------------------------------------

    async def populate(self) -> None:
        listing = await self.client.list(PODS)
        since = listing["metadata"]["resourceVersion"]
        while True:  # a watch ends after some minutes
            async for kind, pod in self.client.watch(PODS, None, since=since):
                since = pod["metadata"]["resourceVersion"]
                uid = pod["metadata"].get("uid", "")
                if kind == "DELETED":
                    await self._vacate(uid)
                elif kind != "BOOKMARK":
                    self.pods[uid] = pod
                    if (pod.get("status") or {}).get("podIP") and uid not in self.apps:
                        await self._settle(uid, pod)

    async def _settle(self, uid: str, pod: dict[str, Any]) -> None:
        module = sys.modules["kco_graphql_app"]
        label = pod["metadata"]["labels"]["app"]
        port, schema, state = self.kinds.get(label, (8080, module.SCHEMA, module.STATE))
        application = self.apps[uid] = module.Application(schema, state)
        await application.start()
        application.address = (pod["status"]["podIP"], port)
        self.streets.doors[application.address] = application.door = lambda: application.port

    async def _vacate(self, uid: str) -> None:
        application = self.apps.pop(uid, None)
        self.pods.pop(uid, None)
        if application is not None:
            # The address may belong to the next pod already.
            if self.streets.doors.get(application.address) is application.door:
                del self.streets.doors[application.address]
            await application.stop()


@contextlib.asynccontextmanager
async def town(
    install: Callable[..., Any], until: Callable[..., Any], streets: Streets, range: str
) -> AsyncIterator[Town]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    options = ClusterOptions(nodes=2, tls=False, seed=1, pod_range=range)
    async with EmbeddedCluster(options, loop.clock()) as cluster:
        config = ClusterConfig(server=cluster.url, token=cluster.admin_token)
        async with KubeClient(config, user_agent="test") as client:
            await install(client)
            made = Town(cluster, client, streets, until)
            populating = asyncio.create_task(made.populate())
            try:
                yield made
            finally:
                populating.cancel()
                await asyncio.gather(populating, return_exceptions=True)
                for application in made.apps.values():
                    await application.stop()


@pytest.fixture
def play(install_crds: Callable[..., Any], until: Callable[..., Any]) -> Callable[..., None]:
    """Play a story (an async function of a Town) in virtual time."""

    def perform(story: Callable[[Town], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            streets = Streets()
            streets.pave(asyncio.get_running_loop())
            async with town(install_crds, until, streets, "10.11.0.0/16") as made:
                await made.make_namespace("shop")
                await story(made)

        run(main())

    return perform


@pytest.fixture
def second_town(install_crds: Callable[..., Any], until: Callable[..., Any]) -> Callable[[Town], Any]:
    """Another cluster on the same streets."""
    return lambda first: town(install_crds, until, first.streets, "10.12.0.0/16")


@pytest.fixture
def streets() -> Streets:
    """For what is played in real time."""
    return Streets()


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    made = Inbox()
    yield made
    await made.stop()


@pytest.fixture
def new_inbox() -> type[Inbox]:
    return Inbox


@pytest.fixture
def examples() -> Path:
    return EXAMPLES


@pytest.fixture
def start(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Start a whole operator on a town's loop; what the operator's own tests call a replica."""
    name, path = "kco_virtual_operator", EXAMPLES.parent / "tests" / "operator" / "conftest.py"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    replica = sys.modules[name].Replica
    return lambda place, **settings: replica(place, "shop", **settings)
