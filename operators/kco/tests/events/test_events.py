"""Events: nothing lost, repeats counted, severity by whole words, sentences that fit."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kco.events.recorder import GATHERED, EventRecorder, Subject
from kco.events.severity import severity
from kco.events.wording import change_events, cut
from kco.spec.targetapp import EventRules, Severity
from kco.state.diff import Change, diff
from kco.state.value import MISSING
from operator_kit.clock import ManualClock, SystemClock
from operator_kit.kube.client import EVENTS
from operator_kit.kube.failure import ApiFailure

SUBJECT = Subject("operator.kco.local/v1alpha1", "TargetApp", "ns", "app", "uid-1", "7")


class Api:
    """Keeps Events in memory and fails when told to."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.failures: list[ApiFailure] = []
        self.calls = 0

    def _maybe_fail(self) -> None:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)

    async def create(self, _: Any, namespace: str, body: dict[str, Any]) -> Any:
        self._maybe_fail()
        self.events[body["metadata"]["name"]] = body

    async def patch(self, _: Any, namespace: str, name: str, body: dict[str, Any]) -> Any:
        self._maybe_fail()
        if name not in self.events:
            raise ApiFailure(404, "NotFound", "gone")
        self.events[name].update(body)

    def said(self) -> list[tuple[str, int]]:
        return [(event["message"], event["count"]) for event in self.events.values()]


def recorder(api: Api, clock: Any = None, **more: Any) -> EventRecorder:
    return EventRecorder(api, clock=clock or SystemClock(), **more)  # type: ignore[arg-type]


async def test_34_a_flap_is_counted_and_nothing_of_it_is_lost() -> None:
    api, clock = Api(), ManualClock()
    events = recorder(api, clock)
    for _ in range(6):
        events.emit(SUBJECT, "Warning", "StateChanged", "health: healthy → unhealthy")
        events.emit(SUBJECT, "Normal", "StateChanged", "health: unhealthy → healthy")
        await clock.advance(50)
    assert sorted(api.said()) == [("health: healthy → unhealthy", 6), ("health: unhealthy → healthy", 6)]


async def test_34_after_the_window_a_repeat_is_an_event_of_its_own() -> None:
    api, clock = Api(), ManualClock()
    events = recorder(api, clock)
    for _ in range(2):
        events.emit(SUBJECT, "Normal", "R", "same")
        await clock.advance(700)
    assert api.said() == [("same", 1), ("same", 1)]


async def test_34_a_talkative_object_is_gathered_under_a_count_and_others_are_not() -> None:
    api = Api()
    events = recorder(api)
    other = Subject("v1", "Pod", "ns", "other", "uid-2")
    for number in range(60):
        events.emit(SUBJECT, "Normal", "StateChanged", f"height: {number} → {number + 1}")
    events.emit(other, "Normal", "StateChanged", "quiet")
    await events.drain(5)
    said = dict(api.said())
    assert said[GATHERED] == 35
    assert len(said) == 27
    assert said["quiet"] == 1


async def test_35_an_event_counts_as_said_only_when_the_server_has_it() -> None:
    api, clock, written = Api(), ManualClock(), []
    api.failures = [ApiFailure(500, "InternalError", "no"), ApiFailure(0, "Disconnected", "no")]
    events = recorder(api, clock, written=lambda subject, kind: written.append(kind))
    events.emit(SUBJECT, "Normal", "R", "important")
    await clock.advance(0)
    assert written == []
    await clock.advance(60)
    assert api.said() == [("important", 1)]
    assert written == ["change"]
    assert api.calls == 3


async def test_35_an_event_that_has_expired_meanwhile_is_made_anew() -> None:
    api = Api()
    events = recorder(api)
    events.emit(SUBJECT, "Normal", "R", "same")
    await events.drain(5)
    api.events.clear()
    events.emit(SUBJECT, "Normal", "R", "same")
    await events.drain(5)
    assert api.said() == [("same", 1)]


async def test_35_an_event_that_the_server_will_never_take_does_not_block_the_next() -> None:
    api = Api()
    api.failures = [ApiFailure(422, "Invalid", "bad")]
    failed: list[int] = []
    events = recorder(api, failed=lambda: failed.append(1))
    events.emit(SUBJECT, "Normal", "R", "refused")
    events.emit(SUBJECT, "Normal", "R", "next")
    await events.drain(5)
    assert api.said() == [("next", 1)]
    assert failed == [1]


async def test_36_an_event_names_its_object_completely_and_is_redacted() -> None:
    api = Api()
    events = recorder(api, redact=lambda text: text.replace("hunter2", "[redacted]"))
    events.emit(SUBJECT, "Normal", "R", "password hunter2 " + "ä" * 2000)
    await events.drain(5)
    (event,) = api.events.values()
    assert event["involvedObject"] == {
        "apiVersion": "operator.kco.local/v1alpha1",
        "kind": "TargetApp",
        "namespace": "ns",
        "name": "app",
        "uid": "uid-1",
        "resourceVersion": "7",
    }
    assert "hunter2" not in event["message"]
    assert len(event["message"].encode()) <= 1024


@given(st.text(max_size=600), st.integers(10, 1024))
def test_36_a_message_is_cut_between_characters(text: str, limit: int) -> None:
    short = cut(text * 3, limit)
    assert len(short.encode()) <= limit


@given(
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 3), max_size=6),
    st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 3), max_size=6),
)
def test_36_the_order_of_messages_is_fixed(old: dict[str, int], new: dict[str, int]) -> None:
    told = change_events(diff(old, new), EventRules())
    shuffled = change_events(diff(dict(reversed(old.items())), dict(reversed(new.items()))), EventRules())
    assert told == shuffled
    assert [message for _, message in told] == sorted(
        (message for _, message in told), key=lambda m: m.split(":")[0]
    )


def test_36_redacted_and_ignored_fields_are_not_told() -> None:
    rules = EventRules(redact=["user.token"], ignore=["height"])
    changes = diff({"user": {"token": "a", "name": "x"}, "height": 1}, {"user": None, "height": 2})
    told = change_events(changes, rules)
    assert told == [("Normal", 'user: {"token":"[redacted]","name":"x"} → null')]


@pytest.mark.parametrize(
    ("path", "new", "expected"),
    [
        (("health",), "unhealthy", "Warning"),
        (("health",), "healthy", "Normal"),
        (("status",), "download complete", "Normal"),
        (("status",), "no errors", "Normal"),
        (("status",), "not failed", "Normal"),
        (("status",), "CRASHED", "Warning"),
        (("status",), "degraded", "Warning"),
        (("status",), "NodeDown", "Warning"),
        (("lastError",), "boom", "Warning"),
        (("lastError",), None, "Normal"),
        (("last_error",), "boom", "Warning"),
        (("errors", 0), "x", "Warning"),
        (("load",), 0.9, "Normal"),
        (("health",), MISSING, "Normal"),
    ],
)
def test_38_severity_goes_by_whole_words(path: tuple[Any, ...], new: Any, expected: str) -> None:
    assert severity(Change(path, "healthy", new), []) == expected


def test_38_severity_can_be_set_by_field_and_value() -> None:
    table = [
        Severity(field="load", type="Warning"),
        Severity(field="health", value="unhealthy", type="Normal"),
    ]
    assert severity(Change(("load",), 1, 2), table) == "Warning"
    assert severity(Change(("health",), "x", "unhealthy"), table) == "Normal"
    assert severity(Change(("health",), "x", "failed"), table) == "Warning"


async def test_37_events_on_a_real_server_are_found_by_the_objects_uid(bed, app, until) -> None:
    await bed.start()
    made = await bed.make(graphqlEndpoint=app.url)
    await until(lambda: bed.events("InitialState"))
    selector = f"involvedObject.uid={made['metadata']['uid']}"
    found = await bed.client.list(EVENTS, bed.namespace, fieldSelector=selector)
    assert [event["reason"] for event in found["items"]] == ["InitialState"]
    await asyncio.sleep(0)


async def test_64_of_an_object_that_is_gone_while_its_events_are_written_nothing_is_kept() -> None:
    """The churn test once left ten such behind: a slow API server answers after the deletion."""
    answered = asyncio.Event()

    class Slow(Api):
        async def create(self, _: Any, namespace: str, body: dict[str, Any]) -> Any:
            await answered.wait()
            await super().create(_, namespace, body)

    api = Slow()
    events = recorder(api)
    for number in range(3):
        events.emit(SUBJECT, "Normal", "StateChanged", f"height: {number}")
    await asyncio.sleep(0)
    events.forget(SUBJECT.uid)
    answered.set()
    await events.drain(5)
    assert len(api.said()) == 3, "what was to be said is said"
    assert not events._said
    assert not events._voices
