"""Watchers in numbers, over TLS too: slow ones cost little, vanished ones nothing, and each sees everything."""

from __future__ import annotations

import asyncio
import datetime
import json
import resource
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.access.certificates import CertificateAuthority, KeyPair
from slipway.cluster.client.resources import CONFIG_MAPS
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Request, Response
from slipway.cluster.server.listener import serve
from slipway.cluster.server.tls_buffers import READ_BUFFER

WATCH = (
    b"GET /api/v1/namespaces/default/configmaps?watch=true&resourceVersion=%d HTTP/1.1\r\n"
    b"Host: h\r\nAuthorization: Bearer t\r\n\r\n"
)


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@contextmanager
def many_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 8000:
        pytest.skip(f"this machine allows {hard} open files; 6000 connections' ends need 8000")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 8000), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    options = ClusterOptions(
        tokens={"t": ("admin", ("system:masters",))}, controllers=False, tls=False, nodes=0
    )
    async with EmbeddedCluster(options) as started:
        yield started


async def _watch(port: int, revision: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(WATCH % revision)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    return reader, writer


async def _names(reader: asyncio.StreamReader, count: int) -> list[str]:
    """The names of the next objects in a chunked stream of events."""
    pending, names = b"", []
    while len(names) < count:
        size = int(await reader.readline(), 16)
        pending += await reader.readexactly(size)
        await reader.readexactly(2)
        if pending.endswith(b"\n"):
            names += [json.loads(line)["object"]["metadata"]["name"] for line in pending.splitlines()]
            pending = b""
    return names


async def test_three_thousand_watchers_see_every_event_and_cost_little(cluster: EmbeddedCluster) -> None:
    listener = cluster.listener
    client = cluster.client()
    with many_files():
        revision, before = cluster.plane.store.revision, resident()
        watchers: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        for _ in range(15):
            watchers += await asyncio.gather(*(_watch(listener.port, revision) for _ in range(200)))
        assert listener.connections == 3000
        made = [f"small-{number}" for number in range(3)]
        for name in made:
            await client.create(CONFIG_MAPS, _config_map(name, 100))
        async with asyncio.timeout(30):
            seen = await asyncio.gather(*(_names(reader, 3) for reader, _ in watchers))
        assert all(names == made for names in seen)
        # Both ends of each connection live in this process.
        assert resident() - before < 3000 * 60_000

        for _, writer in watchers:
            writer.transport.abort()
        async with asyncio.timeout(30):
            while listener.connections:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        assert [task for task in asyncio.all_tasks() if "Connection._serve" in repr(task.get_coro())] == []


async def test_watchers_that_do_not_read_hold_a_buffer_each_not_the_events(cluster: EmbeddedCluster) -> None:
    client, revision = cluster.client(), cluster.plane.store.revision
    watchers = [await _watch(cluster.listener.port, revision) for _ in range(200)]
    for _, writer in watchers:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
    made = [f"large-{number}" for number in range(20)]
    await client.create(CONFIG_MAPS, _config_map("first", 500_000))
    before = resident()
    for name in made:
        await client.create(CONFIG_MAPS, _config_map(name, 500_000))
    await asyncio.sleep(0.2)
    grown = resident() - before
    # 20 objects of 0.5 MB, kept as value and as bytes, but 200 watchers with 10 MB each to read.
    assert grown < 200_000_000, f"{grown / 1e6:.0f} MB"
    reader, writer = watchers[7]
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(30):
        assert await _names(reader, 21) == ["first", *made]  # late, and nothing is lost
    for _, writer in watchers:
        writer.transport.abort()


def _config_map(name: str, size: int) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}, "data": {"x": "y" * size}}


@pytest.fixture(scope="module")
def authority() -> CertificateAuthority:
    return CertificateAuthority.create(datetime.datetime.now(datetime.UTC))


def _client_context(authority: CertificateAuthority, pair: KeyPair | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=authority.certificate.decode())
    if pair is not None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(pair.certificate + pair.key)
            file.flush()
            context.load_cert_chain(file.name)
    return context


async def test_tls_tells_who_the_client_is_and_keeps_small_buffers(authority: CertificateAuthority) -> None:
    certificates: list[bytes | None] = []
    large = b"z" * 3_000_000

    async def handler(request: Request) -> Response:
        certificates.append(request.peer.certificate)
        return Response(200, {}, request.body or large)

    tls = authority.server_context(authority.issue_server(["127.0.0.1"]))
    listener = await serve(handler, "127.0.0.1", 0, tls)
    pair = authority.issue_client("ann", ["dev"])
    for identity in (None, pair):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", listener.port, ssl=_client_context(authority, identity)
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(len(large)) == large
        writer.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000000\r\n\r\n" + large[:2_000_000])
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(2_000_000) == large[:2_000_000]
        (connection,) = listener.open_connections()
        assert len(connection.transport._ssl_protocol._ssl_buffer) == READ_BUFFER  # type: ignore[attr-defined]
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.02)
    assert certificates[0] is None
    assert certificates[2] is not None
    assert certificates[2] == ssl.PEM_cert_to_DER_cert(pair.certificate.decode())
    await listener.close()


async def test_a_port_that_speaks_tls_survives_those_who_do_not(authority: CertificateAuthority) -> None:
    problems: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context))

    async def handler(request: Request) -> Response:
        return Response(200, {}, b"ok")

    listener = await serve(
        handler, "127.0.0.1", 0, authority.server_context(authority.issue_server(["127.0.0.1"]))
    )
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff", b""):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(data)
        if data:
            writer.write_eof()
        else:
            writer.transport.abort()
        try:
            await reader.read()
        except ConnectionError:
            pass
        writer.close()
    await listener.close()
    assert problems == []
