"""A crowd at the door: thousands of connections, slow and vanishing watchers, and requests that are too large, cut
short or nonsense. What the server's memory becomes, how long an ordinary request takes meanwhile, and that no event is
lost to those who read.

`make bench WHAT=crowd`, or `python -m bench.crowd [CONNECTIONS]`. The cluster is a detached one, over TLS, started with
a soft limit of 1024 open files. Exit code 1 when something did not hold.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.cluster import MAPS, patch
from bench.load import Ask, Link, Target, config_map
from bench.peers import Peer

LIMIT = 3 * 1024 * 1024  # bytes of a body that the API server takes


@contextmanager
def detached() -> Iterator[Peer]:
    """A cluster of the command line, with a token of its administrator's."""
    program = str(Path(sys.executable).with_name("slipway"))
    with tempfile.TemporaryDirectory(prefix="slipway-bench-") as home:
        environment = {**os.environ, "SLIPWAY_HOME": home}

        def few() -> None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (1024, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

        up = [program, "up", "--detach", "--runtime", "simulated"]
        began = time.perf_counter()
        subprocess.run(up, env=environment, check=True, capture_output=True, preexec_fn=few)
        try:
            found = json.loads((Path(home) / "clusters" / "slipway" / "cluster.json").read_text())
            config = Path(home) / "clusters" / "slipway" / "kubeconfig"
            kubectl = ["kubectl", f"--kubeconfig={config}"]
            for words in (
                ["create", "serviceaccount", "crowd"],
                [
                    "create",
                    "clusterrolebinding",
                    "crowd",
                    "--clusterrole=admin",
                    "--serviceaccount=default:crowd",
                ],
            ):
                subprocess.run([*kubectl, *words], check=True, capture_output=True)
            token = subprocess.run(
                [*kubectl, "create", "token", "crowd"], check=True, capture_output=True, text=True
            ).stdout.strip()
            yield Peer(Target(found["url"], token), (found["pid"],), time.perf_counter() - began)
        finally:
            subprocess.run([program, "down"], env=environment, check=True, capture_output=True)


async def events(link: Link, count: int) -> None:
    """Read until that many objects have changed."""
    seen, rest = 0, b""
    while seen < count:
        data = rest + await link.reader.read(65536)
        if data == rest:
            raise RuntimeError(f"the stream ended after {seen} of {count} events")
        seen += data.count(b'"MODIFIED"')
        rest = data[-9:]  # the word may lie across two reads: it has ten bytes


class Crowd:
    """Tries one kind of rudeness after the other; `failed` says what did not hold."""

    def __init__(self, peer: Peer, connections: int) -> None:
        self.peer, self.connections = peer, connections
        self.failed: list[str] = []
        self._open: list[Link] = []

    async def connect(self) -> Link:
        link = await self.peer.target.connect()
        self._open.append(link)
        return link

    def leave(self) -> None:
        for link in self._open:
            link.writer.transport.abort()
        self._open.clear()

    async def step(self, name: str, work: Callable[[], Awaitable[str]]) -> None:
        """Do it, ask for something ordinary twenty times, leave, and print a row."""
        try:
            said = await asyncio.wait_for(work(), 600)
        except (TimeoutError, OSError, RuntimeError, asyncio.IncompleteReadError) as error:
            said = f"FAILED: {type(error).__name__} {error}"
            self.failed.append(name)
        link, waits = await self.peer.target.connect(), []
        for _ in range(20):
            began = time.perf_counter()
            await link.ask(Ask("GET", f"{MAPS}/c1"))
            waits.append(time.perf_counter() - began)
        link.writer.close()
        memory = self.peer.memory_mb()
        self.leave()
        print(f"{name:34}{memory:>8.0f}{1000 * statistics.median(waits):>10.1f}  {said}", flush=True)

    async def idle(self) -> str:
        for _ in range(0, self.connections, 20):
            await asyncio.gather(*(self.connect() for _ in range(20)))
        return f"{len(self._open)} connections open at once"

    async def _watchers(self, count: int) -> list[Link]:
        links = [await self.connect() for _ in range(count)]
        for link in links:
            link.send(Ask("GET", f"{MAPS}?watch=true"))
            await link.reader.readuntil(b"\r\n\r\n")
        return links

    async def _write(self, count: int, size: int) -> None:
        link = await self.connect()
        for number in range(count):
            body = b'{"data":{"number":"%d","text":"%b"}}' % (number, b"y" * size)
            await link.ask(Ask("PATCH", f"{MAPS}/c1", body, "application/merge-patch+json"))

    async def slow(self) -> str:
        """200 watchers who stop reading while 100 MB of events each pass by; one of them reads on in the end."""
        links = await self._watchers(200)
        for link in links:
            link.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await self._write(200, 500_000)
        links[-1].writer.transport.resume_reading()  # type: ignore[attr-defined]
        await events(links[-1], 200)
        return "200 watchers did not read 200 events of 0.5 MB; one read on late and saw all 200"

    async def vanishing(self) -> str:
        for _ in range(10):
            await self._watchers(100)
            await self._write(2, 100)
            self.leave()
        return "1000 watchers left without a word"

    async def oversize(self) -> str:
        answers = []
        for _ in range(20):
            link = await self.connect()
            try:
                await link.ask(
                    Ask("POST", MAPS, b'{"metadata":{"name":"x"},"data":{"x":"' + b"y" * LIMIT + b'"}}')
                )
            except RuntimeError as error:
                answers.append(str(error)[-3:])
        if answers != ["413"] * 20:
            raise RuntimeError(f"answered {answers}")
        return "20 bodies of more than 3 MiB: 413 each"

    async def announced(self) -> str:
        """Who announces a body and sends none costs nothing."""
        for _ in range(500):
            link = await self.connect()
            link.writer.write(
                f"POST {MAPS} HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n{{".encode()
            )
        return "500 bodies of 3 MB announced and not sent"

    async def nonsense(self) -> str:
        refused = 0
        for data in (
            b"\x00\xff\x16\x03 no http\r\n\r\n",
            b"GET /\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200_000,
        ):
            for _ in range(20):
                link = await self.connect()
                link.writer.write(data + b"\r\n")
                try:
                    answer = await link.reader.readuntil(b"\r\n")
                except (OSError, asyncio.IncompleteReadError):
                    answer = b""
                refused += not answer or answer.split()[1].startswith(b"4")
        if refused != 60:
            raise RuntimeError(f"{60 - refused} of 60 were not refused")
        return "60 requests that are none: refused"

    async def faithful(self) -> str:
        """After all that, 50 watchers see each of 100 changes."""
        links = await self._watchers(50)
        writer = await self.connect()
        for number in range(100):
            await writer.ask(patch(number + 10**6))
        for link in links:
            await events(link, 100)
        return "50 watchers saw 100 of 100 events"

    async def run(self) -> None:
        first = await self.connect()
        await first.ask(Ask("POST", MAPS, config_map(0, "c1")))
        print(f"{'':34}{'MB':>8}{'a GET, ms':>10}")
        await self.step("at rest", self._nothing)
        await self.step("idle connections", self.idle)
        await self.step("slow watchers", self.slow)
        await self.step("vanishing watchers", self.vanishing)
        await self.step("oversize bodies", self.oversize)
        await self.step("announced bodies", self.announced)
        await self.step("nonsense", self.nonsense)
        await self.step("afterwards", self.faithful)

    async def _nothing(self) -> str:
        return ""


def main() -> int:
    connections = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    print(f"load {os.getloadavg()[0]:.1f}; hard limit of open files {hard}")
    with detached() as peer:
        crowd = Crowd(peer, connections)
        asyncio.run(crowd.run())
    print(
        f"failed: {', '.join(crowd.failed)}"
        if crowd.failed
        else f"{connections} connections and all else held"
    )
    return 1 if crowd.failed else 0


if __name__ == "__main__":
    sys.exit(main())
