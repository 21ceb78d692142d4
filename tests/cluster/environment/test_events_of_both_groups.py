"""An Event is one object in two groups: what is written through one is read through the other. Compared with a real
kube-apiserver 1.37."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.cluster.client.client import Client
from slipway.cluster.client.resources import EVENTS as CORE
from slipway.cluster.client.resources import ApiResource
from slipway.cluster.status import StatusError

Object = dict[str, Any]
EVENTS = ApiResource("events.k8s.io", "v1", "events", "Event")
POD = {"kind": "Pod", "namespace": "default", "name": "p"}


def event(**more: Any) -> Object:
    return {
        "metadata": {"name": "new", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "x.io/c",
        "reportingInstance": "c-1",
        "action": "Looked",
        "reason": "Curious",
        "type": "Normal",
        "regarding": POD,
        "note": "hello",
        **more,
    }


def core_event() -> Object:
    return {
        "metadata": {"name": "old", "namespace": "default"},
        "involvedObject": POD,
        "reason": "R",
        "message": "m",
        "source": {"component": "x"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:00:00Z",
        "count": 2,
        "type": "Warning",
    }


async def test_a_new_event_is_read_in_the_core_group(client: Client) -> None:
    await client.create(EVENTS, event())
    found = await client.get(CORE, "new", "default")
    assert (found["apiVersion"], found["involvedObject"], found["message"]) == ("v1", POD, "hello")
    assert found["reportingComponent"] == "x.io/c"
    assert found["firstTimestamp"] is None
    assert found["source"] == {}
    assert not {"regarding", "note", "reportingController", "deprecatedSource"} & found.keys()


async def test_a_core_event_is_read_in_the_new_group(client: Client) -> None:
    await client.create(CORE, core_event())
    found = await client.get(EVENTS, "old", "default")
    assert (found["regarding"], found["note"], found["deprecatedCount"]) == (POD, "m", 2)
    assert found["deprecatedSource"] == {"component": "x"}
    assert found["deprecatedLastTimestamp"] == "2026-01-01T00:00:00Z"
    assert (
        not {"involvedObject", "message", "source", "reportingController", "reportingInstance"} & found.keys()
    )


async def test_selectors_of_either_group_find_it(client: Client) -> None:
    await client.create(EVENTS, event())
    core = await client.list(
        CORE, "default", field_selector="involvedObject.name=p,reportingComponent=x.io/c"
    )
    assert [item["metadata"]["name"] for item in core["items"]] == ["new"]
    new = await client.list(EVENTS, "default", field_selector="regarding.name=p,reportingController=x.io/c")
    assert [item["metadata"]["name"] for item in new["items"]] == ["new"]


async def test_managers_of_one_group_keep_their_fields_when_the_other_writes(client: Client) -> None:
    await client.create(EVENTS, event())
    series = {"count": 5, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}
    await client.patch(CORE, "new", "default", {"series": series}, field_manager="counter")
    entries = (await client.get(EVENTS, "new", "default"))["metadata"]["managedFields"]
    assert {(entry["apiVersion"], min(entry["fieldsV1"])) for entry in entries} == {
        ("events.k8s.io/v1", "f:action"),
        ("v1", "f:series"),
    }


async def test_only_the_new_group_is_strict(client: Client) -> None:
    await client.create(CORE, core_event())
    with pytest.raises(StatusError) as refused:
        await client.patch(EVENTS, "old", "default", {"note": "zz"})
    assert refused.value.message == 'Event "old" is invalid: message: Invalid value: "zz": field is immutable'
    changed = await client.patch(CORE, "old", "default", {"message": "zz"})
    assert changed["message"] == "zz"
    with pytest.raises(StatusError) as refused:
        await client.create(EVENTS, event(type="Odd", deprecatedCount=1, eventTime=None))
    assert [cause["field"] for cause in (refused.value.details or {})["causes"]] == [
        "eventTime",
        "type",
        "count",
    ]


@pytest.mark.parametrize("missing", ["reportingComponent", "reportingInstance", "action", "reason"])
async def test_a_core_event_with_a_time_of_its_own_says_who_reports_it(client: Client, missing: str) -> None:
    reported = {
        **core_event(),
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingComponent": "x.io/c",
        "reportingInstance": "c-1",
        "action": "Looked",
    }
    with pytest.raises(StatusError) as refused:
        await client.create(CORE, {name: value for name, value in reported.items() if name != missing})
    assert {cause["field"] for cause in (refused.value.details or {})["causes"]} == {missing}
