"""A small HTTP load client: keep-alive connections over asyncio, bounded in time, counting answers."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: method, path and body, made anew for each number."""

    method: str
    path: str
    body: bytes = b""
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Target:
    """A server: https is taken without looking at its certificate."""

    url: str
    token: str

    async def connect(self) -> Link:
        parts = urlsplit(self.url)
        context = unchecked() if parts.scheme == "https" else None
        return Link(self.token, *await asyncio.open_connection(parts.hostname, parts.port, ssl=context))


def unchecked() -> ssl.SSLContext:
    """TLS that takes any certificate: what is measured was started a moment ago, on this machine."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Link:
    """One connection, one request after the other."""

    def __init__(self, token: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._token = token
        self.reader, self.writer = reader, writer

    def send(self, ask: Ask) -> None:
        head = f"{ask.method} {ask.path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._token}\r\n"
        if ask.body:
            head += f"Content-Type: {ask.content_type}\r\nContent-Length: {len(ask.body)}\r\n"
        self.writer.write(head.encode() + b"\r\n" + ask.body)

    async def ask(self, ask: Ask) -> None:
        """RuntimeError says what failed."""
        self.send(ask)
        head = await self.reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        if b"transfer-encoding: chunked" in lower:
            size = 1
            while size:
                size = int((await self.reader.readline()).split(b";")[0], 16)
                await self.reader.readexactly(size + 2)
        elif (start := lower.find(b"content-length:")) >= 0:
            await self.reader.readexactly(int(lower[start + 15 : lower.find(b"\r\n", start)]))
        if int(head[9:12]) >= 400:
            raise RuntimeError(f"{ask.method} {ask.path}: {head[9:12].decode()}")


async def answers(
    target: Target,
    make: Callable[[int], Ask],
    meter: Callable[[], float] = time.perf_counter,
    *,
    seconds: float = 2.0,
    most: int = 10**9,
    connections: int = 10,
) -> float:
    """Answers to requests, of the numbers from 1 on, for each unit by which `meter` moved; all of them good ones.

    The connections are open before anything is counted."""
    numbers = iter(range(1, most + 1))
    links = await asyncio.gather(*(target.connect() for _ in range(connections)))
    answered, before, end = 0, meter(), time.perf_counter() + seconds

    async def work(link: Link) -> None:
        nonlocal answered
        while time.perf_counter() < end and (number := next(numbers, None)) is not None:
            await link.ask(make(number))
            answered += 1

    await asyncio.gather(*(work(link) for link in links))
    spent = meter() - before
    for link in links:
        link.writer.close()
    return answered / spent if spent else 0.0


async def delivered(target: Target, path: str, watchers: int, writes: int, make: Callable[[int], Ask]) -> int:
    """How many events reached the watchers, each of whom is to see every write; gives up after 30 s."""
    seen, wanted = 0, watchers * writes
    finished, listening = asyncio.Event(), asyncio.Semaphore(0)

    async def watch() -> None:
        nonlocal seen
        link = await target.connect()
        link.send(Ask("GET", f"{path}?watch=true&timeoutSeconds=60"))
        rest = b""
        try:
            await link.reader.readuntil(b"\r\n\r\n")
            listening.release()
            while data := await link.reader.read(65536):
                data = rest + data
                seen += data.count(b'"MODIFIED"')
                rest = data[-9:]  # the word may lie across two reads: it has ten bytes
                if seen >= wanted:
                    finished.set()
        finally:
            link.writer.close()

    tasks = [asyncio.create_task(watch()) for _ in range(watchers)]
    for _ in tasks:
        await listening.acquire()
    link = await target.connect()
    for number in range(writes):
        await link.ask(make(number))
    with suppress(TimeoutError):
        await asyncio.wait_for(finished.wait(), 30)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    link.writer.close()
    return seen


def config_map(number: int, name: str = "") -> bytes:
    """A small object of about 300 bytes."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name or f"c{number}",
                "namespace": "default",  # a mock does not fill it in, and watches by it
                "labels": {"app": "bench", "n": str(number % 10)},
            },
            "data": {"number": str(number), "text": "x" * 120},
        }
    ).encode()
