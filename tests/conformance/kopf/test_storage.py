"""Where progress and the last handled state are kept is the operator's choice."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from slipway.cluster.environment.test_cluster import TestCluster

Object = dict[str, Any]


def in_annotations(obj: Object, key: str) -> Any:
    text = obj["metadata"].get("annotations", {}).get(f"conformance.example.com/{key}")
    return json.loads(text) if text else None


def in_status(obj: Object, *path: str) -> Any:
    value: Any = obj.get("status") or {}
    for part in ("own", *path):
        value = (value or {}).get(part)
    return json.loads(value) if isinstance(value, str) else value


@pytest.mark.parametrize("storage", ["annotations", "status", "smart", "multi"])
def test_progress_and_last_state_are_kept_where_the_operator_says(
    cluster: TestCluster, run: Any, samples: Callable[..., Any], storage: str
) -> None:
    annotated, in_the_status = storage != "status", storage in {"status", "multi"}
    with run("storage", STORAGE=storage) as operator:
        samples("one", {"size": 1})
        held = cluster.wait(
            "samples",
            "one",
            lambda obj: (
                in_annotations(obj, "handler") if annotated else in_status(obj, "progress", "handler")
            ),
        )
        assert held["metadata"]["finalizers"] == ["conformance.example.com/held"]
        if annotated:
            assert in_annotations(held, "handler")["message"] == "later"
        if in_the_status:
            assert in_status(held, "progress", "handler")["retries"] == 1
        done = cluster.wait(
            "samples",
            "one",
            lambda obj: (
                (in_annotations(obj, "last") or not annotated)
                and (in_status(obj, "last") or not in_the_status)
            ),
        )
        if annotated:
            assert in_annotations(done, "last")["spec"] == {"size": 1}
            assert in_annotations(done, "handler") is None
        if in_the_status:
            assert in_status(done, "last")["spec"] == {"size": 1}
            assert not in_status(done, "progress", "handler")
        assert "kopf.zalando.org/last-handled-configuration" not in done["metadata"].get("annotations", {})
        cluster.patch("samples", "one", {"spec": {"size": 2}})
        assert operator.wait("updated", new=2)["old"] == 1
        cluster.delete("samples", "one")
        operator.wait("deleted")
        cluster.wait_gone("samples", "one")
