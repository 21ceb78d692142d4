"""Recorded states in SQLite and in a real PostgreSQL: what goes in comes out, is bounded, and can be replayed."""

import asyncio
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


def test_63_replay_sees_a_state_however_short_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"sqlite:///{tmp_path}/short.db"
    manifest = tmp_path / "app.yaml"
    manifest.write_text(MANIFEST.format(namespace="short").replace("for: 60s", "for: 0s"))
    script = [(0, "healthy"), (101, "unhealthy"), (102, "healthy"), (103.5, "unhealthy"), (104, "healthy")]
    asyncio.run(write(url, [state(1_700_000_000.0 + at, health, "short") for at, health in script]))
    assert main(["replay", str(manifest), "--url", url]) == 0
    assert "2 actions would have run" in capsys.readouterr().out


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
