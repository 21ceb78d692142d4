"""State-changing handlers: what kopf tells them, what it writes on the object, and when it lets the object go."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from slipway.cluster.environment.test_cluster import TestCluster

FINALIZER = "kopf.zalando.org/KopfFinalizerMarker"
LAST_HANDLED = "kopf.zalando.org/last-handled-configuration"


def test_creation_is_handled_once_and_results_go_to_status(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("changes") as operator:
        samples("one", {"size": 3})
        note = operator.wait("created", name="one")
        assert note["reason"] == "create"
        assert note["namespace"] == cluster.namespace
        assert note["spec"] == {"size": 3}
        assert operator.wait("created too")["param"] == "given"
        done = cluster.wait("samples", "one", lambda obj: "second" in obj.get("status", {}))
        assert done["status"]["created"] == {"seen": 3}
        assert done["status"]["second"] == "a text"
        handled = cluster.wait(
            "samples", "one", lambda obj: LAST_HANDLED in obj["metadata"].get("annotations", {})
        )
        assert json.loads(handled["metadata"]["annotations"][LAST_HANDLED])["spec"] == {"size": 3}
        assert operator.notes("resumed") == []
    assert len(operator.notes("created")) == 1


def test_updates_come_with_old_new_and_diff_and_field_handlers_see_their_field(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("changes") as operator:
        samples("one", {"size": 1, "shade": "red"}, annotations={"case": "update"}, labels={"shade": "red"})
        cluster.wait("samples", "one", lambda obj: LAST_HANDLED in obj["metadata"].get("annotations", {}))
        cluster.patch("samples", "one", {"spec": {"size": 2}})
        note = operator.wait("updated")
        assert (note["old"]["size"], note["new"]["size"]) == (1, 2)
        assert note["diff"] == [["change", ["spec", "size"], 1, 2]]
        assert operator.wait("size")["diff"] == [["add", [], None, 1]]
        assert operator.wait("size", count=2)["diff"] == [["change", [], 1, 2]]

        cluster.patch(
            "samples", "one", {"spec": {"shade": "blue"}, "metadata": {"labels": {"shade": "blue"}}}
        )
        assert operator.wait("shade", param="spec")["new"] == "blue"
        assert operator.wait("shade", param="label")["old"] == "red"
        assert len(operator.notes("size")) == 2


def test_status_written_by_another_is_seen_only_by_handlers_that_ask_for_it(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("changes") as operator:
        samples("one", {"size": 1}, annotations={"case": "update"})
        cluster.wait("samples", "one", lambda obj: LAST_HANDLED in obj["metadata"].get("annotations", {}))
        cluster.patch("samples", "one", {"status": {"outside": 7}}, subresource="status")
        assert operator.wait("status")["new"] == 7


def test_deletion_waits_for_the_handler_and_then_the_finalizer_goes(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("changes") as operator:
        samples("one", annotations={"case": "delete"})
        samples("two", annotations={"case": "none"})
        held = cluster.wait("samples", "one", lambda obj: obj["metadata"].get("finalizers"))
        assert held["metadata"]["finalizers"] == [FINALIZER]
        free = cluster.wait(
            "samples", "two", lambda obj: LAST_HANDLED in obj["metadata"].get("annotations", {})
        )
        assert "finalizers" not in free["metadata"]
        cluster.delete("samples", "one")
        cluster.wait_gone("samples", "one")
        note = operator.wait("deleted")
        assert note["finalizers"] == [FINALIZER]
        assert note["reason"] == "delete"


def test_an_optional_deletion_handler_puts_no_finalizer(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    plain = {"apiVersion": "conformance.example.com/v1", "kind": "PlainSample", "metadata": {"name": "p"}}
    with run("changes") as operator:
        cluster.apply({**plain, "metadata": {"name": "p", "annotations": {"a": "1"}}})
        samples("beacon", {"size": 1})
        operator.wait("created", name="beacon")
        found = cluster.get("plainsamples", "p")
        assert found is not None
        assert "finalizers" not in found["metadata"]
        cluster.delete("plainsamples", "p")
        cluster.wait_gone("plainsamples", "p")


def test_a_restarted_operator_resumes_what_it_knows_and_creates_what_is_new(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("changes") as first:
        samples("old", {"size": 1})
        first.wait("created", name="old")
        cluster.wait("samples", "old", lambda obj: LAST_HANDLED in obj["metadata"].get("annotations", {}))
        first.stop()
    samples("new", {"size": 1})
    with run("changes") as second:
        assert second.wait("resumed", name="old")["reason"] == "resume"
        second.wait("created", name="new")
        assert second.notes("created", name="old") == []


def test_an_object_deleted_while_the_operator_was_away_is_handled_when_it_is_back(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("changes") as first:
        samples("one", annotations={"case": "delete"})
        cluster.wait("samples", "one", lambda obj: LAST_HANDLED in obj["metadata"].get("annotations", {}))
        first.stop()
    cluster.delete("samples", "one")
    assert (cluster.get("samples", "one") or {})["metadata"]["deletionTimestamp"]
    with run("changes") as second:
        second.wait("deleted")
        cluster.wait_gone("samples", "one")
        assert second.notes("resumed") == []
        assert len(second.notes("resumed though deleted")) == 1


def test_subhandlers_of_every_form_are_retried_one_by_one(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("changes") as operator:
        samples("one", {"items": ["a", "b"]}, annotations={"case": "subhandlers"})
        done = cluster.wait(
            "samples",
            "one",
            lambda obj: LAST_HANDLED in obj["metadata"].get("annotations", {}) and "status" in obj,
        )
        seen = {(note["form"], note["item"]) for note in operator.notes("sub-handler")}
        assert seen == {
            ("decorated", "a"), ("decorated", "b"), ("registered", "r"), ("executed", "a"), ("executed", "b"),
        }  # fmt: skip
        assert operator.wait("sub-handler", form="executed", item="b")["retry"] == 1
        assert len(operator.notes("sub-handler", form="executed", item="a")) == 1
        assert done["status"]["parent/a"] == {"made": "a"}


def test_event_handlers_see_every_raw_event(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    samples("old", annotations={"case": "events"})
    with run("changes") as operator:
        assert operator.wait("event", name="old")["type"] is None
        samples("new", annotations={"case": "events"})
        assert operator.wait("event", name="new", type="ADDED")["kind"] == "Sample"
        cluster.patch("samples", "new", {"spec": {"a": 1}})
        operator.wait("event", name="new", type="MODIFIED")
        cluster.delete("samples", "new")
        assert operator.wait("event", name="new", type="DELETED")["same"]
