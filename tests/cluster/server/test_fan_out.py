"""Watchers who are alike are served in passes: each sees every event once and in order, whoever is slow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.cluster.client.resources import CONFIG_MAPS
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.environment.virtual_time import VirtualTimeLoop, run
from slipway.cluster.exchange import Identity, Peer, PushedBody, Request

ADMIN = Peer(identity=Identity("admin", ("system:masters",)))


class Reader:
    """A client of a watch: takes what is pushed while `quick`, and reads the body itself."""

    def __init__(self, during: Callable[[], None] = lambda: None) -> None:
        self.quick = True
        self.pushed: list[bytes] = []  # chunks
        self.events: list[dict[str, Any]] = []
        self._during = during
        self._reading: asyncio.Task[None] | None = None
        self._rest = b""

    async def watch(self, cluster: EmbeddedCluster, namespace: str = "default", query: str = "") -> None:
        since = cluster.plane.store.revision
        path = f"/api/v1/namespaces/{namespace}/configmaps"
        request = Request("GET", path, f"watch=true&resourceVersion={since}{query}", peer=ADMIN)
        response = await cluster.plane.api.handle(request)
        assert isinstance(response.body, PushedBody)
        response.body.attach(self)
        self._reading = asyncio.create_task(self._read(response.body))
        await asyncio.sleep(0.001)

    async def _read(self, body: PushedBody) -> None:
        async with aclosing(body):
            async for chunk in body:
                self._note(chunk)
                while not self.quick:  # noqa: ASYNC110  as a connection whose client reads slowly
                    await asyncio.sleep(0.01)

    def take(self, chunk: bytes) -> bool:
        self._during()
        if self.quick:
            self.pushed.append(chunk)
            self._note(chunk)
        return self.quick

    def _note(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self.events += map(json.loads, lines)

    @property
    def seen(self) -> list[tuple[str, str]]:
        """Type and name of each object's event."""
        return [(event["type"], event["object"]["metadata"].get("name", "")) for event in self.events]

    async def leave(self) -> None:
        assert self._reading is not None
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)


def config_map(name: str, namespace: str = "default", size: int = 1) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": namespace}, "data": {"x": "y" * size}}


async def started() -> AsyncIterator[EmbeddedCluster]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    options = ClusterOptions(listen=False, controllers=False, scheduler=False, nodes=0)
    async with EmbeddedCluster(options, clock=loop.clock()) as cluster:
        yield cluster


def test_everybody_sees_what_is_under_his_prefix_and_nothing_else() -> None:
    async def main() -> None:
        async for cluster in started():
            here, everywhere = Reader(), Reader()
            await here.watch(cluster)
            await everywhere.watch(cluster, "kube-system")
            client = cluster.client()
            await client.create(CONFIG_MAPS, config_map("a"))
            await client.create(CONFIG_MAPS, config_map("b", "kube-system"))
            await client.delete(CONFIG_MAPS, "a", "default")
            await asyncio.sleep(1)
            assert here.seen == [("ADDED", "a"), ("DELETED", "a")]
            assert everywhere.seen == [("ADDED", "b")]
            assert b"".join(here.pushed), "they were pushed"

    run(main())


def test_a_pass_that_takes_long_is_followed_by_a_rest_in_which_changes_gather() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        async for cluster in started():
            reader = Reader(during=lambda: loop.jump(0.02) and None)
            await reader.watch(cluster)
            client = cluster.client()
            await client.create(CONFIG_MAPS, config_map("first"))
            await asyncio.sleep(0.001)
            assert [len(chunk.splitlines()) for chunk in reader.pushed] == [1], "the first waits for nobody"
            began = loop.time()
            for name in ("second", "third", "fourth"):
                await client.create(CONFIG_MAPS, config_map(name))
                await asyncio.sleep(0.001)
            assert len(reader.pushed) == 1
            await asyncio.sleep(0.02)
            assert [len(chunk.splitlines()) for chunk in reader.pushed] == [1, 3]
            assert loop.time() - began < 0.05
            assert [name for _, name in reader.seen] == ["first", "second", "third", "fourth"]

    run(main())


def test_who_stops_reading_holds_nobody_up_and_later_gets_the_rest() -> None:
    async def main() -> None:
        async for cluster in started():
            quick, slow = Reader(), Reader()
            await quick.watch(cluster)
            await slow.watch(cluster)
            client = cluster.client()
            slow.quick = False
            for number in range(5):
                await client.create(CONFIG_MAPS, config_map(f"c{number}"))
                await asyncio.sleep(1)
            everything = [("ADDED", f"c{number}") for number in range(5)]
            assert quick.seen == everything
            assert len(slow.seen) <= 1, "what it was reading when it stopped"
            slow.quick = True
            await client.create(CONFIG_MAPS, config_map("c5"))
            await asyncio.sleep(1)
            assert slow.seen == quick.seen == [*everything, ("ADDED", "c5")]
            assert slow.pushed == [], "it caught up by itself"
            await client.create(CONFIG_MAPS, config_map("c6"))
            await asyncio.sleep(1)
            assert len(slow.pushed) == 1, "and is pushed to again"

    run(main())


def test_who_is_slower_than_what_is_kept_is_told_so() -> None:
    async def main() -> None:
        async for cluster in started():
            reader = Reader()
            await reader.watch(cluster)
            client = cluster.client()
            reader.quick = False
            for number in range(3):
                await client.create(CONFIG_MAPS, config_map(f"c{number}"))
                await asyncio.sleep(1)
            cluster.plane.store.compact(cluster.plane.store.revision)
            reader.quick = True
            await asyncio.sleep(1)
            assert reader.events[-1]["type"] == "ERROR"
            assert reader.events[-1]["object"]["code"] == 410

    run(main())


def test_what_is_large_comes_in_parts_of_the_body() -> None:
    async def main() -> None:
        async for cluster in started():
            reader = Reader()
            await reader.watch(cluster)
            client = cluster.client()
            await client.create(CONFIG_MAPS, config_map("small"))
            await asyncio.sleep(1)
            await client.create(CONFIG_MAPS, config_map("large", size=200_000))
            await asyncio.sleep(1)
            assert [name for _, name in reader.seen] == ["small", "large"]
            assert sum(map(len, reader.pushed)) < 2000

    run(main())


def test_bookmarks_name_the_revision_up_to_which_all_was_pushed() -> None:
    async def main() -> None:
        async for cluster in started():
            reader = Reader()
            await reader.watch(cluster, query="&allowWatchBookmarks=true&timeoutSeconds=30")
            made = await cluster.client().create(CONFIG_MAPS, config_map("a"))
            await asyncio.sleep(60)
            assert reader.seen == [("ADDED", "a"), ("BOOKMARK", "")]
            assert (
                reader.events[1]["object"]["metadata"]["resourceVersion"]
                == made["metadata"]["resourceVersion"]
            )
            assert reader._reading is not None
            assert reader._reading.done(), "its time is over"

    run(main())


def test_who_leaves_is_forgotten() -> None:
    async def main() -> None:
        async for cluster in started():
            readers = [Reader() for _ in range(5)]
            for reader in readers:
                await reader.watch(cluster)
            client = cluster.client()
            await readers[0].leave()
            await client.create(CONFIG_MAPS, config_map("a"))
            await readers[1].leave()
            await asyncio.sleep(1)
            assert [len(reader.seen) for reader in readers] == [0, 0, 1, 1, 1]
            for reader in readers[2:]:
                await reader.leave()
            again = Reader()
            await again.watch(cluster)
            await client.create(CONFIG_MAPS, config_map("b"))
            await asyncio.sleep(1)
            assert again.seen == [("ADDED", "b")]

    run(main())


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.sampled_from(["write", "large", "slow 0", "slow 1", "quick 0", "quick 1", "wait"]), max_size=30
    )
)
def test_nothing_is_lost_doubled_or_out_of_order_whatever_happens(steps: list[str]) -> None:
    async def main() -> None:
        async for cluster in started():
            readers = [Reader(), Reader()]
            for reader in readers:
                await reader.watch(cluster)
            client, made = cluster.client(), list[tuple[str, str]]()
            for number, step in enumerate(steps):
                if step in {"write", "large"}:
                    made.append(("ADDED", f"c{number}"))
                    await client.create(
                        CONFIG_MAPS, config_map(f"c{number}", size=70_000 if step == "large" else 1)
                    )
                elif step == "wait":
                    await asyncio.sleep(0.1)
                else:
                    readers[int(step[-1])].quick = step.startswith("quick")
            for reader in readers:
                reader.quick = True
            await asyncio.sleep(1)
            assert [reader.seen for reader in readers] == [made, made]

    run(main())
