"""Services and DNS of a cluster whose pods really run: started with its nodes."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable, Sequence
from random import Random

from slipway.cluster.client.client import Client
from slipway.cluster.client.informer import InformerFactory
from slipway.cluster.client.resources import ENDPOINT_SLICES, PODS, SERVICES
from slipway.cluster.exchange import Identity
from slipway.cluster.nodes.dns import DnsServer, Zone
from slipway.cluster.nodes.namespaces.runtime import NamespacesRuntime
from slipway.cluster.nodes.services import ServiceProxy
from slipway.cluster.status import StatusError

logger = logging.getLogger(__name__)

_PROXY = Identity("system:kube-proxy", ("system:authenticated",))
_NODE = Identity("system:node:network", ("system:nodes", "system:authenticated"))
_ADMIN = Identity("kubernetes-admin", ("system:masters", "system:authenticated"))
_DNS = ("kube-system", "kube-dns")
_AGENT = "kube-proxy/v1.37.0 (linux/amd64) kubernetes/slipway"


class ClusterNetwork:
    """`runtime` None means that pods have no network of their own: NodePorts are all there is then. `nodes` are the
    addresses that the nodes have in it."""

    def __init__(
        self,
        connect: Callable[[Identity, str], Client],
        runtime: NamespacesRuntime | None,
        pod_range: str,
        service_range: str,
        random: Random,
        nodes: Sequence[str] = (),
    ) -> None:
        self._runtime = runtime
        self._pods = ipaddress.ip_network(pod_range)
        self._services = ipaddress.ip_network(service_range)
        self._admin = connect(_ADMIN, _AGENT)
        self._client = connect(_PROXY, _AGENT)
        self._informers = InformerFactory(self._client)
        self._node = connect(_NODE, _AGENT)
        self._of_nodes = InformerFactory(self._node)
        bind = self._bind if runtime is not None else None
        pods = self._of_nodes.informer(PODS) if runtime is not None else None
        self._proxy = ServiceProxy(self._informers, bind, self._reach, random, frozenset({_DNS}), nodes, pods)
        self._server: DnsServer | None = None
        self._renewal: asyncio.Task[None] | None = None
        self.dns_address = ""

    async def start(self) -> None:
        if self._runtime is not None:
            self.dns_address = await self._reserve()
            self._server = DnsServer(Zone(self._informers), self._bind, self.dns_address)
            self._runtime.listeners.append(self)
        self._informers.start()
        self._of_nodes.start()
        await self._proxy.start()
        if self._server is not None:
            await self._server.start()

    def runtime_lost(self, why: str) -> None:
        """The network is gone with the process that made it."""

    def runtime_back(self) -> None:
        self._renewal = asyncio.create_task(self._renew(), name="the network's renewal")

    async def _renew(self) -> None:
        """The runtime has made the network anew: listen there."""
        self._proxy.reopen()
        if self._server is not None:
            await self._server.stop()
            try:
                await self._server.start()
            except OSError as error:
                logger.error("DNS on %s: %s", self.dns_address, error)

    async def stop(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.gather(self._renewal, return_exceptions=True)
        if self._server is not None:
            await self._server.stop()
        await self._proxy.stop()
        await self._informers.stop()
        await self._of_nodes.stop()
        await self._admin.close()
        await self._client.close()
        await self._node.close()

    def api_server(self) -> str:
        """Where the API server really listens, by the endpoints of its Service; empty while it does not."""
        for piece in self._informers.informer(ENDPOINT_SLICES).indexed("service", "default/kubernetes"):
            for port in piece.get("ports") or ():
                for endpoint in piece.get("endpoints") or ():
                    host = endpoint["addresses"][0]
                    shown = f"[{host}]" if ":" in host else host
                    return f"{port.get('name') or 'https'}://{shown}:{port['port']}"
        return ""

    async def _reserve(self) -> str:
        """The address of the Service kube-dns, which is made where it is missing."""
        namespace, name = _DNS
        ports = [
            {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": 53},
            {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": 53},
        ]
        wanted = str(self._services[10])
        labels = {"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}
        # Looked for first: to create it again would ask for an address that it has itself, and be refused for that.
        try:
            service = await self._admin.get(SERVICES, name, namespace)
        except StatusError as error:
            if error.reason != "NotFound":
                raise
            service = await self._admin.create(
                SERVICES,
                {
                    "metadata": {"name": name, "namespace": namespace, "labels": labels},
                    "spec": {"clusterIP": wanted, "ports": ports},
                },
            )
        return str(service["spec"]["clusterIP"])

    async def _bind(self, address: str, port: int, udp: bool) -> socket.socket:
        assert self._runtime is not None
        return await self._runtime.cluster_socket(address, port, udp=udp)

    async def _reach(self, address: str, port: int) -> socket.socket:
        """Connect as the host does, or from within the pods' network where the host has no way into it."""
        inside = self._runtime is not None and self._runtime.rootless
        if inside and ipaddress.ip_address(address) in self._pods:
            assert self._runtime is not None
            made = await self._runtime.cluster_socket()
        else:
            made = socket.socket()
            made.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(made, (address, port))
        except BaseException:
            made.close()
            raise
        return made
