"""What handlers write on their object arrives whole, beside what others write there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from slipway.cluster.environment.test_cluster import TestCluster

LAST_HANDLED = "kopf.zalando.org/last-handled-configuration"


def annotations(obj: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = obj["metadata"].get("annotations", {})
    return found


@pytest.mark.parametrize(("kind", "plural"), [("Sample", "samples"), ("PlainSample", "plainsamples")])
def test_merge_patches_and_transformations_are_both_applied(
    cluster: TestCluster, run: Any, samples: Callable[..., Any], kind: str, plural: str
) -> None:
    with run("patches") as operator:
        spec = {"items": ["given"], "obsolete": 1}
        cluster.apply(
            {
                "apiVersion": "conformance.example.com/v1",
                "kind": kind,
                "metadata": {"name": "one"},
                "spec": spec,
            }
        )
        done = cluster.wait(
            plural,
            "one",
            lambda obj: obj.get("status", {}).get("conditions") and LAST_HANDLED in annotations(obj),
        )
        assert done["spec"] == {"items": ["given", "appended"], "greeting": "hello"}
        assert done["metadata"]["labels"] == {"merged": "yes", "set": "yes"}
        assert done["metadata"]["annotations"]["merged"] == "yes"
        assert done["status"]["phase"] == "Made"
        assert done["status"]["nested"] == {"deep": {"er": 1}}
        assert done["status"]["conditions"] == [{"type": "Ready", "status": "True"}]
        assert "conformance.example.com/cleanup" in done["metadata"]["finalizers"]
        cluster.delete(plural, "one")
        cluster.wait_gone(plural, "one")
        assert "conformance.example.com/cleanup" in operator.wait("released")["finalizers"]


def test_transformations_meet_concurrent_writers_and_lose_nothing(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    def disturb() -> None:
        for number in range(60):
            cluster.patch("samples", f"s{number % 3}", {"metadata": {"annotations": {f"n{number}": "x"}}})

    for number in range(3):
        samples(f"s{number}", {"items": ["given"]})
    with run("patches"):
        other = threading.Thread(target=disturb)
        other.start()
        for number in range(3):
            done = cluster.wait("samples", f"s{number}", lambda obj: "appended" in obj["spec"]["items"])
            assert done["spec"]["items"] == ["given", "appended"]
        other.join()
        for number in range(3):
            found = cluster.get("samples", f"s{number}") or {}
            wanted = {f"n{n}" for n in range(60) if n % 3 == number}
            assert wanted <= set(found["metadata"]["annotations"])
            cluster.delete("samples", f"s{number}")
        for number in range(3):
            cluster.wait_gone("samples", f"s{number}")


def test_a_pruning_schema_and_a_timer_that_patches(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    strict = {"apiVersion": "conformance.example.com/v1", "kind": "StrictSample", "metadata": {"name": "one"}}
    with run("patches"):
        cluster.apply({**strict, "spec": {"size": 4}})
        samples("counted", labels={"count": "yes"})
        done = cluster.wait(
            "strictsamples", "one", lambda obj: LAST_HANDLED in annotations(obj) and "status" in obj
        )
        assert done["status"] == {"size": 4}
        assert cluster.wait("samples", "counted", lambda obj: obj["spec"].get("counted") == 3)
        cluster.delete("samples", "counted")
        cluster.wait_gone("samples", "counted")
