"""The embedded cluster beside kmock, and beside a real kube-apiserver where KUBEBUILDER_ASSETS is set.

`make bench WHAT=cluster`. Each server runs in a process of its own over plain http on loopback (the real one over
its own), full pipeline on: authentication, RBAC, validation, managedFields for ours and the real one; kmock has none
of these. The client shares the machine, so take ratios, not absolutes.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.load import Ask, config_map, fan_out, per_second

MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = "application/merge-patch+json"
OURS = """
import sys, asyncio
from slipway.cluster import ClusterOptions, EmbeddedCluster
async def main():
    options = ClusterOptions(nodes=0, tls=False, controllers=False, scheduler=False, tokens={"bench": ("bench", ("system:masters",))})
    async with EmbeddedCluster(options) as cluster:
        print(cluster.url, flush=True)
        await asyncio.sleep(3600)
asyncio.run(main())
"""
KMOCK = """
import sys, asyncio, kmock
async def main():
    emulator = kmock.KubernetesEmulator()
    emulator.resources["v1/configmaps"] = {"kind": "ConfigMap", "namespaced": True, "verbs": {"get", "list", "watch", "create", "patch", "delete", "update"}}
    async with emulator, kmock.Server(emulator) as server:
        print(f"http://{server.host}:{server.port}", flush=True)
        await asyncio.sleep(3600)
asyncio.run(main())
"""


@dataclass
class Figures:
    """Per second, unless the name says otherwise."""

    start_seconds: float = 0.0
    idle_mb: float = 0.0
    create: float = 0.0
    get: float = 0.0
    list_500: float = 0.0
    patch: float = 0.0
    fan_out: float = 0.0
    loaded_mb: float = 0.0


def memory_mb(pid: int) -> float:
    """Resident megabytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def server(code: str) -> Iterator[tuple[str, int, float]]:
    """URL, pid and seconds from exec to the printed address."""
    began = time.perf_counter()
    running = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        url = running.stdout.readline().strip()
        if not url:
            raise RuntimeError("the server did not start")
        yield url, running.pid, time.perf_counter() - began
    finally:
        running.kill()
        running.wait()


async def measure(url: str, token: str, pid: int, started: float) -> Figures:
    figures = Figures(start_seconds=started, idle_mb=memory_mb(pid))
    figures.create = await per_second(url, token, lambda n: Ask("POST", MAPS, config_map(n)))
    figures.get = await per_second(url, token, lambda n: Ask("GET", f"{MAPS}/c1"))
    figures.list_500 = await per_second(url, token, lambda n: Ask("GET", f"{MAPS}?limit=500"), connections=4)

    def patch(n: int) -> Ask:
        return Ask("PATCH", f"{MAPS}/c1", b'{"data":{"number":"%d"}}' % (n + 10**6), MERGE)

    figures.patch = await per_second(url, token, patch, connections=1)
    figures.fan_out = await fan_out(url, token, MAPS, 100, 50, lambda n: patch(n + 10**7))
    return figures


def run(code: str, *, filled: bool) -> Figures:
    with server(code) as (url, pid, started):
        figures = asyncio.run(measure(url, "bench", pid, started))
    if filled:
        with server(code) as (url, pid, _):
            before = memory_mb(pid)
            made = asyncio.run(_fill_exactly(url, pid))
            figures.loaded_mb = before + made
    return figures


async def _fill_exactly(url: str, pid: int) -> float:
    """Growth in megabytes by 10,000 objects."""
    before = memory_mb(pid)
    numbers = iter(range(10_000))

    left = True

    def make(_: int) -> Ask:
        nonlocal left
        number = next(numbers, None)
        if number is None:
            left = False
            return Ask("GET", f"{MAPS}/fill0")
        return Ask("POST", MAPS, config_map(number, f"fill{number}"))

    while left:
        await per_second(url, "bench", make, seconds=1.0, connections=8)
    return memory_mb(pid) - before


def main() -> int:
    print("measuring ours ...", flush=True)
    ours = run(OURS, filled=True)
    print("measuring kmock ...", flush=True)
    try:
        peer = run(KMOCK, filled=False)
    except (RuntimeError, OSError) as error:
        print(f"kmock could not be measured: {error}")
        return 1
    rows = [
        ("creates a second", ours.create, peer.create, True),
        ("gets a second", ours.get, peer.get, True),
        ("lists of 500 a second", ours.list_500, peer.list_500, True),
        ("patches a second, one client", ours.patch, peer.patch, True),
        ("events a second, 100 watchers", ours.fan_out, peer.fan_out, True),
        ("start to first address, s", ours.start_seconds, peer.start_seconds, False),
        ("memory at rest, MB", ours.idle_mb, peer.idle_mb, False),
    ]
    print(f"{'':34}{'ours / kmock':>14}{'ours':>12}{'kmock':>12}")
    for name, mine, theirs, _ in rows:
        ratio = mine / theirs if theirs else float("nan")
        print(f"{name:34}{ratio:>13.2f}x{mine:>12.1f}{theirs:>12.1f}")
    print(f"{'memory with 10,000 objects, MB':34}{'':14}{ours.loaded_mb:>12.1f}")
    ratio = ours.get / peer.get if peer.get else float("nan")
    print(f"gets: {ratio:.2f} times kmock")
    return 0


if __name__ == "__main__":
    sys.exit(main())
