"""The event recorder: repeats are counted, similar ones folded, floods stopped."""

import asyncio
import json
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from slipway.cluster.client.client import Client
from slipway.cluster.client.events import EventRecorder
from slipway.cluster.client.transport import InProcessTransport
from slipway.cluster.clock import Clock
from slipway.cluster.exchange import Identity

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "ns", "name": "p", "uid": "u"}}


async def written(
    scripted: SimpleNamespace, messages: Iterable[str], answers: int = 60
) -> list[tuple[str, str, Any]]:
    script = scripted.play(*[scripted.answer({}) for _ in range(answers)])
    clock = Clock(lambda: 1_700_000_000.0)
    client = Client(InProcessTransport(script, Identity("me")), user_agent="t", clock=clock)
    recorder = EventRecorder(client, "replicaset-controller")
    for message in messages:
        recorder.event(POD, "Normal", "SuccessfulCreate", message)
    task = asyncio.create_task(recorder.run())
    await recorder.flush()
    task.cancel()
    return [(request.method, request.path, json.loads(request.body)) for request in script.requests]


async def test_an_event_names_its_object_and_its_source(scripted: SimpleNamespace) -> None:
    ((method, path, event),) = await written(scripted, ["Created pod: x"])
    assert (method, path) == ("POST", "/api/v1/namespaces/ns/events")
    assert event["metadata"]["name"].startswith("p.")
    assert event["involvedObject"] == {
        "apiVersion": "v1", "kind": "Pod", "namespace": "ns", "name": "p", "uid": "u",
    }  # fmt: skip
    assert (event["reason"], event["type"], event["count"]) == ("SuccessfulCreate", "Normal", 1)
    assert event["source"] == {"component": "replicaset-controller"}
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2023-11-14T22:13:20Z"


async def test_the_same_event_again_raises_the_count_of_the_first(scripted: SimpleNamespace) -> None:
    first, second, third = await written(scripted, ["same"] * 3)
    assert second[0] == "PATCH"
    assert second[1] == f"{first[1]}/{first[2]['metadata']['name']}"
    assert [second[2]["count"], third[2]["count"]] == [2, 3]


async def test_the_eleventh_similar_event_is_folded_into_one(scripted: SimpleNamespace) -> None:
    requests = await written(scripted, [f"Created pod: {n}" for n in range(14)])
    assert [method for method, _, _ in requests] == ["POST"] * 11 + ["PATCH"] * 3
    assert requests[10][2]["message"] == "(combined from similar events): Created pod: 10"
    assert requests[13][2]["count"] == 4


async def test_a_flood_about_one_object_is_cut_at_twenty_five(scripted: SimpleNamespace) -> None:
    assert len(await written(scripted, ["same"] * 60)) == 25


async def test_an_event_that_expired_is_written_anew(scripted: SimpleNamespace) -> None:
    script = scripted.play(scripted.answer({}), scripted.answer({}, 404), scripted.answer({}))
    recorder = EventRecorder(script.client, "c")
    recorder.event(POD, "Normal", "R", "m")
    recorder.event(POD, "Normal", "R", "m")
    task = asyncio.create_task(recorder.run())
    await recorder.flush()
    task.cancel()
    assert [request.method for request in script.requests] == ["POST", "PATCH", "POST"]
    assert json.loads(script.requests[2].body)["count"] == 2
