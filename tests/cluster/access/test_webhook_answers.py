"""What webhooks answer, as bytes: where an answer ends, and which answers are none."""

from __future__ import annotations

import asyncio
import base64
import datetime
from typing import Any

import pytest

from slipway.cluster.access.certificates import CertificateAuthority
from slipway.cluster.access.webhook_call import WebhookFailure, ask
from slipway.cluster.schema.json_bodies import MAX_DEPTH


async def asked(answer: bytes) -> Any:
    """What is understood of a server that says this and hangs up."""
    authority = CertificateAuthority.create(datetime.datetime.now(datetime.UTC), "hook")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(answer)
        writer.close()

    tls = authority.server_context(authority.issue_server(["127.0.0.1"]))
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        port = server.sockets[0].getsockname()[1]
        bundle = base64.b64encode(authority.certificate).decode()
        config = {"url": f"https://127.0.0.1:{port}/", "caBundle": bundle}
        return await ask(config, lambda *_: ("", 0), {}, 30)


async def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    # As Python's own http.server says it.
    assert await asked(b'HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{"a": 1}') == {"a": 1}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", "EOF"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", "EOF"),
        (b"HTTP/1.1 200 OK\r\nContent-", "EOF"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b'{"a":' * 300 + b"1" + b"}" * 300, f"nested deeper than {MAX_DEPTH}"),
    ],
)
async def test_an_answer_that_is_not_whole_or_too_deep_is_a_failure(answer: bytes, why: str) -> None:
    with pytest.raises(WebhookFailure, match=why):
        await asked(answer)
