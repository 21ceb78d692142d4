"""Operators that know of each other: the one with the lower priority pauses until the other has left."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from slipway.cluster.environment.test_cluster import TestCluster

PEERINGS = Path(__file__).parent / "peerings.yaml"


def kopf(cluster: TestCluster, *words: str) -> None:
    """kopf's own command beside the operators."""
    command = [sys.executable, "-m", "kopf", *words]
    subprocess.run(command, env=cluster.environment(), check=True, capture_output=True, timeout=30)


def peering(cluster: TestCluster, kind: str) -> None:
    cluster.apply(PEERINGS)
    cluster.apply({"apiVersion": "kopf.dev/v1", "kind": kind, "metadata": {"name": "example"}})


def test_the_lower_priority_pauses_while_the_higher_one_is_there(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    peering(cluster, "KopfPeering")
    scope = ("-n", cluster.namespace, "--peering", "example")
    with run("peering", *scope, "--priority", "1", WHO="low") as low:
        samples("first", labels={"daemon": "yes"})
        low.wait("created", name="first")
        low.wait("daemon begins")
        with run("peering", *scope, "--dev", WHO="high") as high:
            low.wait_log("Pausing operations in favour of")
            assert "PAUSING" in low.wait("daemon ends")["reason"]
            samples("second")
            done = cluster.wait("samples", "second", lambda obj: obj.get("status", {}).get("by"))
            assert done["status"]["by"] == "high"
            peers = (cluster.get("kopfpeerings", "example") or {})["status"]
            assert sorted(peer["priority"] for peer in peers.values()) == [1, 666]
            high.stop()
        low.wait_log("Resuming operations after the pause")
        samples("third")
        low.wait("created", name="third")
        assert low.notes("created", name="second") == []
        low.wait("daemon begins", count=2)


def test_operators_of_one_priority_freeze_each_other_across_the_cluster(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    peering(cluster, "ClusterKopfPeering")
    scope = ("-A", "--peering", "example")
    with run("peering", *scope, WHO="one") as one:
        samples("first")
        one.wait("created", name="first")
        with run("peering", *scope, WHO="other", STEALTH="1") as other:
            one.wait_log("Possibly conflicting operators with the same priority")
            other.wait_log("Possibly conflicting operators with the same priority")
            other.stop()
        one.wait_log("Resuming operations after the pause")
        samples("second")
        one.wait("created", name="second")


def test_kopf_freeze_and_resume_hold_an_operator(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    peering(cluster, "KopfPeering")
    scope = ["-n", cluster.namespace, "--peering", "example"]
    with run("peering", *scope, WHO="one") as operator:
        samples("first")
        operator.wait("created", name="first")
        kopf(
            cluster,
            "freeze",
            *scope,
            "--id",
            "by-hand",
            "--priority",
            "100",
            "--lifetime",
            "60",
            "-m",
            "deploying",
        )
        operator.wait_log("Pausing operations in favour of")
        status = (cluster.get("kopfpeerings", "example") or {})["status"]
        assert status["by-hand"]["priority"] == 100
        samples("second")
        kopf(cluster, "resume", *scope, "--id", "by-hand")
        operator.wait_log("Resuming operations after the pause")
        operator.wait("created", name="second")
        held = (cluster.get("samples", "second") or {})["metadata"]["annotations"]
        assert json.loads(held["kopf.zalando.org/last-handled-configuration"])
