"""All nodes of a cluster: one runtime and one set of images for them, shared looks at what pods refer to."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

from slipway.cluster.client.client import Client
from slipway.cluster.client.events import EventRecorder
from slipway.cluster.client.informer import InformerFactory
from slipway.cluster.client.resources import (
    CLUSTER_TRUST_BUNDLES,
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
from slipway.cluster.nodes.former_nodes import remove_former
from slipway.cluster.nodes.images import AnyImage, Images
from slipway.cluster.nodes.kubelet_service import KubeletService
from slipway.cluster.nodes.node_object import NodeFacts, host_capacity
from slipway.cluster.nodes.pod_status import Reporter
from slipway.cluster.nodes.runtimes import NodesSettings, make_runtime
from slipway.cluster.nodes.surroundings import ClusterDns, Surroundings
from slipway.cluster.status import StatusError

if TYPE_CHECKING:
    from slipway.cluster.nodes.network import ClusterNetwork

Object = dict[str, Any]
Connect = Callable[[Identity, str], Client]
_READ = {
    "ConfigMap": CONFIG_MAPS,
    "Secret": SECRETS,
    "PersistentVolumeClaim": PERSISTENT_VOLUME_CLAIMS,
    "PersistentVolume": PERSISTENT_VOLUMES,
}
_ADMIN = Identity("kubernetes-admin", ("system:masters", "system:authenticated"))
_AGENT = "kubelet/v1.37.0 (linux/amd64) kubernetes/slipway"


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
        await remove_former(self._client(_ADMIN), self.settings.nodes)
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
        # Simulated pods need none of it.
        from slipway.cluster.nodes.namespaces.runtime import NamespacesRuntime
        from slipway.cluster.nodes.network import ClusterNetwork
        from slipway.cluster.nodes.processes import ProcessRuntime

        runtime = self.runtime if isinstance(self.runtime, NamespacesRuntime) else None
        settings = self.settings
        random = Random(settings.seed)
        addresses = [runtime.node_address(name) for name in settings.nodes] if runtime is not None else []
        self.network = ClusterNetwork(
            self._connect, runtime, settings.pod_range, settings.service_range, random, addresses
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
            bundles=self._bundles,
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

    async def _bundles(self) -> list[Object]:
        """Watched from when a pod first wants them: hardly any cluster has pods that do."""
        assert self._informers is not None
        fresh = CLUSTER_TRUST_BUNDLES not in self._informers.known()
        informer = self._informers.informer(CLUSTER_TRUST_BUNDLES)
        if fresh:
            informer.add_handler(self._told("ClusterTrustBundle"))
        await informer.wait_synced()
        return informer.list()

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
            meta = (new or old or {})["metadata"]
            for agent in self.agents.values():
                agent.files_changed(kind, meta.get("namespace", ""), meta["name"])

        return changed
