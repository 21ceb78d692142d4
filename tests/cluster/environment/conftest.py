"""A cluster of nothing but an API server, and HTTPS servers for it to ask."""

from __future__ import annotations

import base64
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from slipway.cluster.access.certificates import CertificateAuthority
from slipway.cluster.client.client import Client
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Handler
from slipway.cluster.server.listener import serve

ClientConfig = Callable[[str], dict[str, Any]]


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    options = ClusterOptions(
        nodes=0, controllers=False, scheduler=False, listen=False, service_account_admission=False
    )
    async with EmbeddedCluster(options) as cluster:
        yield cluster.client("kubernetes-admin")


@pytest.fixture
async def serve_https() -> AsyncIterator[Callable[[Handler], Awaitable[ClientConfig]]]:
    """Serve a handler; what is returned gives the `clientConfig` of a webhook that asks it at a path."""
    async with AsyncExitStack() as closing:

        async def start(handler: Handler) -> ClientConfig:
            authority = CertificateAuthority.create(datetime.datetime.now(datetime.UTC), "hook")
            tls = authority.server_context(authority.issue_server(["127.0.0.1"]))
            listener = await serve(handler, "127.0.0.1", 0, tls)
            closing.push_async_callback(listener.close, grace=0)
            bundle = base64.b64encode(authority.certificate).decode()
            return lambda path: {"url": f"https://127.0.0.1:{listener.port}{path}", "caBundle": bundle}

        yield start
