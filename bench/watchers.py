"""A thousand watchers of one kind: the write rate at which 99 of 100 events arrive within 100 ms.

`make bench WHAT=watchers`, or `python -m bench.watchers [WATCHERS]`. The server is a process of its own over plain
http; the watchers and the writers are this process, on the same machine. A delay counts from before the write is
sent until a watcher has the bytes of its event; every event of every tenth watcher counts. Each rate is held for SECONDS.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import sys
import time
from functools import partial
from urllib.parse import urlsplit

from bench import peers
from bench.cluster import MAPS, patch
from bench.load import Ask, Link, config_map
from bench.peers import Peer

RATES = (10, 20, 50, 75, 100, 150, 200)  # writes a second
SECONDS = 5.0
TIMED = 10  # one watcher of so many is timed; the others only read
WRITERS = 20  # connections: a write does not wait for the answer to the one before
GOAL = 0.1  # seconds
_NUMBER = re.compile(rb'"number":"(\d+)"')


class Watcher(asyncio.BufferedProtocol):
    """Reads into a buffer that all share, so that a thousand of them cost the machine little; notes how late each
    event is where it is `timed`."""

    _buffer = bytearray(256 * 1024)

    def __init__(self, sent: dict[int, float], delays: list[float], *, timed: bool) -> None:
        self._sent, self._delays, self._timed = sent, delays, timed

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._timed:
            now = time.perf_counter()
            for number in _NUMBER.findall(self._buffer, 0, nbytes):
                began = self._sent.get(int(number))
                if began is not None:
                    self._delays.append(now - began)


async def hold(writers: list[Link], rate: int, first: int, sent: dict[int, float]) -> int:
    """Begin a write when its time has come, on whichever connection is free, for SECONDS; how many were made."""
    free: asyncio.Queue[Link] = asyncio.Queue()
    for link in writers:
        free.put_nowait(link)

    async def write(link: Link, number: int) -> None:
        sent[number] = time.perf_counter()
        await link.ask(patch(number))
        free.put_nowait(link)

    began, made = time.perf_counter(), 0
    async with asyncio.TaskGroup() as writing:
        while (now := time.perf_counter()) - began < SECONDS:
            due = began + made / rate
            if due > now:
                await asyncio.sleep(due - now)
            writing.create_task(write(await free.get(), first + made))
            made += 1
    return made


async def measure(peer: Peer, watchers: int) -> float:
    """Prints a row for each rate; the highest rate that held the goal."""
    parts, loop = urlsplit(peer.target.url), asyncio.get_running_loop()
    writers = [await peer.target.connect() for _ in range(WRITERS)]
    await writers[0].ask(Ask("POST", MAPS, config_map(0, "c1")))
    sent: dict[int, float] = {}
    delays: list[float] = []
    before = peer.memory_mb()
    for index in range(watchers):
        made_by = partial(Watcher, sent, delays, timed=index % TIMED == 0)
        transport, _ = await loop.create_connection(made_by, parts.hostname, parts.port)
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
        made = await hold(writers, rate, first, sent)
        until = time.perf_counter() + 10
        expected = made * len(range(0, watchers, TIMED))
        while len(delays) < expected and time.perf_counter() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        if len(delays) != expected:
            raise RuntimeError(f"{expected - len(delays)} events were lost")
        cpu, spent = peer.cpu_seconds() - cpu, time.perf_counter() - began
        first += made
        late = sorted(delays)
        half, most = late[len(late) // 2], late[len(late) * 99 // 100]
        print(
            f"{rate:>16}{made / SECONDS:>8.0f}{made * watchers / SECONDS:>17.0f}{1000 * half:>9.0f}"
            f"{1000 * most:>9.0f}{1000 * late[-1]:>8.0f}"
            f"{100 * cpu / spent:>10.0f} %{1e6 * cpu / (made * watchers):>13.0f}",
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
