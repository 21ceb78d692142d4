"""The cluster's own clients: controllers, scheduler and nodes, started and stopped with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Protocol

from slipway.cluster.access.service_accounts import TokenSigner
from slipway.cluster.client.client import Client
from slipway.cluster.client.informer import InformerFactory
from slipway.cluster.clock import Clock
from slipway.cluster.controllers.registrations import Settings, registrations
from slipway.cluster.controllers.runner import ControllerRunner
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Identity
from slipway.cluster.nodes.agent import NodeAgent
from slipway.cluster.nodes.images import ImageTable
from slipway.cluster.nodes.processes import ProcessRuntime
from slipway.cluster.nodes.runtime import Runtime
from slipway.cluster.scheduler.scheduler import Scheduler

Connect = Callable[[Identity, str], Client]

_SCHEDULER = Identity("system:kube-scheduler", ("system:authenticated",))


class Part(Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


def controllers(
    options: ClusterOptions,
    connect: Connect,
    clock: Clock,
    signer: TokenSigner,
    ca: bytes | None,
    volumes: Path,
) -> ControllerRunner:
    """`volumes` is where the provisioner makes folders for claims, when there are any."""

    async def mint(namespace: str, account: str, account_uid: str, secret: str, secret_uid: str) -> str:
        metadata = {"namespace": namespace, "name": account, "uid": account_uid}
        return signer.issue_legacy({"metadata": metadata}, secret)

    settings = Settings(ca_bundle=(ca or b"").decode(), mint_token=mint, volumes_root=volumes)
    return ControllerRunner(
        connect,
        registrations(settings),
        clock=clock,
        random=Random(options.seed),
        off=options.disabled_controllers,
    )


def runtime_of(options: ClusterOptions, clock: Clock) -> Runtime:
    """The runtime that the options name; `auto` is the best that this machine allows."""
    return ProcessRuntime(clock)


def node_agents(
    options: ClusterOptions, connect: Connect, clock: Clock, folder: Path, images: ImageTable
) -> list[NodeAgent]:
    """One agent a node, each with an identity of its own."""
    agents = []
    for number in range(1, options.nodes + 1):
        name = f"{options.name}-{number}"
        identity = Identity(f"system:node:{name}", ("system:nodes",))
        client = connect(identity, f"kubelet/v{options.version}.0 (linux/amd64) kubernetes/slipway")
        agents.append(
            NodeAgent(
                name, client, runtime_of(options, clock), images, folder / name, version=options.version
            )
        )
    return agents


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
