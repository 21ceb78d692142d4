"""All nodes of a cluster: one runtime and one set of images for them, shared looks at what pods refer to."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from slipway.cluster.client.client import Client
from slipway.cluster.client.events import EventRecorder
from slipway.cluster.client.informer import InformerFactory
from slipway.cluster.client.resources import (
    CONFIG_MAPS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    SECRETS,
    SERVICES,
    ApiResource,
)
from slipway.cluster.clock import Clock
from slipway.cluster.exchange import Identity
from slipway.cluster.kubelet import Kubelet
from slipway.cluster.nodes.agent import NodeAgent
from slipway.cluster.nodes.container_environment import Lookup
from slipway.cluster.nodes.images import AnyImage, Images
from slipway.cluster.nodes.kubelet_service import KubeletService
from slipway.cluster.nodes.namespaces.kernel import NEWNET, NEWNS, NEWUSER
from slipway.cluster.nodes.namespaces.runtime import NamespacesRuntime
from slipway.cluster.nodes.network import ClusterNetwork
from slipway.cluster.nodes.node_object import NodeFacts, host_capacity
from slipway.cluster.nodes.pod_status import Reporter
from slipway.cluster.nodes.processes import ProcessRuntime
from slipway.cluster.nodes.runtime import Runtime
from slipway.cluster.nodes.surroundings import ClusterDns, Surroundings
from slipway.cluster.status import StatusError

Object = dict[str, Any]
Connect = Callable[[Identity, str], Client]
# rootless: namespaces in a user namespace, as without root.
RUNTIMES = ("auto", "namespaces", "rootless", "process", "simulated")
_READ = {
    "ConfigMap": CONFIG_MAPS,
    "Secret": SECRETS,
    "PersistentVolumeClaim": PERSISTENT_VOLUME_CLAIMS,
    "PersistentVolume": PERSISTENT_VOLUMES,
}
_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21
_AGENT = "kubelet/v1.37.0 (linux/amd64) kubernetes/slipway"


@dataclass(frozen=True, slots=True)
class NodesSettings:
    """`folder` is where logs and volumes lie; `mapping` a file with rows of images, read at each pull."""

    cluster: str
    count: int
    runtime: str
    folder: Path
    pod_range: str
    service_range: str
    seed: int | None = None
    version: str = "1.37"
    mapping: Path | None = None
    behaviours: Path | None = None  # of simulated pods: a behaviour file, or one of KWOK's Stages

    @property
    def nodes(self) -> list[str]:
        """The nodes' names."""
        return [f"{self.cluster}-{number + 1}" for number in range(self.count)]


class ClusterNodes:
    """Start and stop them; `kubelet(node)` answers for one."""

    def __init__(self, settings: NodesSettings, connect: Connect, clock: Clock) -> None:
        self.settings = settings
        self.clock = clock
        self.images = Images(folder=settings.folder / "images", mapping=settings.mapping)
        self.runtime = make_runtime(settings, clock)
        self.simulated = settings.runtime == "simulated"
        self._any_image = AnyImage()
        self.agents: dict[str, NodeAgent] = {}
        self._connect = connect
        self._kubelets: dict[str, KubeletService] = {}
        self._clients: list[Client] = []
        self._informers: InformerFactory | None = None
        self.network: ClusterNetwork | None = None

    async def start(self) -> None:
        """Start the runtime, register every node, then take up pods."""
        await self.runtime.start()
        if not self.simulated:
            await self._start_network()
        shared = self._client(
            Identity(f"system:node:{self.settings.cluster}", ("system:nodes", "system:authenticated"))
        )
        self._informers = InformerFactory(shared)
        for resource, kind in ((CONFIG_MAPS, "ConfigMap"), (SECRETS, "Secret")):
            self._informers.informer(resource).add_handler(self._told(kind))
        self._informers.informer(SERVICES)
        self._informers.start()
        await self._informers.wait_synced()
        for name in self.settings.nodes:
            agent = self._agent(name)
            self.agents[name] = agent
            self._kubelets[name] = KubeletService(agent)
            await agent.start()

    async def _start_network(self) -> None:
        runtime = self.runtime if isinstance(self.runtime, NamespacesRuntime) else None
        settings = self.settings
        random = Random(settings.seed)
        self.network = ClusterNetwork(
            self._connect, runtime, settings.pod_range, settings.service_range, random
        )
        if isinstance(self.runtime, ProcessRuntime):
            self.runtime.api_server = self.network.api_server
        await self.network.start()

    async def stop(self) -> None:
        for agent in self.agents.values():
            await agent.stop()
        self.agents.clear()
        if self._informers is not None:
            await self._informers.stop()
        if self.network is not None:
            await self.network.stop()
        await self.runtime.stop()
        for client in self._clients:
            await client.close()

    @property
    def kubelets(self) -> dict[str, Kubelet]:
        """Those of the nodes that this process runs, by the node's name."""
        return dict(self._kubelets)

    def _client(self, identity: Identity) -> Client:
        client = self._connect(identity, _AGENT)
        self._clients.append(client)
        return client

    def _agent(self, name: str) -> NodeAgent:
        client = self._client(Identity(f"system:node:{name}", ("system:nodes", "system:authenticated")))
        runtime, capacity = self.runtime, host_capacity(110)
        address = runtime.node_address(name)
        around = Surroundings(
            node=name,
            client=client,
            clock=self.clock,
            runtime=runtime,
            images=self._any_image if self.simulated else self.images,
            recorder=EventRecorder(client, "kubelet", host=name),
            reporter=Reporter(runtime.name, address),
            folder=self.settings.folder / "nodes" / name,
            find=self._finder,
            services=self._services,
            allocatable=capacity,
            dns=ClusterDns(self.network.dns_address if self.network else ""),
            files=not self.simulated,
        )
        return NodeAgent(
            around,
            NodeFacts(
                name, address, runtime.pod_range(name), runtime.name, capacity, f"v{self.settings.version}.0"
            ),
        )

    def _services(self) -> list[Object]:
        assert self._informers is not None
        return self._informers.informer(SERVICES).list()

    def _finder(self, namespace: str) -> Lookup:
        async def find(kind: str, name: str) -> Object | None:
            resource = _READ[kind]
            assert self._informers is not None
            if resource in (CONFIG_MAPS, SECRETS):
                known = self._informers.informer(resource).get(namespace, name)
                if known is not None:
                    return known
            return await self._read(resource, name, namespace)

        return find

    async def _read(self, resource: ApiResource, name: str, namespace: str) -> Object | None:
        assert self._informers is not None
        try:
            found: Object = await self._informers.client.get(
                resource, name, namespace if resource.namespaced else ""
            )
        except StatusError as error:
            if error.code == 404:
                return None
            raise
        return found

    def _told(self, kind: str) -> Callable[[Object | None, Object | None], None]:
        def changed(old: Object | None, new: Object | None) -> None:
            if new is not None and self.agents:
                meta = new["metadata"]
                for agent in self.agents.values():
                    agent.files_changed(kind, meta["namespace"], meta["name"])

        return changed


def make_runtime(settings: NodesSettings, clock: Clock) -> Runtime:
    """The runtime of that name; `auto` is the best that this machine can have."""
    random = Random(settings.seed)
    name = settings.runtime
    if name == "auto":
        name = best_runtime()
    if name == "process":
        return ProcessRuntime(settings.cluster, clock, random)
    if name == "simulated":
        # Imported where they are chosen: nobody else needs their tables of behaviours.
        from slipway.cluster.nodes.simulated import SimulatedRuntime
        from slipway.cluster.nodes.stages import read_behaviours

        book = read_behaviours(settings.behaviours) if settings.behaviours else None
        return SimulatedRuntime(clock, random, settings.pod_range, settings.count, book)
    if name in ("namespaces", "rootless"):
        return NamespacesRuntime(
            settings.cluster,
            clock,
            random,
            pod_range=settings.pod_range,
            service_range=settings.service_range,
            nodes=settings.nodes,
            rootless=name == "rootless" or os.geteuid() != 0,
        )
    raise ValueError(f"runtime {settings.runtime!r} is not one of {', '.join(RUNTIMES)}")


def best_runtime() -> str:
    """namespaces where Linux lets us, plain processes elsewhere."""
    return "namespaces" if namespaces_possible() else "process"


def namespaces_possible() -> bool:
    """Whether this process may make namespaces. Root with its capabilities may; for others only trying tells."""
    if sys.platform != "linux":
        return False
    if os.geteuid() == 0:
        return all(_capabilities() >> bit & 1 for bit in (_CAP_NET_ADMIN, _CAP_SYS_ADMIN))
    flags = NEWNET | NEWNS | NEWUSER
    code = f"import ctypes, sys; sys.exit(1 if ctypes.CDLL(None).unshare({flags}) else 0)"
    tried = subprocess.run([sys.executable, "-I", "-S", "-E", "-c", code], check=False)
    return tried.returncode == 0


def _capabilities() -> int:
    """The effective capabilities, as a bit mask."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
