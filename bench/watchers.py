"""A thousand watchers of one kind: the write rate at which 99 of 100 events arrive within 100 ms.

`make bench WHAT=watchers`, or `python -m bench.watchers [WATCHERS]`. The server is a process of its own over plain
http; the watchers and the one writer are this process, on the same machine. A delay counts from before the write is
sent until a watcher has the bytes of its event, and every event of every watcher counts. Each rate is held for
SECONDS.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from bench.cluster import MAPS, MERGE, OURS, memory_mb, server
from bench.load import config_map

RATES = (10, 20, 50, 75, 100, 150, 200)  # writes a second
SECONDS = 5.0
GOAL = 0.1  # seconds
_NUMBER = re.compile(rb'"number":"(\d+)"')


def cpu_seconds(pid: int) -> float:
    """What a process has used of processors."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Watcher(asyncio.Protocol):
    """Notes how late each event is."""

    def __init__(self, sent: dict[int, float], delays: list[float]) -> None:
        self._sent, self._delays = sent, delays

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        for number in _NUMBER.findall(data):
            began = self._sent.get(int(number))
            if began is not None:
                self._delays.append(now - began)


class Writer:
    """Patches one object, a request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, method: str, path: str, body: bytes, content_type: str) -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bench\r\n"
        head += f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", answer)
        if not answer[9:10] == b"2" or length is None:
            raise RuntimeError(f"{method} {path}: {answer.decode()}")
        await self._reader.readexactly(int(length[1]))


async def hold(writer: Writer, rate: int, first: int, sent: dict[int, float]) -> int:
    """Write at that rate for SECONDS; how many writes were made."""
    began, made = time.perf_counter(), 0
    while (now := time.perf_counter()) - began < SECONDS:
        due = began + made / rate
        if due > now:
            await asyncio.sleep(due - now)
        sent[first + made] = time.perf_counter()
        await writer.ask("PATCH", f"{MAPS}/c1", b'{"data":{"number":"%d"}}' % (first + made), MERGE)
        made += 1
    return made


async def measure(url: str, watchers: int, pid: int) -> float:
    """Prints a row for each rate; the highest rate that held the goal."""
    parts, loop = urlsplit(url), asyncio.get_running_loop()
    writer = Writer(*await asyncio.open_connection(parts.hostname, parts.port))
    await writer.ask("POST", MAPS, config_map(0, "c1"), "application/json")
    sent: dict[int, float] = {}
    delays: list[float] = []
    before = memory_mb(pid)
    for _ in range(watchers):
        transport, _ = await loop.create_connection(lambda: Watcher(sent, delays), parts.hostname, parts.port)
        transport.write(
            f"GET {MAPS}?watch=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bench\r\n\r\n".encode()
        )
    await asyncio.sleep(1)
    print(f"{watchers} watchers cost {memory_mb(pid) - before:.0f} MB; load {os.getloadavg()[0]:.1f}")
    print(
        f"{'writes a second':>16}{'made':>8}{'events a second':>17}{'p50, ms':>9}{'p99, ms':>9}{'worst':>8}"
        f"{'server CPU':>12}{'us an event':>13}"
    )
    best, first = 0.0, 1
    for rate in RATES:
        delays.clear()
        cpu, began = cpu_seconds(pid), time.perf_counter()
        made = await hold(writer, rate, first, sent)
        until = time.perf_counter() + 10
        while len(delays) < made * watchers and time.perf_counter() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        if len(delays) != made * watchers:
            raise RuntimeError(f"{made * watchers - len(delays)} events were lost")
        cpu, spent = cpu_seconds(pid) - cpu, time.perf_counter() - began
        first += made
        late = sorted(delays)
        half, most = late[len(late) // 2], late[len(late) * 99 // 100]
        print(
            f"{rate:>16}{made / SECONDS:>8.0f}{made * watchers / SECONDS:>17.0f}{1000 * half:>9.0f}"
            f"{1000 * most:>9.0f}{1000 * late[-1]:>8.0f}"
            f"{100 * cpu / spent:>10.0f} %{1e6 * cpu / len(late):>13.0f}",
            flush=True,
        )
        if most > GOAL:
            break
        best = made / SECONDS
    return best


def main() -> int:
    watchers = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with server(OURS) as (url, pid, _):
        best = asyncio.run(measure(url, watchers, pid))
    print(f"{watchers} watchers: p99 below {1000 * GOAL:.0f} ms up to {best:.0f} writes a second")
    return 0


if __name__ == "__main__":
    sys.exit(main())
