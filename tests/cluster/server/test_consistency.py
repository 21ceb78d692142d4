"""What readers and writers may rely on whatever others do: pages across a restart, counts that nobody loses, and the
stream from which client-go fills its caches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from slipway.cluster.client.client import Client, PatchType
from slipway.cluster.client.resources import CONFIG_MAPS
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Identity, Peer, Request
from slipway.cluster.status import StatusError

Object = dict[str, Any]
RECORDED = Path(__file__).parent / "recorded" / "client_go_watch_list_1.37.json"
ADMIN = Peer("127.0.0.1", identity=Identity("admin", ("system:masters",)))


def options(**more: Any) -> ClusterOptions:
    return ClusterOptions(nodes=0, controllers=False, scheduler=False, listen=False, **more)


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    async with EmbeddedCluster(options()) as running:
        yield running


def config_map(name: str, data: Object, **metadata: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "default", **metadata}, "data": data}


def names(page: Object) -> list[str]:
    return [item["metadata"]["name"] for item in page["items"]]


async def test_a_page_of_before_a_restart_is_continued_after_it(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    async with EmbeddedCluster(options(state=state)) as before:
        client = before.client("kubernetes-admin")
        for name in "abcde":
            await client.create(CONFIG_MAPS, config_map(name, {"n": "1"}))
        first = await client.list(CONFIG_MAPS, "default", limit=2)
    async with EmbeddedCluster(options(state=state)) as after:
        client = after.client("kubernetes-admin")
        rest = await client.list(
            CONFIG_MAPS, "default", limit=10, continue_token=first["metadata"]["continue"]
        )
    assert names(first) + names(rest) == list("abcde")
    assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def test_a_page_that_can_no_longer_be_continued_offers_to_go_on_with_the_present(
    tmp_path: Path,
) -> None:
    state = tmp_path / "state.db"
    async with EmbeddedCluster(options(state=state)) as before:
        client = before.client("kubernetes-admin")
        for name in "abcde":
            await client.create(CONFIG_MAPS, config_map(name, {"n": "1"}))
        token = (await client.list(CONFIG_MAPS, "default", limit=2))["metadata"]["continue"]
        await client.delete(CONFIG_MAPS, "d", "default")
        before.plane.store.compact(before.plane.store.revision)
    async with EmbeddedCluster(options(state=state)) as after:
        client = after.client("kubernetes-admin")
        with pytest.raises(StatusError) as refused:
            await client.list(CONFIG_MAPS, "default", continue_token=token)
        assert (refused.value.code, refused.value.reason) == (410, "Expired")
        present = refused.value.metadata["continue"]
        rest = await client.list(CONFIG_MAPS, "default", continue_token=present)
    assert names(rest) == ["c", "e"]


async def _increment_by_update(client: Client) -> None:
    while True:
        seen = await client.get(CONFIG_MAPS, "counter", "default")
        await asyncio.sleep(0)  # let others in between, as a network would
        seen["data"]["n"] = str(int(seen["data"]["n"]) + 1)
        try:
            await client.update(CONFIG_MAPS, seen)
        except StatusError as error:
            if error.code != 409:
                raise
        else:
            return


async def _increment_by_patch(client: Client) -> None:
    while True:
        seen = await client.get(CONFIG_MAPS, "counter", "default")
        await asyncio.sleep(0)
        revision = seen["metadata"]["resourceVersion"]
        change = {"metadata": {"resourceVersion": revision}, "data": {"n": str(int(seen["data"]["n"]) + 1)}}
        try:
            await client.patch(CONFIG_MAPS, "counter", "default", change, PatchType.MERGE)
        except StatusError as error:
            if error.code != 409:
                raise
        else:
            return


async def test_of_a_thousand_increments_by_many_at_once_none_is_lost(cluster: EmbeddedCluster) -> None:
    client = cluster.client("kubernetes-admin")
    await client.create(CONFIG_MAPS, config_map("counter", {"n": "0"}))

    async def work(number: int) -> None:
        for _ in range(50):
            await (_increment_by_update if number % 2 else _increment_by_patch)(client)

    await asyncio.gather(*map(work, range(20)))
    counter = await client.get(CONFIG_MAPS, "counter", "default")
    assert counter["data"] == {"n": "1000"}


async def test_client_go_fills_its_cache_from_one_stream(cluster: EmbeddedCluster) -> None:
    recorded = json.loads(RECORDED.read_text())
    asked, expected = recorded["request"], recorded["events"]
    client = cluster.client("kubernetes-admin")

    async def write(method: str, name: str, n: str = "1", **labels: str) -> None:
        obj = config_map(name, {"n": n}, labels=labels)
        obj["metadata"]["namespace"] = "watch-list"
        if method == "create":
            await client.create(CONFIG_MAPS, obj)
        else:
            await client.update(CONFIG_MAPS, obj)

    await client.raw("POST", "/api/v1/namespaces", body=orjson.dumps({"metadata": {"name": "watch-list"}}))
    for name in "ab":
        await write("create", name, watched="yes")
    request = Request(asked["method"], asked["path"], asked["query"], {"accept": asked["accept"]}, b"", ADMIN)
    response = await cluster.plane.api.handle(request)
    assert response.status == 200
    assert not isinstance(response.body, bytes)
    stream = aiter(response.body)
    events: list[Object] = []

    async def take(count: int) -> None:
        async with asyncio.timeout(30):
            while len(events) < count:
                events.append(json.loads(await anext(stream)))

    await take(3)
    await write("create", "c", watched="yes")
    await write("update", "a", "2", watched="yes")
    await client.delete(CONFIG_MAPS, "b", "watch-list")
    await write("update", "c")  # without the label that it was selected by
    await take(len(expected))
    await stream.aclose()  # type: ignore[attr-defined]
    revisions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert revisions == sorted(revisions)
    for event in events:
        for mine in ("uid", "resourceVersion", "creationTimestamp", "managedFields"):
            event["object"]["metadata"].pop(mine, None)
    assert events == expected
