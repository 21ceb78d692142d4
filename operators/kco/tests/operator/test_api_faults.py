"""The operator behind an API server that fails in every usual way: nothing lost, nothing twice."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from operator_kit.kube.config import ClusterConfig
from slipway.cluster import Cluster
from slipway.cluster.faults import Delay, Effect, EndWatch, Faults, Refuse

OPERATOR = "kco-operator"
ADMINISTRATORS = ("system:masters",)
NO_IDENTITY: dict[str, Any] = dict.fromkeys(("token", "token_file", "client_certificate", "client_key"))


@pytest.fixture
def own(control_plane: Cluster, admin: ClusterConfig) -> ClusterConfig:
    """The operator's own identity, so that rules can be about it and not about the test."""
    token = control_plane.embedded.new_token(OPERATOR, ADMINISTRATORS)
    return replace(admin, **{**NO_IDENTITY, "token": token})


@pytest.fixture
def faults(control_plane: Cluster) -> Iterator[Faults]:
    yield control_plane.faults
    control_plane.faults.clear()


def act(url: str) -> dict[str, Any]:
    trigger = {"field": "application.health", "condition": "equals", "value": "unhealthy"}
    return {
        "name": "tell",
        "trigger": trigger,
        "action": "webhook",
        "parameters": {"url": url, "attempts": 1},
        "retry": {"attempts": 1},
    }


async def finished(bed: Any) -> Any:
    return [run for run in await bed.runs() if run.get("status", {}).get("finishedAt")]


@pytest.mark.parametrize("status", [409, 429, 500, 503])
async def test_59_refused_writes_are_made_again_and_the_action_runs_once(
    bed, app, own, faults, until, status: int
) -> None:
    hook = type(app)()
    await hook.start()
    await bed.start(own)
    await bed.make(graphqlEndpoint=app.url, actions=[act(hook.url)])
    await until(lambda: app.requests)
    refuse = Refuse(status)
    if status == 409:  # only what others write, too, can conflict
        words = {"resource": "targetapps.operator.kco.local", "subresource": "status"}
        rules = [faults.add(refuse, user=OPERATOR, verb="patch", times=4, **words)]
    else:
        rules = [
            faults.add(refuse, user=OPERATOR, verb=verb, resource="*.operator.kco.local", times=times)
            for verb, times in (("create", 2), ("patch", 4))
        ]
    app.turn(application={"health": "unhealthy"})
    await until(lambda: finished(bed))

    async def told() -> Any:
        current = (await bed.read()).get("status") or {}
        return current.get("actionsExecuted") == 1 and current.get("rules", [{}])[0].get("active")

    await until(told)
    assert any(rule.count for rule in rules)
    assert hook.requests == 1
    assert len(await bed.runs()) == 1
    await hook.stop()


async def test_59_an_outage_loses_no_transition(bed, app, own, faults, until) -> None:
    hook = type(app)()
    await hook.start()
    operator = await bed.start(own, lease_duration=60)
    await bed.make(graphqlEndpoint=app.url, actions=[act(hook.url)])
    await until(lambda: app.requests)
    outage = faults.add(Refuse(503), user=OPERATOR)
    app.turn(application={"health": "unhealthy"})
    await asyncio.sleep(4)
    assert hook.requests == 0
    assert operator.controller.acting
    outage.remove()
    await until(lambda: finished(bed))
    assert hook.requests == 1
    changed = await until(lambda: bed.events("StateChanged"))
    assert changed[0]["message"] == "application.health: healthy → unhealthy"
    await hook.stop()


@pytest.mark.parametrize("effect", [EndWatch(how="expired"), Refuse(410)], ids=["event", "answer"])
async def test_59_a_watch_that_has_expired_is_begun_anew_and_misses_nothing(
    bed, app, own, faults, until, effect: Effect
) -> None:
    other = type(app)()
    await other.start()
    await bed.start(own)
    await bed.make(graphqlEndpoint=app.url)
    await until(lambda: app.requests)
    expired = faults.add(
        effect, user=OPERATOR, verb="watch", resource="targetapps.operator.kco.local", times=3
    )
    faults.cut(user=OPERATOR, verb="watch")
    await bed.make("second", graphqlEndpoint=other.url)
    await until(lambda: other.requests)
    await until(lambda: expired.count == 3)
    await bed.make("third", graphqlEndpoint=app.url)
    await until(lambda: bed.condition("EndpointReachable", "third"))
    assert len(await bed.events("InitialState")) >= 2
    await other.stop()


async def test_59_a_rotated_token_is_taken_up_and_nothing_is_lost(
    bed, app, own, faults, control_plane, until, tmp_path
) -> None:
    hook, other = type(app)(), type(app)()
    await hook.start()
    await other.start()
    first, second = (control_plane.embedded.new_token(OPERATOR, ADMINISTRATORS) for _ in range(2))
    token = tmp_path / "token"
    token.write_text(f"{first}\n")
    await bed.start(replace(own, **{**NO_IDENTITY, "token_file": token}), lease_duration=60)
    await bed.make(graphqlEndpoint=app.url, actions=[act(hook.url)])
    await until(lambda: app.requests)
    # The server refuses the old token before the kubelet has written the new one.
    control_plane.embedded.revoke_token(first)
    asked = faults.add(Delay(0), agent="kco", verb="create")
    faults.cut(agent="k*")  # its own client's and kopf's
    app.turn(application={"health": "unhealthy"})
    await until(lambda: asked.count)
    assert hook.requests == 0
    token.write_text(f"{second}\n")
    await until(lambda: finished(bed))
    assert hook.requests == 1
    await bed.make("second", graphqlEndpoint=other.url)
    await until(lambda: other.requests)
    await hook.stop()
    await other.stop()


async def test_11_an_event_that_is_written_late_is_counted_soon(bed, app, own, faults, until) -> None:
    await bed.start(own)
    await bed.make(graphqlEndpoint=app.url)

    async def quiet() -> Any:
        status = (await bed.read()).get("status") or {}
        return status.get("state") == "Monitoring" and status

    before = (await until(quiet))["eventsGenerated"]
    late = faults.add(Delay(7), user=OPERATOR, verb="create", resource="events*")
    app.turn(application={"health": "unhealthy"})

    async def counted() -> Any:
        return (await bed.read())["status"]["eventsGenerated"] > before

    await until(counted, 30)
    assert late.count
