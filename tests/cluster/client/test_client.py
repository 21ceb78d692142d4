"""The client: which request each verb becomes, and what becomes of the answers."""

import json
from types import SimpleNamespace

import pytest

from slipway.cluster.client.client import PatchType
from slipway.cluster.client.resources import CONFIG_MAPS, DEPLOYMENTS, NAMESPACES, NODES, PODS
from slipway.cluster.exchange import Identity, Response
from slipway.cluster.status import StatusError, not_found


def test_paths_are_those_of_the_api() -> None:
    assert PODS.path("ns", "a", "log") == "/api/v1/namespaces/ns/pods/a/log"
    assert DEPLOYMENTS.path() == "/apis/apps/v1/deployments"
    assert NODES.path(name="n") == "/api/v1/nodes/n"
    assert NAMESPACES.path("", "x", "finalize") == "/api/v1/namespaces/x/finalize"
    assert PODS.path("a/b", "ü") == "/api/v1/namespaces/a%2Fb/pods/%C3%BC"


async def test_the_caller_and_its_agent_go_with_each_request(scripted: SimpleNamespace) -> None:
    script = scripted.play(scripted.answer({"kind": "Pod"}))
    await script.client.get(PODS, "a", "ns")
    (request,) = script.requests
    assert request.peer.identity == Identity("me")
    assert request.headers["user-agent"] == "test/1"


async def test_a_refusal_becomes_a_status_error_with_its_details(scripted: SimpleNamespace) -> None:
    script = scripted.play(scripted.answer(not_found("pods", "", "a").to_object(), 404))
    with pytest.raises(StatusError) as caught:
        await script.client.get(PODS, "a", "ns")
    assert caught.value.code == 404
    assert caught.value.reason == "NotFound"
    assert caught.value.details == {"name": "a", "kind": "pods"}


async def test_an_answer_that_is_no_status_keeps_its_code_and_text(scripted: SimpleNamespace) -> None:
    script = scripted.play(lambda _: Response(502, {}, b"bad gateway"))
    with pytest.raises(StatusError) as caught:
        await script.client.get(PODS, "a", "ns")
    assert (caught.value.code, caught.value.message) == (502, "bad gateway")


async def test_list_fills_in_the_kind_that_items_lack(scripted: SimpleNamespace) -> None:
    script = scripted.play(
        scripted.answer({"kind": "PodList", "metadata": {}, "items": [{"metadata": {"name": "a"}}]})
    )
    found = await script.client.list(PODS, "ns", label_selector="a=b")
    assert found["items"] == [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}]
    assert script.query(0) == {"labelSelector": "a=b"}


async def test_delete_sends_only_the_options_that_were_given(scripted: SimpleNamespace) -> None:
    script = scripted.play(scripted.answer({}), scripted.answer({}))
    client = script.client
    await client.delete(PODS, "a", "ns")
    await client.delete(PODS, "a", "ns", propagation="Foreground", grace_period=0, uid="u")
    assert script.requests[0].body == b""
    assert json.loads(script.requests[1].body) == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Foreground",
        "gracePeriodSeconds": 0,
        "preconditions": {"uid": "u"},
    }


async def test_a_patch_says_by_its_content_type_what_it_is(scripted: SimpleNamespace) -> None:
    script = scripted.play(scripted.answer({}), scripted.answer({}))
    client = script.client
    await client.patch(CONFIG_MAPS, "a", "ns", [], PatchType.JSON)
    await client.apply(
        CONFIG_MAPS, {"metadata": {"name": "a", "namespace": "ns"}}, field_manager="m", force=True
    )
    assert script.requests[0].headers["content-type"] == "application/json-patch+json"
    assert script.requests[1].headers["content-type"] == "application/apply-patch+yaml"
    assert script.query(1) == {"fieldManager": "m", "force": "true"}


@pytest.mark.parametrize("pieces", [0, 1, 7])
async def test_watch_events_are_whole_however_the_bytes_come(scripted: SimpleNamespace, pieces: int) -> None:
    pod = {"metadata": {"name": "a", "resourceVersion": "7"}}
    script = scripted.play(scripted.stream(("ADDED", pod), ("MODIFIED", pod), pieces=pieces))
    events = [event async for event in script.client.watch(PODS, resource_version="5")]
    assert [(event.type, event.object) for event in events] == [("ADDED", pod), ("MODIFIED", pod)]
    assert script.query(0) == {"watch": "true", "resourceVersion": "5"}


async def test_an_error_event_ends_the_watch_as_an_error(scripted: SimpleNamespace) -> None:
    gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    script = scripted.play(scripted.stream(("ERROR", gone)))
    with pytest.raises(StatusError) as caught:
        async for _ in script.client.watch(PODS):
            pass
    assert caught.value.code == 410
