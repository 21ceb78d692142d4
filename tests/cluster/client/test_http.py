"""The HTTP transport: against an embedded cluster by its kubeconfig, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.client.client import Client
from slipway.cluster.client.http import Access, HttpTransport, KubeconfigError
from slipway.cluster.client.resources import CONFIG_MAPS
from slipway.cluster.clock import Clock
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Request, Response
from slipway.cluster.server.listener import Listener, serve
from slipway.cluster.status import StatusError


@asynccontextmanager
async def cluster(**options: Any) -> AsyncIterator[EmbeddedCluster]:
    async with EmbeddedCluster(ClusterOptions(controllers=False, nodes=0, **options)) as started:
        yield started


def _write(folder: Path, document: Any) -> Path:
    path = folder / "kubeconfig"
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("tls", [True, False])
async def test_a_client_works_through_a_kubeconfig_as_it_does_in_process(tls: bool, tmp_path: Path) -> None:
    async with cluster(tls=tls) as started:
        transport = HttpTransport(Access.from_kubeconfig(_write(tmp_path, started.kubeconfig())))
        client = Client(transport, user_agent="tests/1", clock=Clock())
        made = await client.create(
            CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "default"}, "data": {"x": "1"}}
        )
        assert (await client.get(CONFIG_MAPS, "a", "default"))["metadata"]["uid"] == made["metadata"]["uid"]
        with pytest.raises(StatusError) as caught:
            await client.get(CONFIG_MAPS, "none", "default")
        assert caught.value.reason == "NotFound"
        await transport.close()


async def test_a_watch_streams_and_is_let_go_when_its_reader_stops(tmp_path: Path) -> None:
    async with cluster(tls=False) as started:
        transport = HttpTransport(Access.from_kubeconfig(_write(tmp_path, started.kubeconfig())))
        client = Client(transport, user_agent="tests/1", clock=Clock())

        async def create() -> None:
            await client.create(CONFIG_MAPS, {"metadata": {"name": "late", "namespace": "default"}})

        async with asyncio.timeout(30):
            async with aclosing(client.watch(CONFIG_MAPS, "default")) as events:
                making = asyncio.create_task(create())
                async for event in events:
                    if event.object["metadata"]["name"] == "late":
                        assert event.type == "ADDED"
                        break
                await making
        await transport.close()


Served = Callable[[Callable[[Request], Awaitable[Response]]], Awaitable[tuple[Listener, HttpTransport]]]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    running: list[tuple[Listener, HttpTransport]] = []

    async def start(handler: Callable[[Request], Awaitable[Response]]) -> tuple[Listener, HttpTransport]:
        listener = await serve(handler, "127.0.0.1", 0, None)
        transport = HttpTransport(Access(f"http://127.0.0.1:{listener.port}/prefix"))
        running.append((listener, transport))
        return listener, transport

    yield start
    for listener, transport in running:
        await transport.close()
        await listener.close(grace=0.5)


async def _whole(response: Response) -> bytes:
    assert isinstance(response.body, bytes)
    return response.body


async def test_connections_are_used_again(served: Served) -> None:
    async def path(request: Request) -> Response:
        return Response(200, {}, f"{request.path}?{request.query}".encode())

    listener, transport = await served(path)
    for number in range(20):
        answer = await transport.send(Request("GET", f"/{number}", "q=1"))
        assert await _whole(answer) == f"/prefix/{number}?q=1".encode()
    assert listener.connections == 1


async def test_requests_side_by_side_each_get_their_own_answer(served: Served) -> None:
    async def echo(request: Request) -> Response:
        await asyncio.sleep(0)
        return Response(200, {}, request.body)

    _, transport = await served(echo)
    bodies = [str(number).encode() * 1000 for number in range(50)]
    answers = await asyncio.gather(*(transport.send(Request("POST", "/", body=body)) for body in bodies))
    assert [await _whole(answer) for answer in answers] == bodies


async def test_a_connection_that_the_server_closed_while_idle_is_replaced(served: Served) -> None:
    async def once(request: Request) -> Response:
        return Response(200, {"Connection": "close"} if request.path.endswith("/bye") else {}, b"ok")

    _, transport = await served(once)
    for path in ("/bye", "/hello", "/bye", "/hello"):
        assert await _whole(await transport.send(Request("GET", path))) == b"ok"


async def test_a_server_that_hangs_up_is_a_connection_error(served: Served) -> None:
    calls = 0

    async def drop(request: Request) -> Response:
        nonlocal calls
        calls += 1
        raise ConnectionResetError

    _, transport = await served(drop)
    with pytest.raises(ConnectionError):
        await transport.send(Request("POST", "/"))
    assert calls == 1  # what may have changed something is never sent twice


async def test_a_server_that_is_not_there_is_a_connection_error() -> None:
    listener = await serve(_nothing, "127.0.0.1", 0, None)
    await listener.close()
    with pytest.raises(ConnectionError):
        await HttpTransport(Access(f"http://127.0.0.1:{listener.port}")).send(Request("GET", "/"))


async def _nothing(request: Request) -> Response:
    return Response()


async def test_a_stream_is_not_read_ahead_of_its_reader(served: Served) -> None:
    made = 0

    async def stream(request: Request) -> Response:
        async def body() -> AsyncIterator[bytes]:
            nonlocal made
            for _ in range(5000):
                made += 1
                yield b"x" * 10_000

        return Response(200, {}, body())

    _, transport = await served(stream)
    answer = await transport.send(Request("GET", "/", "watch=true"))
    assert not isinstance(answer.body, bytes)
    before = -1
    while made != before:
        before = made
        await asyncio.sleep(0.1)
    assert made < 2500
    size = 0
    async for chunk in answer.body:
        size += len(chunk)
    assert size == 50_000_000


async def test_a_token_file_is_read_anew_for_each_request(served: Served, tmp_path: Path) -> None:
    async def who(request: Request) -> Response:
        return Response(200, {}, request.headers["authorization"].encode())

    listener, _ = await served(who)
    token = tmp_path / "token"
    transport = HttpTransport(Access(f"http://127.0.0.1:{listener.port}", token_file=token))
    for text in ("one", "two"):
        token.write_text(text + "\n")
        assert await _whole(await transport.send(Request("GET", "/"))) == f"Bearer {text}".encode()
    await transport.close()


CONTEXT = [{"name": "c", "context": {"cluster": "k", "user": "u"}}]
CLUSTERS = [{"name": "k", "cluster": {"server": "http://h"}}]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "is not a kubeconfig"),
        ({}, "no context is named"),
        ({"current-context": "c"}, "contexts has no entry named 'c'"),
        ({"current-context": "c", "contexts": CONTEXT}, "clusters has no entry named 'k'"),
        ({"current-context": "c", "contexts": CONTEXT, "clusters": CLUSTERS}, "users has no entry named 'u'"),
        (
            {
                "current-context": "c",
                "contexts": CONTEXT,
                "clusters": CLUSTERS,
                "users": [{"name": "u", "user": {"exec": {"command": "x"}}}],
            },
            "exec is not supported",
        ),
        (
            {
                "current-context": "c",
                "contexts": CONTEXT,
                "clusters": [{"name": "k", "cluster": {"server": "h:1"}}],
                "users": [{"name": "u", "user": {}}],
            },
            "is 'h:1', not a URL",
        ),
    ],
)
def test_a_kubeconfig_that_leads_nowhere_says_why(document: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(KubeconfigError, match=words):
        Access.from_kubeconfig(_write(tmp_path, document))
