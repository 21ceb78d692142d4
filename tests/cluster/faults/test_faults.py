"""Fault rules: they hit the requests that they are about and no others, in the ways that they say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from slipway.cluster.client.client import Client
from slipway.cluster.client.http import Access, HttpTransport
from slipway.cluster.client.resources import CONFIG_MAPS, PODS
from slipway.cluster.clock import Clock
from slipway.cluster.environment import virtual_time
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Response
from slipway.cluster.faults import (
    Delay,
    Disconnect,
    Effect,
    EndWatch,
    FaultError,
    LateEvents,
    Refuse,
    StaleLists,
    Struck,
)
from slipway.cluster.status import StatusError

OPTIONS = ClusterOptions(tls=False, nodes=0, controllers=False)
MAPS = "/api/v1/namespaces/default/configmaps"


def config_map(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "default"}}


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    async with EmbeddedCluster(OPTIONS) as made:
        yield made


@pytest.fixture
async def client(cluster: EmbeddedCluster) -> AsyncIterator[Client]:
    """An operator, as the server sees it."""
    token = cluster.new_token("operator", ("system:masters",))
    transport = HttpTransport(Access(cluster.url, headers={"authorization": f"Bearer {token}"}))
    yield Client(transport, user_agent="operator/1", clock=Clock())
    await transport.close()


async def names(client: Client) -> list[str]:
    found = (await client.list(CONFIG_MAPS, "default"))["items"]
    return [one["metadata"]["name"] for one in found if one["metadata"]["name"] != "kube-root-ca.crt"]


async def answer(client: Client, method: str, path: str, query: dict[str, str] | None = None) -> Response:
    """The answer as it came; errors are answers."""
    return await client.raw(method, path, query=query or {}, headers={}, body=b"")


async def test_the_nth_requests_are_refused_with_a_status_and_nothing_is_done(
    cluster: EmbeddedCluster, client: Client
) -> None:
    with cluster.faults.add(Refuse(503, retry_after=7), verb="create", skip=1, times=2) as rule:
        outcomes = []
        for name in "abcd":
            try:
                await client.create(CONFIG_MAPS, config_map(name))
                outcomes.append("made")
            except StatusError as error:
                outcomes.append(f"{error.code} {error.reason} {(error.details or {})['retryAfterSeconds']}")
    refused = "503 ServiceUnavailable 7"
    assert outcomes == ["made", refused, refused, "made"]
    assert await names(client) == ["a", "d"]
    assert rule.count == 2
    assert [hit.method for hit in rule.hits] == ["POST", "POST"]
    assert "operator/1" in str(rule.hits[0])


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (401, "Unauthorized"),
        (409, "Conflict"),
        (410, "Expired"),
        (429, "TooManyRequests"),
        (500, "InternalError"),
    ],
)
async def test_refusals_have_the_reasons_of_kubernetes(
    cluster: EmbeddedCluster, client: Client, code: int, reason: str
) -> None:
    cluster.faults.add(Refuse(code))
    response = await answer(client, "GET", f"{MAPS}/a")
    assert (response.status, json.loads(bytes(response.body))["reason"]) == (code, reason)  # type: ignore[arg-type]
    headers = {name.lower(): text for name, text in response.headers.items()}
    assert headers.get("retry-after") == ("1" if code == 429 else None)


async def test_a_refusal_may_come_after_the_write_was_done(cluster: EmbeddedCluster, client: Client) -> None:
    cluster.faults.add(Refuse(504, when="after"), verb="create", times=1)
    with pytest.raises(StatusError):
        await client.create(CONFIG_MAPS, config_map("a"))
    assert await names(client) == ["a"]


@pytest.mark.parametrize(("when", "made"), [("before", []), ("after", ["a"]), ("midway", ["a"])])
async def test_a_connection_is_reset_before_or_after_the_write_was_done(
    cluster: EmbeddedCluster, client: Client, when: Any, made: list[str]
) -> None:
    with cluster.faults.add(Disconnect(when), verb="create"), pytest.raises(OSError):
        await client.create(CONFIG_MAPS, config_map("a"))
    assert await names(client) == made


MATCHES: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"verb": "create"}, True),
    ({"verb": ["update", "create"]}, True),
    ({"verb": "get"}, False),
    ({"resource": "configmaps"}, True),
    ({"resource": "config*"}, True),
    ({"resource": "configmaps.apps"}, False),
    ({"resource": "pods"}, False),
    ({"subresource": ""}, True),
    ({"subresource": "status"}, False),
    ({"namespace": "default"}, True),
    ({"namespace": "kube-*"}, False),
    ({"name": "a"}, False),  # the name of what is created is not in its path
    ({"user": "operator"}, True),
    ({"user": "somebody"}, False),
    ({"agent": "operator/*"}, True),
    ({"agent": "kubectl*"}, False),
    ({"path": "/version"}, False),
]


@pytest.mark.parametrize(("words", "hit"), MATCHES, ids=str)
async def test_a_rule_hits_what_its_words_say(
    cluster: EmbeddedCluster, client: Client, words: dict[str, Any], hit: bool
) -> None:
    rule = cluster.faults.add(Delay(0), **words)
    await client.create(CONFIG_MAPS, config_map("a"))
    assert rule.count == hit


async def test_sub_resources_groups_and_documents_can_be_told_apart(
    cluster: EmbeddedCluster, client: Client
) -> None:
    add = cluster.faults.add
    status = add(Delay(0), resource="deployments", subresource="status")
    itself = add(Delay(0), resource="deployments.apps", subresource="", name="d")
    either = add(Delay(0), resource="*.apps")
    document = add(Delay(0), path="/vers*")
    for path in ("deployments/d/status", "deployments/d", "deployments"):
        await answer(client, "GET", f"/apis/apps/v1/namespaces/default/{path}")
    await answer(client, "GET", "/version")
    assert [rule.count for rule in (status, itself, either, document)] == [1, 1, 3, 1]


async def test_the_clusters_own_programs_and_the_tests_client_are_spared_unless_they_are_named(
    cluster: EmbeddedCluster, client: Client
) -> None:
    everyone = cluster.faults.add(Refuse(500))
    own = cluster.client()
    await own.list(CONFIG_MAPS, "default")
    assert everyone.count == 0
    named = cluster.faults.add(Delay(0), user="kubernetes-admin")
    await own.list(CONFIG_MAPS, "default")
    assert (everyone.count, named.count) == (0, 1)


async def test_chance_is_the_same_at_every_run(client: Client) -> None:
    async def run() -> list[bool]:
        async with EmbeddedCluster(OPTIONS) as fresh:
            rule = fresh.faults.add(Delay(0), agent="*", probability=0.5)
            mine, before = fresh.client(), 0
            outcomes = []
            for _ in range(40):
                await mine.list(CONFIG_MAPS, "default")
                outcomes.append(rule.count > before)
                before = rule.count
            return outcomes

    first = await run()
    assert first == await run()
    assert 5 < sum(first) < 35


async def test_rules_are_passed_in_order_and_one_that_was_not_reached_does_not_count(
    cluster: EmbeddedCluster, client: Client
) -> None:
    faults = cluster.faults
    slow, refused, never = (
        faults.add(Delay(0)),
        faults.add(Refuse(500), times=1),
        faults.add(Refuse(503), times=1),
    )
    codes = [(await answer(client, "GET", MAPS)).status for _ in range(3)]
    assert codes == [500, 503, 200]
    assert (slow.count, refused.count, never.count) == (3, 1, 1)
    faults.clear()
    await answer(client, "GET", MAPS)
    assert slow.count == 3
    assert not faults.rules


async def events(client: Client, since: str, **query: str) -> list[dict[str, Any]]:
    """What a watch says until it ends; ConnectionError when it is reset."""
    response = await answer(client, "GET", MAPS, {"watch": "1", "resourceVersion": since, **query})
    text = b"".join([chunk async for chunk in response.body])  # type: ignore[union-attr]
    return [json.loads(line) for line in text.splitlines()]


async def test_a_watch_ends_after_so_many_events_in_the_way_that_is_said(
    cluster: EmbeddedCluster, client: Client
) -> None:
    since = (await client.list(CONFIG_MAPS, "default"))["metadata"]["resourceVersion"]
    for name in "abc":
        await client.create(CONFIG_MAPS, config_map(name))
    cluster.faults.add(EndWatch(2, "closed"), times=1)
    found = await events(client, since)
    assert [event["object"]["metadata"]["name"] for event in found] == ["a", "b"]
    cluster.faults.add(EndWatch(1, "expired"), times=1)
    found = await events(client, since)
    assert [event["type"] for event in found] == ["ADDED", "ERROR"]
    assert (found[1]["object"]["code"], found[1]["object"]["reason"]) == (410, "Expired")
    cluster.faults.add(EndWatch(1, "reset"), times=1)
    with pytest.raises(OSError):
        await events(client, since)
    assert len(await events(client, since, timeoutSeconds="1")) == 3


async def test_an_expired_watch_looks_as_one_whose_history_is_gone(
    cluster: EmbeddedCluster, client: Client
) -> None:
    cluster.faults.add(EndWatch())
    made_up = await events(client, "0")
    cluster.faults.clear()
    async with EmbeddedCluster(ClusterOptions(tls=False, nodes=0, controllers=False, window=100)) as small:
        token = small.new_token("operator", ("system:masters",))
        transport = HttpTransport(Access(small.url, headers={"authorization": f"Bearer {token}"}))
        other = Client(transport, user_agent="operator/1", clock=Clock())
        for name in range(300):
            await other.create(CONFIG_MAPS, config_map(f"a{name}"))
        real = await events(other, "1")
        await transport.close()
    assert [event["type"] for event in made_up] == [event["type"] for event in real] == ["ERROR"]
    for event in (*made_up, *real):
        event["object"].pop("message")
    assert made_up == real


async def test_answers_under_way_are_cut_at_once(cluster: EmbeddedCluster, client: Client) -> None:
    watching = asyncio.create_task(events(client, "0"))
    async with asyncio.timeout(20):
        while not cluster.faults.cut(verb="watch", resource="configmaps"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        with pytest.raises(OSError):
            await watching
    assert cluster.faults.cut(verb="watch", resource="configmaps") == 0
    assert await names(client) == []


async def test_lists_from_a_cache_show_what_was_and_others_what_is(
    cluster: EmbeddedCluster, client: Client
) -> None:
    await client.create(CONFIG_MAPS, config_map("old"))
    rule = cluster.faults.add(StaleLists(), resource="configmaps")
    await client.create(CONFIG_MAPS, config_map("new"))

    async def listed(query: dict[str, str]) -> list[str]:
        found = json.loads(bytes((await answer(client, "GET", MAPS, query)).body))  # type: ignore[arg-type]
        return [one["metadata"]["name"] for one in found["items"]]

    assert await listed({"resourceVersion": "0", "labelSelector": "!x"}) == ["old"]
    assert await listed({}) == ["new", "old"]
    assert rule.count == 1
    rule.remove()
    assert await listed({"resourceVersion": "0"}) == ["new", "old"]


def test_delays_are_of_the_clusters_time_and_events_come_late_in_order() -> None:
    async def scene() -> tuple[float, list[tuple[str, float]]]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, virtual_time.VirtualTimeLoop)
        options = ClusterOptions(listen=False, nodes=0, controllers=False)
        async with EmbeddedCluster(options, clock=loop.clock()) as cluster:
            client = cluster.client("operator")
            cluster.faults.add(LateEvents(600), user="operator")
            seen: list[tuple[str, float]] = []
            since = (await client.list(CONFIG_MAPS, "default"))["metadata"]["resourceVersion"]

            async def watch() -> None:
                async for event in client.watch(CONFIG_MAPS, "default", resource_version=since):
                    if event.type == "ADDED":
                        seen.append((event.object["metadata"]["name"], loop.time()))
                    if len(seen) == 2:
                        return

            watching = asyncio.create_task(watch())
            await asyncio.sleep(1)
            start = loop.time()
            await client.create(CONFIG_MAPS, config_map("a"))
            await asyncio.sleep(60)
            await client.create(CONFIG_MAPS, config_map("b"))
            await watching
            cluster.faults.clear()
            cluster.faults.add(Delay(3600), user="operator", verb="create")
            begun = loop.time()
            await client.create(CONFIG_MAPS, config_map("c"))
            return loop.time() - begun, [(name, at - start) for name, at in seen]

    took, seen = virtual_time.run(scene())
    assert took == pytest.approx(3600)
    assert seen == [("a", pytest.approx(600)), ("b", pytest.approx(660))]


async def test_an_effect_of_ones_own_can_be_put_into_a_rule(cluster: EmbeddedCluster, client: Client) -> None:
    class Teapot:
        def concerns(self, struck: Struck) -> bool:
            return struck.asked.name == "tea"

        async def answer(self, struck: Struck, proceed: Any) -> Response:
            return Response(418, {}, b"")

    effect: Effect = Teapot()
    cluster.faults.add(effect, resource="configmaps")
    assert (await answer(client, "GET", f"{MAPS}/tea")).status == 418
    assert (await answer(client, "GET", f"{MAPS}/coffee")).status == 404


async def test_a_revoked_token_is_refused(cluster: EmbeddedCluster) -> None:
    token = cluster.new_token("operator", ("system:masters",))
    transport = HttpTransport(Access(cluster.url, headers={"authorization": f"Bearer {token}"}))
    client = Client(transport, user_agent="operator/1", clock=Clock())
    await client.list(PODS, "default")
    cluster.revoke_token(token)
    with pytest.raises(StatusError) as caught:
        await client.list(PODS, "default")
    assert caught.value.code == 401
    await transport.close()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"verb": "post"}, "verb 'post': say one or more of get, list, watch"),
    ({"resource": "pods/status"}, "give a plural .* and subresource= beside it"),
    ({"path": "/version", "verb": "get"}, "leave resource, subresource and verb out"),
    ({"times": 0}, "times=0: give how many requests are hit, 1 or more"),
    ({"skip": -1}, "skip=-1"),
    ({"probability": 2}, "probability=2: give a share from 0 to 1"),
]


@pytest.mark.parametrize(("words", "said"), REFUSED, ids=lambda value: str(value)[:30])
async def test_a_rule_that_cannot_be_is_refused(
    cluster: EmbeddedCluster, words: dict[str, Any], said: str
) -> None:
    with pytest.raises(FaultError, match=said):
        cluster.faults.add(Refuse(), **words)
    assert not cluster.faults.rules


@pytest.mark.parametrize(
    "make",
    [
        lambda: Refuse(200),
        lambda: Refuse(retry_after=-1),
        lambda: Refuse(when="during"),
        lambda: Delay(-1),
        lambda: Disconnect("never"),
        lambda: EndWatch(-1),
        lambda: EndWatch(how="gone"),
        lambda: LateEvents(-1),
    ],
)
def test_an_effect_that_cannot_be_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match=r"give|say"):
        make()


def test_waiting_for_a_rule_that_hits_nothing_says_so() -> None:
    async def add() -> Any:
        async with EmbeddedCluster(OPTIONS) as made:
            return made.faults.add(Refuse(), verb="create")

    rule = asyncio.run(add())
    with pytest.raises(FaultError, match="hit 0 requests within 0 s, not 1"):
        rule.wait(timeout=0)
