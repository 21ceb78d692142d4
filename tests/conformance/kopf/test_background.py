"""Timers and daemons live beside an object, and leave with it, with their label, or with the operator."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from slipway.cluster.environment.test_cluster import TestCluster


def test_timers_keep_their_intervals_and_write_to_status(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("background") as operator:
        samples("one", annotations={"case": "timers"})
        operator.wait("interval", ticks=4)
        assert cluster.wait("samples", "one", lambda obj: obj.get("status", {}).get("ticks", 0) >= 4)
        operator.wait("delayed")
        cluster.wait("samples", "one", lambda obj: obj["status"].get("delayed") == {"ran": True})
        operator.wait("sharp", count=8)
        starts = [note["at"] for note in operator.notes("sharp")]
        # An interval of 0.4 s from start to start; were it not sharp, the work of 0.25 s would come on top of each.
        # A busy machine starts some late, never all of them.
        assert min(later - earlier for earlier, later in pairwise(starts)) < 0.6
        assert operator.notes("delayed") == [operator.wait("delayed")]


def test_an_idle_timer_waits_until_nothing_has_changed_for_a_while(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("background") as operator:
        changed = {0: time.monotonic()}
        samples("one", {"size": 0}, annotations={"case": "idle"})
        for size in range(1, 6):
            changed[size] = time.monotonic()
            cluster.patch("samples", "one", {"spec": {"size": size}})
            time.sleep(0.2)
        operator.wait("idle", size=5)
        assert all(note["at"] - changed[note["size"]] >= 0.75 for note in operator.notes("idle"))


def test_a_failing_timer_stops_after_its_retries(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("background") as operator:
        samples("one", annotations={"case": "failing"})
        operator.wait_log("will stop now (it would exceed 2 retries")
        assert [note["retry"] for note in operator.notes("failing timer")] == [0, 1]


def test_daemons_see_changes_restart_and_end_when_the_object_is_deleted(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("background") as operator:
        samples("one", {"size": 1}, annotations={"case": "daemons"})
        operator.wait("thread sees", size=1)
        cluster.patch("samples", "one", {"spec": {"size": 2}})
        operator.wait("thread sees", size=2)
        operator.wait("restarting", retry=2)
        operator.wait("task begins")
        assert (cluster.get("samples", "one") or {})["metadata"]["finalizers"]
        cluster.delete("samples", "one")
        cluster.wait_gone("samples", "one")
        assert "DELETED" in operator.wait("thread ends")["reason"]
        assert operator.wait("task cancelled")["stopped"]
        assert len(operator.notes("restarting")) == 3


def test_daemons_end_with_the_operator_and_begin_again_with_the_next_one(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("background") as first:
        samples("one", annotations={"case": "daemons"})
        first.wait("thread begins")
        first.wait("task begins")
        first.stop()
        assert "EXITING" in first.wait("thread ends")["reason"]
        first.wait("task cancelled")
    with run("background") as second:
        second.wait("thread begins")


def test_a_daemon_leaves_when_the_object_no_longer_matches_and_returns_when_it_does(
    cluster: TestCluster, run: Any, samples: Callable[..., Any]
) -> None:
    with run("background") as operator:
        samples("one", labels={"watched": "yes"})
        operator.wait("labelled begins")
        cluster.patch("samples", "one", {"metadata": {"labels": {"watched": "no"}}})
        assert "FILTERS_MISMATCH" in operator.wait("labelled ends")["reason"]
        cluster.wait("samples", "one", lambda obj: not obj["metadata"].get("finalizers"))
        cluster.patch("samples", "one", {"metadata": {"labels": {"watched": "yes"}}})
        operator.wait("labelled begins", count=2)
