"""A thousand watchers of one kind: the write rate at which 99 of 100 events arrive within 100 ms.

`make bench WHAT=watchers`, or `python -m bench.watchers [WATCHERS]`. Three processes on one machine: the server over
plain http, one that writes, and one that reads for all watchers. A write carries the time before it was sent, so that a
delay counts from there until a watcher has the bytes of its event; every event of every tenth watcher counts. Each rate
is held for SECONDS.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import resource
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
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
_SENT = re.compile(rb'"number":"(\d+)"')
_WATCH = f"GET {MAPS}?watch=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bench\r\n\r\n".encode()


class Watchers:
    """Many of them in one process, read with epoll and nothing above it: what they cost is the machine's price of a
    read, not that of a client library."""

    def __init__(self, address: tuple[str, int], count: int) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._rest: dict[int, bytes] = {}  # of the timed ones: the beginning of a line
        self._poll = select.epoll()
        self._buffer = bytearray(256 * 1024)
        self._delays: list[float] = []
        for index in range(count):
            opened = socket.create_connection(address)
            opened.sendall(_WATCH)
            self._sockets[opened.fileno()] = opened
            self._poll.register(opened, select.EPOLLIN)
            if index % TIMED == 0:
                self._rest[opened.fileno()] = b""

    def run(self, orders: Connection) -> None:
        """Read until told to stop; to every other order, the delays since the last one and the processor time so far."""
        self._poll.register(orders, select.EPOLLIN)
        while True:
            for number, _ in self._poll.poll():
                if number != orders.fileno():
                    self._read(number)
                elif orders.recv():
                    orders.send((self._delays, time.process_time()))
                    self._delays.clear()
                else:
                    return

    def _read(self, number: int) -> None:
        size = self._sockets[number].recv_into(self._buffer)
        if number in self._rest:
            now = time.perf_counter_ns()
            data = self._rest[number] + self._buffer[:size]
            whole = data.rfind(b"\n") + 1
            self._rest[number] = data[whole:]
            self._delays += [(now - int(sent)) / 1e9 for sent in _SENT.findall(data, 0, whole)]
        if not size:
            raise ConnectionError("the server ended a watch")


def watch(address: tuple[str, int], count: int, orders: Connection) -> None:
    """The process that reads."""
    watchers = Watchers(address, count)
    orders.send("listening")
    watchers.run(orders)


@contextmanager
def watching(peer: Peer, count: int) -> Iterator[Connection]:
    """A process of watchers, and the line on which to ask it for delays."""
    parts = urlsplit(peer.target.url)
    spawning = multiprocessing.get_context("spawn")
    orders, theirs = spawning.Pipe()
    reading = spawning.Process(target=watch, args=((parts.hostname, parts.port), count, theirs), daemon=True)
    reading.start()
    theirs.close()
    try:
        orders.recv()
        yield orders
        orders.send(False)
    finally:
        reading.join(5)
        reading.kill()


async def hold(writers: list[Link], rate: int) -> int:
    """Begin a write when its time has come, on whichever connection is free, for SECONDS; how many were made."""
    free: asyncio.Queue[Link] = asyncio.Queue()
    for link in writers:
        free.put_nowait(link)

    async def write(link: Link) -> None:
        await link.ask(patch(time.perf_counter_ns()))
        free.put_nowait(link)

    began, made = time.perf_counter(), 0
    async with asyncio.TaskGroup() as writing:
        while (now := time.perf_counter()) - began < SECONDS:
            due = began + made / rate
            if due > now:
                await asyncio.sleep(due - now)
            writing.create_task(write(await free.get()))
            made += 1
    return made


def arrived(orders: Connection, expected: int) -> tuple[list[float], float]:
    """The delays of so many events, and the processor time that the watchers have used; RuntimeError when some of
    them do not come within ten seconds."""
    delays: list[float] = []
    until = time.perf_counter() + 10
    while time.perf_counter() < until:
        orders.send(True)
        more, used = orders.recv()
        delays += more
        if len(delays) >= expected:
            return sorted(delays), used
        time.sleep(0.05)
    raise RuntimeError(f"{expected - len(delays)} events were lost")


async def measure(peer: Peer, orders: Connection, watchers: int) -> float:
    """Prints a row for each rate; the highest rate that held the goal."""
    writers = [await peer.target.connect() for _ in range(WRITERS)]
    await writers[0].ask(Ask("POST", MAPS, config_map(0, "c1")))
    timed = len(range(0, watchers, TIMED))
    _, reading = arrived(orders, timed)
    columns = "writes a second", "made", "events a second", "p50, ms", "p99, ms", "worst, ms"
    print("".join(f"{name:>17}" for name in (*columns, "server's core", "watchers' core", "us an event")))
    best = 0.0
    for rate in RATES:
        cpu, read, began = peer.cpu_seconds(), reading, time.perf_counter()
        made = await hold(writers, rate)
        late, reading = arrived(orders, made * timed)
        spent = time.perf_counter() - began
        cpu = peer.cpu_seconds() - cpu
        half, most = late[len(late) // 2], late[len(late) * 99 // 100]
        figures = rate, made / SECONDS, made * watchers / SECONDS, 1000 * half, 1000 * most, 1000 * late[-1]
        print(
            "".join(f"{figure:>17.0f}" for figure in figures)
            + f"{cpu / spent:>17.0%}{(reading - read) / spent:>17.0%}{1e6 * cpu / (made * watchers):>17.1f}",
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
        before = peer.memory_mb()
        with watching(peer, watchers) as orders:
            time.sleep(1)
            print(
                f"{watchers} watchers cost {peer.memory_mb() - before:.0f} MB; load {os.getloadavg()[0]:.1f}"
            )
            best = asyncio.run(measure(peer, orders, watchers))
    print(f"{watchers} watchers: p99 below {1000 * GOAL:.0f} ms up to {best:.0f} writes a second")
    return 0


if __name__ == "__main__":
    sys.exit(main())
