"""kopf's part: watch TargetApps and pass every change on.

Raw event handlers are used on purpose: kopf then writes nothing into the objects, needs no finalizer (so a
deletion while the operator is down completes) and sends no Events of its own.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import kopf

from kco.spec.targetapp import GROUP, VERSION
from operator_kit.kube.client import KubeClient

Observe = Callable[[dict[str, Any]], None]


def build_registry(
    observe: Observe, vanished: Callable[[str], None], client: KubeClient
) -> kopf.OperatorRegistry:
    """A kopf registry with this operator's handlers."""
    registry = kopf.OperatorRegistry()

    @kopf.on.startup(registry=registry)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.networking.request_timeout = 60
        settings.watching.server_timeout = 240
        settings.queueing.exit_timeout = 1.0
        settings.process.ultimate_exiting_timeout = None

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await connection_info(client)

    @kopf.on.event(GROUP, VERSION, "targetapps", registry=registry)
    async def changed(type: str | None, body: kopf.Body, **_: Any) -> None:
        if type == "DELETED":
            vanished(body["metadata"]["uid"])
        else:
            observe(dict(body))

    return registry


async def connection_info(client: KubeClient) -> kopf.ConnectionInfo:
    """The client's configuration in kopf's words, so that both talk to the same cluster as the same user."""
    import base64

    config = client.config

    def encode(text: str | None) -> bytes | None:
        return base64.b64encode(text.encode()) if text else None

    return kopf.ConnectionInfo(
        server=config.server,
        ca_data=encode(config.certificate_authority),
        insecure=config.insecure or None,
        certificate_data=encode(config.client_certificate),
        private_key_data=encode(config.client_key),
        token=await config.bearer(),
        username=config.username,
        password=config.password,
        default_namespace=config.namespace,
    )


async def run_watch(
    registry: kopf.OperatorRegistry, *, namespace: str, ready: asyncio.Event, stop: asyncio.Event
) -> None:
    """Run kopf until `stop` is set."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
    await kopf.operator(
        registry=registry,
        standalone=True,
        clusterwide=not namespace,
        namespaces=[namespace] if namespace else [],
        ready_flag=ready,
        stop_flag=stop,
    )
