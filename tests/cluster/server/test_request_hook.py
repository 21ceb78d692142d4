"""The one hook that every request passes: it sees all, and can lose an answer after the write was done."""

from __future__ import annotations

import asyncio

import pytest

from slipway.cluster.client.client import Client
from slipway.cluster.client.http import Access, HttpTransport
from slipway.cluster.client.resources import CONFIG_MAPS
from slipway.cluster.clock import Clock
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Handler, Request, Response


async def test_the_hook_sees_sockets_this_process_and_the_controllers() -> None:
    agents: set[str] = set()

    def record(handle: Handler) -> Handler:
        async def recorded(request: Request) -> Response:
            agents.add(request.headers.get("user-agent", "").partition("/")[0])
            return await handle(request)

        return recorded

    options = ClusterOptions(tls=False, nodes=0, tokens={"t": ("admin", ("system:masters",))})
    async with EmbeddedCluster(options, hook=record) as cluster:
        await cluster.client().list(CONFIG_MAPS, "default")
        transport = HttpTransport(Access(cluster.url, headers={"authorization": "Bearer t"}))
        await Client(transport, user_agent="outside/1", clock=Clock()).list(CONFIG_MAPS, "default")
        await transport.close()
        async with asyncio.timeout(30):
            while not any("controller" in agent for agent in agents):  # noqa: ASYNC110
                await asyncio.sleep(0.02)
    assert {"outside", "kubernetes-admin"} <= agents


async def test_an_answer_can_be_lost_after_its_write_was_done() -> None:
    def lose_answers_to_posts(handle: Handler) -> Handler:
        async def wrapped(request: Request) -> Response:
            response = await handle(request)
            if request.method == "POST" and request.headers.get("user-agent") == "unlucky":
                raise ConnectionResetError("a fault rule")
            return response

        return wrapped

    options = ClusterOptions(
        tls=False, nodes=0, controllers=False, tokens={"t": ("admin", ("system:masters",))}
    )
    async with EmbeddedCluster(options, hook=lose_answers_to_posts) as cluster:
        transport = HttpTransport(Access(cluster.url, headers={"authorization": "Bearer t"}))
        client = Client(transport, user_agent="unlucky", clock=Clock())
        with pytest.raises(ConnectionError):
            await client.create(CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "default"}})
        assert (await client.get(CONFIG_MAPS, "a", "default"))["metadata"]["name"] == "a"
        await transport.close()
