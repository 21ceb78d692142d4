"""kopf inside another program: KopfRunner, operators in threads with registries and loops of their own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kopf
import pytest
import uvloop
from kopf.testing import KopfRunner

from slipway.cluster.environment.test_cluster import TestCluster

OPERATORS = Path(__file__).parent / "operators"


@pytest.fixture(autouse=True)
def selected(
    cluster: TestCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # An operator that ran in this process before, in a test of its own, may have made kopf quiet.
    caplog.set_level(logging.NOTSET, "kopf")
    monkeypatch.setenv("KUBECONFIG", str(cluster.kubeconfig))
    monkeypatch.setenv("JOURNAL", str(tmp_path / "journal"))


def entering() -> kopf.OperatorRegistry:
    """A registry that knows how to log in: one of one's own knows nothing."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return kopf.login_with_kubeconfig(**kwargs)

    return registry


def test_kopf_runner_runs_an_operator_beside_a_test(
    cluster: TestCluster, samples: Callable[..., Any]
) -> None:
    settings = kopf.OperatorSettings()
    settings.persistence.finalizer = "conformance.example.com/by-settings"
    words = ["run", "--standalone", "-n", cluster.namespace, "--verbose", str(OPERATORS / "changes.py")]
    with KopfRunner(words, settings=settings, registry=entering(), timeout=20) as runner:
        samples("one", {"size": 3}, annotations={"case": "delete"})
        done = cluster.wait("samples", "one", lambda obj: "created" in obj.get("status", {}))
        assert done["metadata"]["finalizers"] == ["conformance.example.com/by-settings"]
        cluster.delete("samples", "one")
        cluster.wait_gone("samples", "one")
    assert runner.exit_code == 0
    assert runner.exception is None
    assert "Handler 'created' succeeded" in runner.output
    assert "Deletion is processed" in runner.output


def registry_of(name: str) -> kopf.OperatorRegistry:
    registry = entering()

    @kopf.on.create("samples", registry=registry, id=name)
    async def created(patch: kopf.Patch, **_: Any) -> None:
        patch.status[name] = "seen"

    @kopf.on.startup(registry=registry)
    async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=f"{name}.example.com")
        settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=f"{name}.example.com")

    return registry


def test_two_operators_in_two_threads_and_loops_do_not_disturb_each_other(
    cluster: TestCluster, samples: Callable[..., Any]
) -> None:
    stops, threads = [], []
    for name, factory in (("first", asyncio.new_event_loop), ("second", uvloop.new_event_loop)):
        stop, ready = threading.Event(), threading.Event()
        options = {"registry": registry_of(name), "stop_flag": stop, "ready_flag": ready, "standalone": True}

        def work(factory: Any = factory, options: Any = options) -> None:
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(kopf.operator(namespaces=[cluster.namespace], **options))

        thread = threading.Thread(target=work)
        thread.start()
        assert ready.wait(20)
        stops.append(stop)
        threads.append(thread)
    samples("one")
    done = cluster.wait("samples", "one", lambda obj: {"first", "second"} <= obj.get("status", {}).keys())
    assert (done["status"]["first"], done["status"]["second"]) == ("seen", "seen")
    for stop in stops:
        stop.set()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


def test_tasks_can_be_spawned_and_run_by_hand(cluster: TestCluster, samples: Callable[..., Any]) -> None:
    stop = threading.Event()

    async def operate() -> None:
        tasks = await kopf.spawn_tasks(
            registry=registry_of("byhand"), namespaces=[cluster.namespace], standalone=True, stop_flag=stop
        )
        await kopf.run_tasks(tasks)

    thread = threading.Thread(target=lambda: asyncio.run(operate()))
    thread.start()
    samples("one")
    cluster.wait("samples", "one", lambda obj: obj.get("status", {}).get("byhand") == "seen")
    stop.set()
    thread.join(20)
    assert not thread.is_alive()
