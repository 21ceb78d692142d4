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
from urllib.parse import urlsplit

from bench import peers
from bench.cluster import MAPS, patch
from bench.load import Ask, Link, config_map
from bench.peers import Peer

RATES = (10, 20, 50, 75, 100, 150, 200)  # writes a second
SECONDS = 5.0
GOAL = 0.1  # seconds
_NUMBER = re.compile(rb'"number":"(\d+)"')


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


async def hold(writer: Link, rate: int, first: int, sent: dict[int, float]) -> int:
    """Write at that rate for SECONDS; how many writes were made."""
    began, made = time.perf_counter(), 0
    while (now := time.perf_counter()) - began < SECONDS:
        due = began + made / rate
        if due > now:
            await asyncio.sleep(due - now)
        sent[first + made] = time.perf_counter()
        await writer.ask(patch(first + made))
        made += 1
    return made


async def measure(peer: Peer, watchers: int) -> float:
    """Prints a row for each rate; the highest rate that held the goal."""
    parts, loop = urlsplit(peer.target.url), asyncio.get_running_loop()
    writer = await peer.target.connect()
    await writer.ask(Ask("POST", MAPS, config_map(0, "c1")))
    sent: dict[int, float] = {}
    delays: list[float] = []
    before = peer.memory_mb()
    for _ in range(watchers):
        transport, _ = await loop.create_connection(lambda: Watcher(sent, delays), parts.hostname, parts.port)
        transport.write(
            f"GET {MAPS}?watch=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bench\r\n\r\n".encode()
        )
    await asyncio.sleep(1)
    print(f"{watchers} watchers cost {peer.memory_mb() - before:.0f} MB; load {os.getloadavg()[0]:.1f}")
    print(
        f"{'writes a second':>16}{'made':>8}{'events a second':>17}{'p50, ms':>9}{'p99, ms':>9}{'worst':>8}"
        f"{'server CPU':>12}{'us an event':>13}"
    )
    best, first = 0.0, 1
    for rate in RATES:
        delays.clear()
        cpu, began = peer.cpu_seconds(), time.perf_counter()
        made = await hold(writer, rate, first, sent)
        until = time.perf_counter() + 10
        while len(delays) < made * watchers and time.perf_counter() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        if len(delays) != made * watchers:
            raise RuntimeError(f"{made * watchers - len(delays)} events were lost")
        cpu, spent = peer.cpu_seconds() - cpu, time.perf_counter() - began
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
    with peers.ours() as peer:
        best = asyncio.run(measure(peer, watchers))
    print(f"{watchers} watchers: p99 below {1000 * GOAL:.0f} ms up to {best:.0f} writes a second")
    return 0


if __name__ == "__main__":
    sys.exit(main())
