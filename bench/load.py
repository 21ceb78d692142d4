"""A small HTTP load client: keep-alive connections over asyncio, bounded in time, counting answers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: method, path and body, made anew for each number."""

    method: str
    path: str
    body: bytes = b""
    content_type: str = "application/json"


async def _read_answer(reader: asyncio.StreamReader) -> int:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        while True:
            size = int((await reader.readline()).split(b";")[0], 16)
            await reader.readexactly(size + 2)
            if size == 0:
                return status
    start = lower.find(b"content-length:")
    if start >= 0:
        length = int(lower[start + 15 : lower.find(b"\r\n", start)])
        await reader.readexactly(length)
    return status


async def per_second(
    url: str, token: str, make: Callable[[int], Ask], *, seconds: float = 2.0, connections: int = 16
) -> float:
    """Answers a second, all of them successful; RuntimeError says which was not."""
    parts = urlsplit(url)
    counter = iter(range(1, 10**9))
    end = time.perf_counter() + seconds
    answered = 0

    async def work() -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            while time.perf_counter() < end:
                ask = make(next(counter))
                head = f"{ask.method} {ask.path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
                if ask.body:
                    head += f"Content-Type: {ask.content_type}\r\nContent-Length: {len(ask.body)}\r\n"
                writer.write(head.encode() + b"\r\n" + ask.body)
                status = await _read_answer(reader)
                if status >= 400:
                    raise RuntimeError(f"{ask.method} {ask.path}: {status}")
                answered += 1
        finally:
            writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(connections)))
    return answered / (time.perf_counter() - start)


async def fan_out(
    url: str, token: str, path: str, watchers: int, writes: int, make: Callable[[int], Ask]
) -> float:
    """Events delivered a second: every watcher sees every write."""
    parts = urlsplit(url)
    seen = 0
    wanted = watchers * writes
    finished = asyncio.Event()

    async def watch() -> None:
        nonlocal seen
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        head = f"GET {path}?watch=true&timeoutSeconds=60 HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        writer.write(head.encode())
        try:
            while seen < wanted:
                data = await reader.read(65536)
                if not data:
                    return
                seen += data.count(b'"type":"MODIFIED"') + data.count(b'"type": "MODIFIED"')
                if seen >= wanted:
                    finished.set()
        finally:
            writer.close()

    tasks = [asyncio.create_task(watch()) for _ in range(watchers)]
    await asyncio.sleep(0.5)
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    for number in range(writes):
        ask = make(number)
        head = f"{ask.method} {ask.path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
        head += f"Content-Type: {ask.content_type}\r\nContent-Length: {len(ask.body)}\r\n\r\n"
        writer.write(head.encode() + ask.body)
        await _read_answer(reader)
    try:
        await asyncio.wait_for(finished.wait(), 20)
    except TimeoutError:
        pass
    spent = time.perf_counter() - start
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    writer.close()
    return seen / spent


def config_map(number: int, name: str = "") -> bytes:
    """A small object of about 300 bytes."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name or f"c{number}", "labels": {"app": "bench", "n": str(number % 10)}},
            "data": {"number": str(number), "text": "x" * 120},
        }
    ).encode()
