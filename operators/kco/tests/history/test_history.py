"""Recorded states in SQLite and in a real PostgreSQL: what goes in comes out, is bounded, and can be replayed."""

import asyncio
import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kco.cli.main import main
from kco.history.store import Entry, History, HistoryError, asynchronous_url
from operator_kit.clock import ManualClock, SystemClock

MANIFEST = """
apiVersion: operator.kco.local/v1alpha1
kind: TargetApp
metadata: {{name: app, namespace: {namespace}}}
spec:
  graphqlEndpoint: http://a/graphql
  stateQuery: "{{ application {{ health }} }}"
  pollingInterval: 10
  actions:
    - name: restart
      trigger: {{field: application.health, condition: equals, value: unhealthy}}
      for: 60s
      action: webhook
      parameters: {{url: "http://a/"}}
"""


def postgresql_programs() -> Path | None:
    found = shutil.which("initdb")
    if found:
        return Path(found).parent
    return next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL of the test's own: private folder, free port, own user."""
    programs = postgresql_programs()
    if programs is None:
        pytest.skip("PostgreSQL is missing: apt-get install postgresql")
    folder = tmp_path_factory.mktemp("pg")
    before: dict[str, Any] = {}
    if os.geteuid() == 0:
        # PostgreSQL refuses to run as root.
        try:
            user = pwd.getpwnam("postgres")
        except KeyError:
            pytest.skip("running as root without a user postgres: apt-get install postgresql")
        before = {"user": user.pw_uid, "group": user.pw_gid}
        for place in (folder, *folder.parents):
            if str(place) != "/" and "pytest" in str(place):
                place.chmod(0o755)
        os.chown(folder, user.pw_uid, user.pw_gid)
    data = folder / "data"
    quiet: dict[str, Any] = {"check": True, "capture_output": True, "cwd": "/", **before}
    subprocess.run([programs / "initdb", "-D", data, "-U", "kco", "-A", "trust", "--no-sync"], **quiet)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    subprocess.run(
        [programs / "pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start"], **quiet
    )
    yield f"postgresql://kco@127.0.0.1:{port}/postgres"
    subprocess.run([programs / "pg_ctl", "-D", data, "-m", "immediate", "stop"], **{**quiet, "check": False})


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/history.db"
    return str(request.getfixturevalue("postgresql"))


def state(at: float, health: str, namespace: str) -> Entry:
    return Entry(at, namespace, "app", "uid", "", "state", {"application": {"health": health}})


async def write(url: str, entries: list[Entry]) -> None:
    history = History(url, clock=SystemClock(), retention=1e12)
    await history.open()
    for entry in entries:
        history.add(entry)
    await history.flush()
    await history.close()


async def rows(url: str, namespace: str, **more: Any) -> list[Entry]:
    history = History(url, clock=SystemClock(), retention=1e12)
    await history.open(writing=False)
    found = [row async for row in history.read(namespace=namespace, target="app", **more)]
    await history.close()
    return found


async def test_63_what_is_recorded_is_read_back_in_order(url: str, request: pytest.FixtureRequest) -> None:
    namespace = f"order-{request.node.callspec.id}"
    await write(url, [state(3, "c", namespace), state(1, "a", namespace), state(2, "b", namespace)])
    found = await rows(url, namespace)
    assert [row.body["application"]["health"] for row in found] == ["a", "b", "c"]
    assert [row.at for row in await rows(url, namespace, since=2, until=3)] == [2]


async def test_64_history_is_bounded_by_its_retention(url: str) -> None:
    clock = ManualClock(1000.0)
    history = History(url, clock=clock, retention=100.0)
    await history.open()
    for at in (850, 950, 990):
        history.add(state(at, "x", "bounded"))
    await history.flush()
    await history.prune()
    await history.close()
    assert [row.at for row in await rows(url, "bounded")] == [950, 990]


def test_63_replay_says_what_the_rules_would_have_done(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    namespace = f"replay-{request.node.callspec.id}"
    manifest = tmp_path / "app.yaml"
    manifest.write_text(MANIFEST.format(namespace=namespace))
    start = 1_700_000_000.0
    script = [(0, "healthy"), (100, "unhealthy"), (130, "healthy"), (200, "unhealthy"), (400, "healthy")]
    asyncio.run(write(url, [state(start + at, health, namespace) for at, health in script]))
    assert main(["replay", str(manifest), "--url", url]) == 0
    said = capsys.readouterr().out
    assert "2023-11-14T22:17:40Z restart fired (webhook)" in said
    assert "5 states" in said
    assert "1 action would have run" in said
    assert main(["history", "app", "-n", namespace, "--url", url]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


async def test_63_the_operator_records_states_and_decisions_with_redaction(
    bed, app, until, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/kco.db"
    operator = await bed.start(history_url=url)
    trigger = {"field": "application.health", "condition": "equals", "value": "unhealthy"}
    rule = {
        "name": "tell",
        "trigger": trigger,
        "action": "webhook",
        "parameters": {"url": "http://127.0.0.1:9/"},
    }
    await bed.make(graphqlEndpoint=app.url, actions=[rule], events={"redact": ["application.status"]})
    await until(lambda: app.requests)
    app.turn(application={"health": "unhealthy"})
    await until(lambda: operator.services.history.written >= 3)
    await bed.stop()
    found = await rows(url, bed.namespace)
    assert [row.kind for row in found] == ["state", "state", "decision"]
    assert found[0].body["application"]["status"] == "[redacted]"
    assert found[1].body["application"]["health"] == "unhealthy"
    assert found[2].rule == "tell"


async def test_60_an_unusable_database_is_told_without_its_password() -> None:
    history = History("postgresql://kco:hunter2@127.0.0.1:9/none", clock=SystemClock(), retention=1)
    with pytest.raises(HistoryError) as failure:
        await history.open()
    assert "hunter2" not in str(failure.value)
    assert "127.0.0.1:9" in str(failure.value)


def test_57_database_urls_get_their_asynchronous_driver() -> None:
    assert asynchronous_url("sqlite:///a.db") == "sqlite+aiosqlite:///a.db"
    assert asynchronous_url("postgres://u@h/d") == "postgresql+asyncpg://u@h/d"
    assert asynchronous_url("postgresql+asyncpg://h/d") == "postgresql+asyncpg://h/d"
