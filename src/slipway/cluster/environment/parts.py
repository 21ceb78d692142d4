"""The cluster's own clients: controllers, scheduler and nodes, started and stopped with it."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Protocol

from slipway.cluster.access.certificates import CertificateAuthority
from slipway.cluster.access.service_accounts import TokenSigner
from slipway.cluster.client.client import Client
from slipway.cluster.client.events import EventRecorder
from slipway.cluster.client.informer import InformerFactory
from slipway.cluster.clock import Clock
from slipway.cluster.controllers.controller import Context, Pace
from slipway.cluster.controllers.custom_resource_cleanup import CustomResourceCleanup
from slipway.cluster.controllers.registrations import Settings, registrations
from slipway.cluster.controllers.runner import ControllerRunner
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Identity
from slipway.cluster.nodes.cluster_nodes import ClusterNodes
from slipway.cluster.nodes.runtimes import NodesSettings
from slipway.cluster.scheduler.scheduler import Scheduler

Connect = Callable[[Identity, str], Client]

_CERTIFICATE_LIFETIME = 365 * 24 * 3600  # seconds, when a request names none
_API_SERVER = Identity("system:apiserver", ("system:masters", "system:authenticated"))
_SCHEDULER = Identity("system:kube-scheduler", ("system:authenticated",))


class Part(Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


def controllers(
    options: ClusterOptions,
    connect: Connect,
    clock: Clock,
    signer: TokenSigner,
    authority: CertificateAuthority | None,
    volumes: Path,
) -> ControllerRunner:
    """`volumes` is where the provisioner makes folders for claims, when there are any."""

    async def mint(namespace: str, account: str, account_uid: str, secret: str, secret_uid: str) -> str:
        metadata = {"namespace": namespace, "name": account, "uid": account_uid}
        return signer.issue_legacy({"metadata": metadata}, secret)

    def sign(request: bytes, usages: list[str], seconds: int | None) -> bytes:
        assert authority is not None
        now = datetime.datetime.now(datetime.UTC)
        return authority.sign_request(
            request, seconds=seconds or _CERTIFICATE_LIFETIME, usages=usages, now=now
        )

    settings = Settings(
        ca_bundle=authority.certificate.decode() if authority else "",
        mint_token=mint,
        sign_certificate=sign if authority else None,
        volumes_root=volumes,
    )
    return ControllerRunner(
        connect,
        registrations(settings),
        clock=clock,
        random=Random(options.seed),
        off=options.disabled_controllers,
    )


def nodes(options: ClusterOptions, named: str, connect: Connect, clock: Clock, folder: Path) -> ClusterNodes:
    """The nodes, whose names begin with `named`, and what runs their pods."""
    settings = NodesSettings(
        cluster=options.name,
        named=named,
        count=options.nodes,
        runtime=options.runtime,
        folder=folder,
        pod_range=options.pod_range,
        service_range=options.service_range,
        seed=options.seed,
        version=options.version,
        mapping=options.images,
        behaviours=options.behaviours,
    )
    return ClusterNodes(settings, connect, clock)


class ApiServerPart:
    """What a kube-apiserver does on its own, with a client of its own: deleted CRDs take their objects along."""

    def __init__(self, options: ClusterOptions, connect: Connect, clock: Clock) -> None:
        agent = f"kube-apiserver/v{options.version}.0 (linux/amd64) kubernetes/slipway"
        self._client = connect(_API_SERVER, agent)
        self._informers = InformerFactory(self._client)
        pace = Pace(asyncio.Event())
        pace.running.set()
        recorder = EventRecorder(self._client, "kube-apiserver")
        context = Context(self._client, self._informers, recorder, clock, Random(options.seed), pace)
        self._cleanup = CustomResourceCleanup(context)
        self._work: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._work = asyncio.create_task(self._cleanup.run(), name="custom resource cleanup")
        self._informers.start()

    async def stop(self) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)
        await self._informers.stop()
        await self._client.close()


class SchedulerPart:
    """The scheduler; with informers of its own when there are no controllers to share theirs."""

    def __init__(self, options: ClusterOptions, connect: Connect, shared: InformerFactory | None) -> None:
        client = connect(_SCHEDULER, "kube-scheduler/v1.37.0 (linux/amd64) kubernetes/slipway/scheduler")
        self._own = InformerFactory(client) if shared is None else None
        self.scheduler = Scheduler(
            client, shared or self._own or InformerFactory(client), Random(options.seed)
        )

    async def start(self) -> None:
        await self.scheduler.start()
        if self._own is not None:
            self._own.start()

    async def stop(self) -> None:
        await self.scheduler.stop()
        if self._own is not None:
            await self._own.stop()
