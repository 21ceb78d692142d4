"""The cluster's own clients: controllers, scheduler and nodes, started and stopped with it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

from slipway.cluster.access.service_accounts import TokenSigner
from slipway.cluster.client.client import Client
from slipway.cluster.clock import Clock
from slipway.cluster.controllers.registrations import Settings, registrations
from slipway.cluster.controllers.runner import ControllerRunner
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Identity

Connect = Callable[[Identity, str], Client]


class Part(Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


def controllers(
    options: ClusterOptions, connect: Connect, clock: Clock, signer: TokenSigner, ca: bytes | None
) -> ControllerRunner:
    async def mint(namespace: str, account: str, account_uid: str, secret: str, secret_uid: str) -> str:
        metadata = {"namespace": namespace, "name": account, "uid": account_uid}
        return signer.issue_legacy({"metadata": metadata}, secret)

    settings = Settings(ca_bundle=(ca or b"").decode(), mint_token=mint)
    return ControllerRunner(
        connect,
        registrations(settings),
        clock=clock,
        random=Random(options.seed),
        off=options.disabled_controllers,
    )
