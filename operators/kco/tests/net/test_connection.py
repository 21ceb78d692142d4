"""Answers of every framing over a real socket; what is cut off is a failure, never a short answer."""

import asyncio

import pytest

from kco.net.guard import Guard
from kco.net.pool import ExchangeFailed, Pool
from kco.net.url import parse_url

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


async def ask(answer: bytes, *, pieces: int = 1, limit: int = 1000) -> bytes:
    """Send one request to a server that says `answer` and closes."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        size = max(1, len(answer) // pieces)
        for start in range(0, len(answer), size):
            writer.write(answer[start : start + size])
            await writer.drain()
            await asyncio.sleep(0)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    pool = Pool(Guard(allowed=["127.0.0.0/8"]))
    try:
        async with asyncio.timeout(30):
            address = parse_url(f"http://127.0.0.1:{port}/")
            got = await pool.exchange("POST", address, headers={}, body=b"", limit=limit)
            return got.body
    finally:
        pool.close()
        server.close()


@pytest.mark.parametrize("pieces", [1, 7, 1000])
@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (HEAD + b"Content-Length: 2\r\n\r\n{}", b"{}"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", b"{}"),
        (b"HTTP/1.0 200 OK\r\n\r\n{}", b"{}"),
        (b"HTTP/1.0 200 OK\r\n\r\n", b""),
        (b"HTTP/1.0 503 Service Unavailable\r\nServer: x\r\n\r\n", b""),
        (HEAD + b"Connection: close\r\n\r\n{}", b"{}"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"Content-Length: 2\r\n\r\n{}", b"{}"),
    ],
)
async def test_23_every_framing_of_an_answer_is_read(answer: bytes, body: bytes, pieces: int) -> None:
    assert await ask(answer, pieces=pieces) == body


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (HEAD + b"Content-Length: 5\r\n\r\n{}", "connection lost"),
        (HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\n{}", "connection lost"),
        (HEAD, "connection lost"),
        (b"", "connection lost"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not an HTTP answer"),
        (HEAD + b"Content-Length: 5000\r\n\r\n{}", "larger than 1000 bytes"),
        (b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 5000, "larger than 1000 bytes"),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Y: " + b"z" * 200_000, "head larger than"),
    ],
)
async def test_23_what_is_cut_off_or_too_large_is_a_failure(answer: bytes, words: str) -> None:
    with pytest.raises(ExchangeFailed, match=words):
        await ask(answer)
