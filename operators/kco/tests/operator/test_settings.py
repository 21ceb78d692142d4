"""Every setting changes what the operator does. A test's name holds its setting's."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kco.cli.run import run_loop
from kco.history.store import Entry
from kco.operator.process import CannotStart, Operator
from kco.settings import Settings
from operator_kit.clock import ManualClock
from operator_kit.kube.client import LEASES

TRIGGER = {"field": "application.health", "condition": "equals", "value": "unhealthy"}


def webhook(url: str, name: str = "tell", **more: Any) -> dict[str, Any]:
    parameters = {"url": url, "attempts": 1, "timeout": 290}
    return {"name": name, "trigger": TRIGGER, "action": "webhook", "parameters": parameters, **more}


async def finished(world: Any, namespace: str) -> list[dict[str, Any]]:
    return [run for run in await world.runs(namespace) if (run.get("status") or {}).get("finishedAt")]


async def answer(replica: Any, port: str, path: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{replica.operator.exposition.ports[port]}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as got:
        return got.status, await got.text()


def test_57_every_setting_has_a_test_of_its_effect() -> None:
    tests = [name for name in globals() if name.startswith("test_57_")]
    untested = {field for field in Settings.model_fields if not any(f"_{field}_" in name for name in tests)}
    assert not untested


# -- how it asks -----------------------------------------------------------------------------------------


def test_57_default_polling_interval_is_how_often_an_application_is_asked(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        namespace, app = await world.namespace(), await world.application()
        await world.make(namespace, graphqlEndpoint=app.url, pollingInterval=None)
        only = replica(world, namespace, default_polling_interval=7)
        await world.until(lambda: app.requests)
        before = app.requests
        await asyncio.sleep(70)
        assert app.requests - before == 10
        assert await only.stop() == 0

    in_virtual_time(main)


def test_57_graphql_timeout_and_the_retries_bound_one_poll(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        namespace, app = await world.namespace(), await world.application()
        app.fault = "hang"
        await world.make(namespace, graphqlEndpoint=app.url, pollingInterval=60, failureThreshold=1)
        only = replica(world, namespace, graphql_timeout=2, graphql_max_retries=0)
        await world.until(lambda: app.requests)
        begun = asyncio.get_running_loop().time()
        (told,) = await world.until(lambda: world.events(namespace, "EndpointDown"), 10)
        assert asyncio.get_running_loop().time() - begun < 4
        assert "2 s" in told["message"]
        assert await only.stop() == 0

    in_virtual_time(main)


@pytest.mark.parametrize("retries", [0, 2])
def test_57_graphql_max_retries_is_how_often_a_poll_is_repeated(
    in_virtual_time, replica, retries: int
) -> None:
    async def main(world: Any) -> None:
        namespace, app = await world.namespace(), await world.application()
        app.fault = "status:500"
        await world.make(namespace, graphqlEndpoint=app.url, pollingInterval=600)
        only = replica(world, namespace, graphql_max_retries=retries)
        await world.until(lambda: app.requests, 700)
        await asyncio.sleep(300)
        assert app.requests == 1 + retries
        assert await only.stop() == 0

    in_virtual_time(main)


def test_57_rate_limit_requests_bounds_one_instance(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        namespace, app = await world.namespace(), await world.application()
        await world.make(namespace, graphqlEndpoint=app.url, pollingInterval=1)
        only = replica(world, namespace, rate_limit_requests=6)
        await world.until(lambda: app.requests)
        await asyncio.sleep(600)
        assert 60 <= app.requests <= 66
        assert await only.stop() == 0

    in_virtual_time(main)


@pytest.mark.parametrize(("burst", "most"), [(1, 61), (100, 160)])
def test_57_global_rate_limit_bounds_all_instances(in_virtual_time, replica, burst: int, most: int) -> None:
    async def main(world: Any) -> None:
        namespace, app = await world.namespace(), await world.application()
        for name in ("a", "b", "c", "d"):
            await world.make(namespace, name, graphqlEndpoint=app.url, pollingInterval=1)
        only = replica(world, namespace, global_rate_limit=6, global_rate_burst=burst)
        await world.until(lambda: app.requests)
        await asyncio.sleep(600)
        assert most - 5 <= app.requests <= most
        assert await only.stop() == 0

    in_virtual_time(main)


def test_57_global_rate_burst_may_be_sent_at_once(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        namespace, app = await world.namespace(), await world.application()
        for number in range(10):
            await world.make(namespace, f"a{number}", graphqlEndpoint=app.url, pollingInterval=5)
        only = replica(world, namespace, global_rate_limit=1, global_rate_burst=7)
        await world.until(lambda: app.requests)
        await asyncio.sleep(30)
        assert app.requests in (7, 8)
        assert await only.stop() == 0

    in_virtual_time(main)


def test_57_refused_networks_are_not_connected_to_and_allowed_networks_are(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        namespace, app = await world.namespace(), await world.application()
        await world.make(namespace, graphqlEndpoint=app.url, failureThreshold=1)
        only = replica(world, namespace, allowed_networks=(), refused_networks=("127.0.0.0/8",))
        told = await world.until(lambda: world.events(namespace, "EndpointDown"))
        assert "127.0.0.1" in told[0]["message"]
        assert app.requests == 0
        assert await only.stop() == 0

    in_virtual_time(main)


def test_57_allowed_networks_win_over_refused_ones(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        namespace, app = await world.namespace(), await world.application()
        await world.make(namespace, graphqlEndpoint=app.url)
        given = {"allowed_networks": ("127.0.0.1/32",), "refused_networks": ("127.0.0.0/8",)}
        only = replica(world, namespace, **given)
        await world.until(lambda: app.requests)
        assert await only.stop() == 0

    in_virtual_time(main)


# -- what it does ----------------------------------------------------------------------------------------


def test_57_action_execution_timeout_ends_an_attempt(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        namespace, app, hook = await world.namespace(), await world.application(), await world.application()
        hook.fault = "hang"
        rule = webhook(hook.url, retry={"attempts": 1})
        await world.make(namespace, graphqlEndpoint=app.url, actions=[rule])
        app.turn(application={"health": "unhealthy"})
        only = replica(world, namespace, action_execution_timeout=40)
        (run,) = await world.until(lambda: finished(world, namespace), 60)
        assert (run["status"]["phase"], run["status"]["message"]) == ("TimedOut", "not finished within 40 s")
        assert await only.stop() == 0

    in_virtual_time(main)


@pytest.mark.parametrize(("concurrency", "seconds"), [(1, 30), (3, 10)])
def test_57_action_concurrency_is_how_many_run_at_once(
    in_virtual_time, replica, concurrency: int, seconds: int
) -> None:
    async def main(world: Any) -> None:
        namespace, app, hook = await world.namespace(), await world.application(), await world.application()
        hook.fault, hook.delay = "slow", 10.0
        app.turn(application={"health": "unhealthy"})
        for name in ("a", "b", "c"):
            await world.make(namespace, name, graphqlEndpoint=app.url, actions=[webhook(hook.url)])
        only = replica(world, namespace, action_concurrency=concurrency)
        await world.until(lambda: hook.requests)
        begun = asyncio.get_running_loop().time()

        async def all_done() -> bool:
            return len(await finished(world, namespace)) == 3

        await world.until(all_done)
        took = asyncio.get_running_loop().time() - begun
        assert seconds - 2 <= took <= seconds + 7
        assert await only.stop() == 0

    in_virtual_time(main)


def test_57_enabled_actions_are_the_only_ones(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        namespace, app = await world.namespace(), await world.application()
        await world.make(namespace, graphqlEndpoint=app.url, actions=[webhook("http://192.0.2.1/")])
        only = replica(world, namespace, enabled_actions=("scale_deployment",))
        (told,) = await world.until(lambda: world.events(namespace, "InvalidAction"))
        assert "switched off" in told["message"]
        assert app.requests == 0
        assert await only.stop() == 0

    in_virtual_time(main)


def test_57_patchable_kinds_are_the_only_ones(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        namespace, app = await world.namespace(), await world.application()
        parameters = {"resourceType": "configmap", "resourceName": "x", "patchData": {"data": {"a": "b"}}}
        rule = {"name": "p", "trigger": TRIGGER, "action": "patch_resource", "parameters": parameters}
        await world.make(namespace, graphqlEndpoint=app.url, actions=[rule])
        app.turn(application={"health": "unhealthy"})
        only = replica(world, namespace, patchable_kinds=("pods",))
        (run,) = await world.until(lambda: finished(world, namespace))
        assert run["status"]["phase"] == "Failed"
        assert "configmaps" in run["status"]["message"]
        assert await only.stop() == 0

    in_virtual_time(main)


def test_57_run_history_and_the_newest_runs_are_kept(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        namespace, app, hook = await world.namespace(), await world.application(), await world.application()
        await world.make(namespace, graphqlEndpoint=app.url, actions=[webhook(hook.url)])
        only = replica(world, namespace, run_history=2)
        for health in ("unhealthy", "healthy") * 5:
            app.turn(application={"health": health})
            await asyncio.sleep(15)
        assert hook.requests == 5
        assert sorted(run["spec"]["transition"] for run in await world.runs(namespace)) == [4, 5]
        assert await only.stop() == 0

    in_virtual_time(main)


def test_57_run_history_days_is_how_long_a_run_is_kept(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        namespace, app, hook = await world.namespace(), await world.application(), await world.application()
        spec = {"graphqlEndpoint": app.url, "pollingInterval": 60, "actions": [webhook(hook.url)]}
        await world.make(namespace, **spec)
        only = replica(world, namespace, run_history_days=0.02, lease_duration=300)
        for _ in range(3):
            app.turn(application={"health": "unhealthy"})
            await asyncio.sleep(1200)
            app.turn(application={"health": "healthy"})
            await asyncio.sleep(1200)
        assert hook.requests == 3
        assert [run["spec"]["transition"] for run in await world.runs(namespace)] == [3]
        assert await only.stop() == 0

    in_virtual_time(main)


@pytest.mark.parametrize(("grace", "phase"), [(1, "Unknown"), (60, "Succeeded")])
def test_57_shutdown_grace_lets_a_running_action_finish(
    in_virtual_time, replica, grace: int, phase: str
) -> None:
    async def main(world: Any) -> None:
        namespace, app, hook = await world.namespace(), await world.application(), await world.application()
        hook.fault, hook.delay = "slow", 30.0
        app.turn(application={"health": "unhealthy"})
        await world.make(namespace, graphqlEndpoint=app.url, actions=[webhook(hook.url)])
        only = replica(world, namespace, shutdown_grace=grace)
        await world.until(lambda: hook.requests)
        assert await only.stop() == 0
        (run,) = await world.runs(namespace)
        assert run["status"]["phase"] == phase

    in_virtual_time(main)


# -- whose work it is ------------------------------------------------------------------------------------


def test_57_namespace_is_the_only_one_that_is_watched(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        ours, other = await world.namespace(), await world.namespace()
        app, foreign = await world.application(), await world.application()
        await world.make(ours, graphqlEndpoint=app.url)
        await world.make(other, graphqlEndpoint=foreign.url)
        only = replica(world, ours)
        await world.until(lambda: app.requests > 3)
        assert foreign.requests == 0
        assert await only.stop() == 0
        everywhere = replica(world, "", operator_namespace=ours)
        await world.until(lambda: foreign.requests)
        assert await everywhere.stop() == 0

    in_virtual_time(main)


def test_57_operator_namespace_and_identity_are_those_of_the_lease(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        watched, home = await world.namespace(), await world.namespace()
        given = {"operator_namespace": home, "identity": "first", "lease_duration": 33}
        only = replica(world, watched, **given)
        await world.until(only.operator.started.is_set)
        (lease,) = (await world.client.list(LEASES, home))["items"]
        assert lease["spec"]["holderIdentity"] == "first"
        assert lease["spec"]["leaseDurationSeconds"] == 33
        assert not (await world.client.list(LEASES, watched))["items"]
        assert await only.stop() == 0

    in_virtual_time(main)


@pytest.mark.parametrize("duration", [6, 30])
def test_57_lease_duration_is_how_long_a_dead_leader_is_waited_for(
    in_virtual_time, replica, duration: int
) -> None:
    async def main(world: Any) -> None:
        namespace = await world.namespace()
        first = replica(world, namespace, lease_duration=duration)
        await world.until(first.operator.started.is_set)
        first.kill()
        begun = asyncio.get_running_loop().time()
        second = replica(world, namespace, lease_duration=duration)
        await world.until(lambda: second.operator.controller.acting)
        took = asyncio.get_running_loop().time() - begun
        assert duration * 0.6 <= took <= duration * 1.3 + 1
        assert await second.stop() == 0

    in_virtual_time(main)


def test_57_leader_election_switched_off_needs_no_lease(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        namespace = await world.namespace()
        only = replica(world, namespace, leader_election=False)
        await world.until(lambda: only.operator.controller.acting)
        assert not (await world.client.list(LEASES, namespace))["items"]
        assert await only.stop() == 0

    in_virtual_time(main)


@pytest.mark.parametrize("sharing", ["leader", "shares"])
def test_57_sharing_divides_the_targets_or_gives_all_to_one(in_virtual_time, replica, sharing: str) -> None:
    async def main(world: Any) -> None:
        namespace, app = await world.namespace(), await world.application()
        for number in range(12):
            await world.make(namespace, f"a{number}", graphqlEndpoint=app.url)
        both = [replica(world, namespace, sharing=sharing, identity=name) for name in ("one", "two")]
        await asyncio.sleep(40)
        held = sorted(len(one.operator.controller.targets) for one in both)
        assert held == [0, 12] if sharing == "leader" else held[0] > 0 and sum(held) == 12
        for one in both:
            assert await one.stop() == 0

    in_virtual_time(main)


# -- what it shows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("enabled", [True, False])
def test_57_metrics_enabled_serves_them(in_virtual_time, replica, enabled: bool) -> None:
    async def main(world: Any) -> None:
        only = replica(world, await world.namespace(), metrics_enabled=enabled)
        await world.until(only.operator.started.is_set)
        assert ("METRICS_PORT" in only.operator.exposition.ports) is enabled
        assert await only.stop() == 0

    in_virtual_time(main)


@pytest.mark.parametrize("labelled", [True, False])
def test_57_metrics_per_target_labels_them(in_virtual_time, replica, labelled: bool) -> None:
    async def main(world: Any) -> None:
        namespace, app = await world.namespace(), await world.application()
        await world.make(namespace, graphqlEndpoint=app.url)
        only = replica(world, namespace, metrics_per_target=labelled)
        await world.until(lambda: app.requests > 1)
        status, text = await answer(only, "METRICS_PORT", "/metrics")
        assert status == 200
        name = f'namespace="{namespace}",' if labelled else ""
        assert f"operator_kco_tapp_polls_total{{{name}" in text
        assert ('tapp_name="app"' in text) is labelled
        assert await only.stop() == 0

    in_virtual_time(main)


@pytest.mark.parametrize("setting", ["metrics_port", "health_port"])
def test_57_metrics_port_and_health_port_are_where_it_listens(in_virtual_time, replica, setting: str) -> None:
    async def main(world: Any) -> None:
        app = await world.application()
        taken = replica(world, await world.namespace(), **{setting: app.port})
        with pytest.raises(CannotStart, match=f"{setting.upper()}={app.port}: cannot listen"):
            await taken.task

    in_virtual_time(main)


@pytest.mark.parametrize(("seconds", "status"), [(5, 503), (100, 200)])
def test_57_stall_seconds_is_how_long_the_scheduler_may_stand_still(
    in_virtual_time, replica, seconds: int, status: int
) -> None:
    async def main(world: Any) -> None:
        only = replica(world, await world.namespace(), stall_seconds=seconds)
        await world.until(only.operator.started.is_set)
        assert (await answer(only, "HEALTH_PORT", "/healthz"))[0] == 200
        await only.operator.services.engine.stop()
        await asyncio.sleep(30)
        assert (await answer(only, "HEALTH_PORT", "/healthz"))[0] == status
        assert await only.stop() == 0

    in_virtual_time(main)


# -- what it remembers -----------------------------------------------------------------------------------


async def test_57_history_days_is_how_long_states_are_kept(admin: Any, tmp_path: Path) -> None:
    now, day = 1_800_000_000.0, 86_400.0
    settings = Settings(history_url=f"sqlite:///{tmp_path / 'history.db'}", history_days=2)
    operator = Operator(settings, admin, clock=ManualClock(now))
    history = operator.services.history
    assert history is not None
    await history.open()
    for age in (3, 1):
        history.add(Entry(now - age * day, "n", "app", "uid", "", "state", {"age": age}))
    await history.flush()
    assert [row.body["age"] async for row in history.read(namespace="n", target="app")] == [1]
    await history.close()


@pytest.mark.parametrize("recorded", [True, False])
async def test_57_history_url_is_where_states_are_recorded(
    bed: Any, app: Any, until: Any, tmp_path: Path, recorded: bool
) -> None:
    path = tmp_path / "history.db"
    operator = await bed.start(history_url=f"sqlite:///{path}" if recorded else "")
    await bed.make(graphqlEndpoint=app.url)
    await until(lambda: app.requests > 1)
    if recorded:
        await until(lambda: operator.services.history.written)
    assert path.exists() is recorded


# -- the process itself ----------------------------------------------------------------------------------


def test_57_use_uvloop_chooses_the_loop() -> None:
    async def main() -> int:
        return int(type(asyncio.get_running_loop()).__module__.startswith("uvloop"))

    pytest.importorskip("uvloop")
    assert run_loop(main, uvloop=True) == 1
    assert run_loop(main, uvloop=False) == 0


@pytest.mark.timeout(300)
async def test_57_log_level_and_log_format_shape_the_output(
    client: Any, control_plane: Any, tmp_path: Path
) -> None:
    given = {"KCO_LOG_FORMAT": "plain", "KCO_LOG_LEVEL": "info"}
    plain = await asyncio.to_thread(_output, control_plane, tmp_path, **given)
    assert " INFO kco.operator.process: started" in plain


@pytest.mark.timeout(300)
async def test_57_log_level_error_is_silent_about_all_else(
    client: Any, control_plane: Any, tmp_path: Path
) -> None:
    assert await asyncio.to_thread(_output, control_plane, tmp_path, KCO_LOG_LEVEL="error") == ""


@pytest.mark.timeout(300)
async def test_57_log_format_json_is_the_default(client: Any, control_plane: Any, tmp_path: Path) -> None:
    lines = (await asyncio.to_thread(_output, control_plane, tmp_path)).splitlines()
    assert {"started", "acting", "stopped"} <= {json.loads(line).get("action") for line in lines}


def _output(control_plane: Any, folder: Path, **environment: str) -> str:
    """What a process of its own prints until it is ready and is stopped."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    given = {"KCO_METRICS_PORT": "0", "KCO_HEALTH_PORT": str(port), "KCO_LEADER_ELECTION": "false"}
    kubeconfig = control_plane.write_kubeconfig(folder / "kubeconfig")
    command = [sys.executable, "-m", "kco", "run", "--kubeconfig", str(kubeconfig), "--namespace", "default"]
    with (folder / "output").open("w+") as output:
        process = subprocess.Popen(
            command, env={**os.environ, **given, **environment}, stdout=output, stderr=output
        )
        try:
            end = time.monotonic() + 120
            while not _ready(port):
                assert process.poll() is None, (folder / "output").read_text()
                assert time.monotonic() < end, (folder / "output").read_text()
                time.sleep(0.1)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)
    return (folder / "output").read_text()


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as got:
            return bool(got.status == 200)
    except OSError:
        return False
