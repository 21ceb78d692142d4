"""A whole cluster in the running event loop: control plane, listener, controllers, scheduler, nodes.

`async with EmbeddedCluster(options) as cluster` is what everything else is made of: `environment.cluster` runs it
in a thread for synchronous callers, `slipway up` in a process of its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import datetime
import secrets
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from slipway.cluster.access.certificates import CertificateAuthority, KeyPair
from slipway.cluster.client.client import Client
from slipway.cluster.client.transport import InProcessTransport
from slipway.cluster.clock import Clock
from slipway.cluster.controllers.runner import ControllerRunner
from slipway.cluster.environment import addresses, parts
from slipway.cluster.environment.cluster_identity import ClusterIdentity
from slipway.cluster.environment.collector import collector_at_rest
from slipway.cluster.environment.control_plane import ControlPlane
from slipway.cluster.environment.kubeconfig import kubeconfig
from slipway.cluster.environment.kubernetes_service import ensure_kubernetes_service, service_address
from slipway.cluster.environment.listening import ListeningHost
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Handler, Identity
from slipway.cluster.faults import Faults
from slipway.cluster.kubelet import Kubelet
from slipway.cluster.nodes.cluster_nodes import ClusterNodes
from slipway.cluster.nodes.runtimes import best_runtime
from slipway.cluster.server.listener import Listener, serve


class ClusterError(Exception):
    """The cluster cannot do what was asked; the text says what to change."""


class EmbeddedCluster:
    """Start with `start` or `async with`. `clock` is the loop's own time where that is virtual.

    `hook` wraps the one handler that every request passes, from sockets and from this process alike: it may
    record, delay, answer in its place, or raise ConnectionError, which drops the connection.
    """

    def __init__(
        self,
        options: ClusterOptions | None = None,
        clock: Clock | None = None,
        hook: Callable[[Handler], Handler] | None = None,
    ) -> None:
        self.options = options or ClusterOptions()
        self._hook = hook
        self._wrapped: Handler | None = None
        self._faults: Faults | None = None
        self.clock = clock or Clock()
        self.host = ListeningHost.of(self.options.host)
        if not self.options.tls and not self.host.is_loopback:
            raise ClusterError(
                f"plain http is served on loopback only, not on {self.options.host}: use TLS, or 127.0.0.1"
            )
        self._plane: ControlPlane | None = None
        self._listener: Listener | None = None
        self._identity: ClusterIdentity
        self._authority: CertificateAuthority | None = None
        self._admin: KeyPair | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._ranges = addresses.RangeLeases()
        self._running: list[parts.Part] = []
        self._controllers: ControllerRunner | None = None
        self.kubelets: dict[str, Kubelet] = {}
        self._nodes: ClusterNodes | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    @property
    def plane(self) -> ControlPlane:
        if self._plane is None:
            raise ClusterError("the cluster has not been started")
        return self._plane

    @property
    def controllers(self) -> ControllerRunner:
        """Pause, slow down, switch off or replace controllers by kube-controller-manager's names."""
        if self._controllers is None:
            raise ClusterError("this cluster runs no controllers: start it with controllers=True")
        return self._controllers

    @property
    def faults(self) -> Faults:
        """What this API server does wrong: rules for tests."""
        if self._faults is None:
            raise ClusterError("the cluster has not been started")
        return self._faults

    @property
    def port(self) -> int:
        if self._listener is None:
            raise ClusterError("the cluster has not been started")
        return self._listener.port

    @property
    def url(self) -> str:
        return f"{'https' if self.options.tls else 'http'}://{self.host.in_url}:{self.port}"

    @property
    def listener(self) -> Listener:
        if self._listener is None:
            raise ClusterError("the cluster does not listen: start it with listen=True")
        return self._listener

    @property
    def admin_token(self) -> str:
        return self.plane.admin_token

    @property
    def ca(self) -> bytes | None:
        """The certificate authority's certificate in PEM; None when nothing listens."""
        return self._authority.certificate if self._authority else None

    async def start(self) -> None:
        try:
            with collector_at_rest():
                await self._start()
        except BaseException:
            await self.stop()
            raise

    def _lease_ranges(self, identity: ClusterIdentity) -> ClusterOptions:
        """The options with ranges that nobody else has; those that a state file's objects have addresses of."""
        asked = self.options
        if asked.runtime == "auto":
            asked = dataclasses.replace(asked, runtime=best_runtime())
        kept = identity.service_range
        if kept and asked.service_range not in {"", kept}:
            raise ClusterError(
                f"--service-range {asked.service_range}: the Services in {asked.state} have addresses in {kept};"
                " start it without --service-range"
            )
        pods, services = asked.pod_range or identity.pod_range, kept or asked.service_range
        if asked.runtime == "simulated" or not asked.nodes:
            # Without real pods nothing is routed: any range will do.
            pods, services = pods or addresses.PODS, services or addresses.SERVICES
        else:
            try:
                pods, services = self._take_ranges(asked.nodes, pods, services)
            except addresses.RangeError as error:
                if not kept:
                    raise
                raise ClusterError(f"{asked.state} cannot have its addresses back: {error}") from None
        return dataclasses.replace(asked, pod_range=pods, service_range=services)

    def _take_ranges(self, nodes: int, pods: str, services: str) -> tuple[str, str]:
        """Lease what is asked for, or a free one for each that is empty."""
        routes = addresses.host_routes()
        least = addresses.PODS_PER_NODE_LEAST * nodes
        taken = self._ranges.take(pods, "--pod-range", addresses.PODS, least, routes)
        others = [*routes, taken]
        least = addresses.SERVICES_LEAST
        given = self._ranges.take(services, "--service-range", addresses.SERVICES, least, others)
        return str(taken), str(given)

    async def _start(self) -> None:
        state = self.options.state
        identity = ClusterIdentity.of(state, datetime.datetime.now(datetime.UTC))
        self.options = self._lease_ranges(identity)
        self._plane = ControlPlane.create(self.options, self.clock, identity.token_key.encode())
        self._identity = identity.as_started(
            state, self.options.name, self.options.pod_range, self.options.service_range
        )
        self._faults = Faults(
            self._plane.api,
            self.clock,
            lambda: self._listener,
            asyncio.get_running_loop(),
            self.options.seed or 0,
        )
        self._wrapped = None
        self.kubelets = self._plane.kubelets
        await self._plane.bootstrap()
        if self.options.listen:
            tls = self._tls_context()
            try:
                self._listener = await serve(self._handler(), self.host.address, self.options.port, tls)
            except OSError as error:
                raise self.host.refused(self.options.port, error) from None
            self._plane.address = f"{self.host.in_url}:{self._listener.port}"
            await ensure_kubernetes_service(
                self._plane.registry, self.options, self.host, self._listener.port
            )
        await self._begin(parts.ApiServerPart(self.options, self._connect, self.clock))
        shared = None
        if self.options.controllers:
            runner = parts.controllers(
                self.options,
                self._connect,
                self.clock,
                self._plane.signer,
                self._authority,
                self._claims_folder(),
            )
            await self._begin(runner)
            self._controllers = runner
            shared = runner.informers
        if self.options.scheduler:
            await self._begin(parts.SchedulerPart(self.options, self._connect, shared))
        if self.options.nodes:
            self._nodes = parts.nodes(
                self.options, self._identity.nodes, self._connect, self.clock, self.data_folder()
            )
            await self._begin(self._nodes)
            self.kubelets.update(self._nodes.kubelets)

    async def _begin(self, part: parts.Part) -> None:
        self._running.append(part)
        await part.start()

    def _handler(self) -> Handler:
        """The one way into the API, for sockets and for what runs in this process alike."""
        if self._wrapped is None:
            handle = self.faults.around(self.plane.api.handle)
            self._wrapped = self._hook(handle) if self._hook is not None else handle
        return self._wrapped

    def _connect(self, identity: Identity, user_agent: str) -> Client:
        transport = InProcessTransport(self._handler(), identity)
        return Client(transport, user_agent=user_agent, clock=self.clock)

    def _tls_context(self) -> Any:
        # TLS libraries look at the machine's clock, so certificates are dated by it even in virtual time.
        now = datetime.datetime.now(datetime.UTC)
        self._authority = self._identity.authority(now)
        if not self.options.tls:
            return None
        names = list(
            dict.fromkeys(
                [
                    *self.host.names(),
                    "127.0.0.1",
                    "::1",
                    "localhost",
                    "kubernetes",
                    "kubernetes.default",
                    "kubernetes.default.svc",
                    "kubernetes.default.svc.cluster.local",
                    service_address(self.options.service_range),
                ]
            )
        )
        self._admin = self._authority.issue_client("kubernetes-admin", ["system:masters"])
        return self._authority.server_context(self._authority.issue_server(names))

    @property
    def nodes(self) -> ClusterNodes:
        if self._nodes is None:
            raise ClusterError("the cluster runs no nodes")
        return self._nodes

    def data_folder(self) -> Path:
        """Where nodes keep logs and volumes."""
        if self.options.data is not None:
            self.options.data.mkdir(parents=True, exist_ok=True)
            return self.options.data
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix=f"slipway-{self.options.name}-")
        return Path(self._folder.name)

    def _claims_folder(self) -> Path:
        """Where claims get their folders: beside the state, whose volumes name them, and which outlives all else."""
        state = self.options.state
        return self.data_folder() / "claims" if state is None else state.with_name(f"{state.name}.claims")

    async def stop(self) -> None:
        """Stop everything; harmless when stopped already."""
        for part in reversed(self._running):
            await part.stop()
        self._running.clear()
        if self._listener is not None:
            await self._listener.close()
            self._listener = None
        if self._plane is not None:
            self._plane.close()
        self._ranges.release()
        if self._folder is not None:
            folder, self._folder = self._folder, None
            await asyncio.to_thread(folder.cleanup)

    def kubeconfig(self, namespace: str = "default") -> dict[str, Any]:
        """The administrator's kubeconfig, as an object."""
        return kubeconfig(
            self.options.name,
            self.url,
            ca=self.ca if self.options.tls else None,
            client=self._admin,
            token="" if self._admin else self.admin_token,
            namespace=namespace,
        )

    def client(self, user: str = "kubernetes-admin", groups: tuple[str, ...] = ("system:masters",)) -> Client:
        """A client of this process: no sockets, the same API."""
        transport = InProcessTransport(self._handler(), Identity(user, groups))
        return Client(transport, user_agent=user.rpartition(":")[2], clock=self.clock)

    def new_token(self, user: str, groups: tuple[str, ...] = ()) -> str:
        """A bearer token for a user of one's choice, valid while this cluster runs."""
        token = secrets.token_urlsafe(24)
        self.plane.tokens.identities[token] = Identity(user, groups)
        return token

    def revoke_token(self, token: str) -> None:
        """Refuse a token of `new_token` from now on; streams that it opened go on, as they do in Kubernetes."""
        self.plane.tokens.identities.pop(token, None)
