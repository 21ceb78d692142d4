"""An API server in this process, asked by requests as they come from the wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Identity, Peer, Request

ADMIN = Peer("127.0.0.1", identity=Identity("admin", ("system:masters",)))


class Api:
    """`warnings` are those of the last answer."""

    def __init__(self, cluster: EmbeddedCluster) -> None:
        self._handle = cluster.plane.api.handle
        self.warnings: list[str] = []

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = b"",
        media: str = "application/json",
        accept: str = "application/json",
    ) -> tuple[int, Any]:
        """The status, and what the answer says; a body that is no bytes is sent as JSON."""
        path, _, query = path.partition("?")
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": media, "accept": accept}
        response = await self._handle(Request(method, path, query, headers, raw, ADMIN))
        self.warnings = [json.loads(text.partition(" - ")[2]) for text in response.warnings]
        assert isinstance(response.body, bytes)
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return response.status, json.loads(response.body) if is_json else response.body


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with EmbeddedCluster(ClusterOptions(nodes=0, listen=False, scheduler=False)) as cluster:
        yield Api(cluster)
