"""Events that an operator posts, with what kubectl shows of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slipway.cluster.environment.test_cluster import TestCluster


def test_events_of_every_kind_are_posted(cluster: TestCluster, run: Any, samples: Callable[..., Any]) -> None:
    with run("events", "--standalone", "-A"):
        samples("one")
        reasons = {"Named", "Informed", "Warned", "Caught", "Elsewhere", "Logging"}
        listed = cluster.wait(
            "events", "", lambda events: reasons <= {event["reason"] for event in events["items"]}
        )
        by_reason = {event["reason"]: event for event in listed["items"]}
        assert by_reason["Named"]["message"] == "of a type and reason"
        assert by_reason["Warned"]["type"] == "Warning"
        assert "the cause" in by_reason["Caught"]["message"]
        assert by_reason["Elsewhere"]["involvedObject"]["kind"] == "ConfigMap"
        named = by_reason["Named"]
        assert named["metadata"]["name"].startswith("conformance-")
        assert named["reportingComponent"] == "conformance"
        one = cluster.get("samples", "one") or {}
        assert named["involvedObject"]["uid"] == one["metadata"]["uid"]
        messages = {event["message"] for event in listed["items"]}
        assert "a warning that was logged" in messages
        assert not any("below the level" in message for message in messages)

        cluster.apply(
            {"apiVersion": "conformance.example.com/v1", "kind": "Zone", "metadata": {"name": "far-away"}}
        )
        # kopf posts what is about cluster-scoped objects in the namespace of its kubeconfig's context.
        cluster.wait(
            "events",
            "",
            lambda events: any(event["involvedObject"]["name"] == "far-away" for event in events["items"]),
        )
