"""The embedded cluster beside kmock, and beside a real kube-apiserver where KUBEBUILDER_ASSETS names its folder.

`make bench WHAT=cluster`. Rates are answers for each second of processor time that the server used (the real one's
etcd included), so that a busy machine and the client, which shares it, hardly change them; each kind of request is
asked of one server after the other, ten requests at a time. kmock has neither TLS nor authentication, RBAC, validation
or managedFields: ours is measured without TLS beside it, and with TLS beside the real one.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from bench import peers
from bench.load import Ask, answers, config_map, delivered
from bench.peers import Peer

MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = "application/merge-patch+json"
OBJECTS = 10_000
WATCHERS, WRITES = 100, 50
Measure = Callable[[Peer], float]


@dataclass(frozen=True, slots=True)
class Row:
    """What is measured; `more` says whether more is better."""

    name: str
    measure: Measure
    more: bool = True
    digits: int = 0


def rate(make: Callable[[int], Ask], *, connections: int = 10) -> Measure:
    """Answers a second of the server's processor."""

    def measure(peer: Peer) -> float:
        return asyncio.run(answers(peer.target, make, peer.cpu_seconds, connections=connections))

    return measure


def patch(number: int) -> Ask:
    return Ask("PATCH", f"{MAPS}/c1", b'{"data":{"number":"%d"}}' % number, MERGE)


def fan_out(peer: Peer) -> float:
    """Events a second of the server's processor; what the writes cost is in it."""
    before = peer.cpu_seconds()
    seen = asyncio.run(delivered(peer.target, MAPS, WATCHERS, WRITES, lambda n: patch(n + 10**7)))
    if seen < WATCHERS * WRITES:
        print(f"  {peer.target.url}: {seen} of {WATCHERS * WRITES} events arrived")
    return seen / (peer.cpu_seconds() - before)


def filled(peer: Peer) -> float:
    """Megabytes with OBJECTS more of them."""

    def make(number: int) -> Ask:
        return Ask("POST", MAPS, config_map(number, f"fill{number}"))

    asyncio.run(answers(peer.target, make, seconds=300, most=OBJECTS))
    return peer.memory_mb()


ROWS = [
    Row("memory at rest, MB", Peer.memory_mb, more=False),
    Row("creates", rate(lambda n: Ask("POST", MAPS, config_map(n)))),
    Row("gets", rate(lambda n: Ask("GET", f"{MAPS}/c1"))),
    Row("lists of 500", rate(lambda n: Ask("GET", f"{MAPS}?limit=500"), connections=4)),
    Row("merge patches, one client", rate(lambda n: patch(n + 10**6), connections=1)),
    Row(f"events to {WATCHERS} watchers", fan_out),
    Row("start to first answer, s", lambda peer: peer.started, more=False, digits=2),
]
MEMORY = Row(f"memory with {OBJECTS} objects, MB", filled, more=False)


def ratio(row: Row, mine: float, theirs: float) -> str:
    """How much better ours is, whatever better means."""
    if not mine or not theirs:
        return "-"
    return f"{mine / theirs if row.more else theirs / mine:.1f}x"


def main() -> int:
    real = peers.has_real()
    names = ["ours", "kmock", *(["ours, TLS", "apiserver"] if real else [])]
    head = ["ours/kmock", *(["ours/apiserver"] if real else []), *names]
    print(
        f"load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}; rates are per CPU second of the server"
    )
    print(f"{'':34}" + "".join(f"{word:>15}" for word in head))
    ratios: dict[str, str] = {}

    def show(row: Row, figures: list[float]) -> None:
        pairs = [ratio(row, *figures[:2]), *([ratio(row, *figures[2:])] if real else [])]
        ratios[row.name] = pairs[-1]
        cells = [*pairs, *(f"{figure:.{row.digits}f}" for figure in figures)]
        print(f"{row.name:34}" + "".join(f"{cell:>15}" for cell in cells), flush=True)

    def start(stack: ExitStack) -> list[Peer]:
        plain = [peers.ours(), peers.kmock()]
        return [
            stack.enter_context(p) for p in [*plain, *([peers.ours(tls=True), peers.real()] if real else [])]
        ]

    with ExitStack() as stack:
        running = start(stack)
        for row in ROWS:
            show(row, [row.measure(peer) for peer in running])
    with ExitStack() as stack:
        show(MEMORY, [MEMORY.measure(peer) for peer in start(stack)])
    with peers.kmock(forgets=False) as peer:
        asyncio.run(answers(peer.target, lambda n: Ask("POST", MAPS, config_map(n)), most=200))
        slow = rate(lambda n: Ask("GET", f"{MAPS}/c1"))(peer)
    print(f"kmock as it comes, which keeps every request: {slow:.0f} gets after 200 requests, and ever fewer")
    beside = (
        "a real kube-apiserver" if real else "kmock (KUBEBUILDER_ASSETS is not set: no real kube-apiserver)"
    )
    print(f"gets: {ratios['gets']} of {beside}; creates: {ratios['creates']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
