"""An operator on a real API server: restarts, edits, deletions, two replicas, bad specs, status."""

import asyncio
import pwd
from typing import Any

import kopf
import pytest

from kco.operator.controller import TARGET_APPS
from kco.operator.process import CannotStart
from operator_kit.kube.failure import ApiFailure


def act(url: str = "http://127.0.0.1:9/", **more: Any) -> dict[str, Any]:
    """A rule that calls a webhook when the application is unhealthy."""
    return {
        "name": "tell",
        "trigger": {"field": "application.health", "condition": "equals", "value": "unhealthy"},
        "action": "webhook",
        "parameters": {"url": url, "attempts": 1, "timeout": 2},
        "retry": {"attempts": 1},
        **more,
    }


async def monitoring(bed: Any, name: str = "app") -> Any:
    status = (await bed.read(name)).get("status") or {}
    return status if status.get("state") == "Monitoring" else None


async def settled(bed: Any, count: int = 1) -> Any:
    done = [run for run in await bed.runs() if run.get("status", {}).get("finishedAt")]
    return done if len(done) >= count else None


async def latched(bed: Any) -> Any:
    rules = ((await bed.read()).get("status") or {}).get("rules") or []
    return rules[0]["active"] if rules else None


async def test_01_a_restart_polls_every_target_within_its_interval(bed, app, until) -> None:
    operator = await bed.start()
    for number in range(5):
        await bed.make(f"app-{number}", graphqlEndpoint=app.url)
    await until(lambda: len(operator.services.engine.polls) == 5)
    await bed.stop()
    app.requests = 0
    operator = await bed.start(wait=False)
    assert operator._unready()
    await until(operator.started.is_set)
    assert operator._unready() == []
    await until(lambda: all(poll.succeeded for poll in operator.services.engine.polls.values()))
    assert len(operator.services.engine.polls) == 5


async def test_53_a_user_without_a_name_can_run_it(bed, app, until, monkeypatch) -> None:
    """As in the image, whose user 1000 is in no /etc/passwd."""

    def nobody(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    await bed.start()
    await bed.make(graphqlEndpoint=app.url)
    await until(lambda: monitoring(bed))


async def test_56_it_is_not_ready_while_nothing_watches(bed, until, monkeypatch) -> None:
    broken = True

    async def operator(**words: Any) -> None:
        if broken:
            raise RuntimeError("no watch today")
        await kopf_operator(**words)

    kopf_operator = kopf.operator
    monkeypatch.setattr(kopf, "operator", operator)
    running = await bed.start(wait=False)
    await until(lambda: running._unready() == ["the TargetApps are not watched: no watch today"])
    broken = False
    await until(lambda: running._unready() == [])


async def test_02_a_restart_with_an_unchanged_state_does_and_says_nothing(bed, app, until) -> None:
    app.turn(application={"health": "unhealthy"})
    await bed.start()
    await bed.make(graphqlEndpoint=app.url, actions=[act()])
    await until(lambda: settled(bed))
    await until(lambda: latched(bed))
    await bed.stop()
    before = [(event["reason"], event["message"], event["count"]) for event in await bed.events()]
    operator = await bed.start()
    await until(lambda: any(poll.succeeded >= 2 for poll in operator.services.engine.polls.values()))
    assert len(await bed.runs()) == 1
    after = [(event["reason"], event["message"], event["count"]) for event in await bed.events()]
    assert sorted(after) == sorted(before)


async def test_03_labels_and_intervals_can_be_edited_without_forgetting_anything(bed, app, until) -> None:
    app.turn(application={"health": "unhealthy"})
    operator = await bed.start()
    made = await bed.make(graphqlEndpoint=app.url, actions=[act()])
    await until(lambda: settled(bed))
    poll = next(iter(operator.services.engine.polls.values()))
    await bed.client.patch(TARGET_APPS, bed.namespace, "app", {"metadata": {"labels": {"a": "b"}}})
    await asyncio.sleep(0.5)
    assert next(iter(operator.services.engine.polls.values())) is poll
    await bed.edit(pollingInterval=2)
    await until(lambda: next(iter(operator.services.engine.polls.values())).interval == 2)
    await until(lambda: next(iter(operator.services.engine.polls.values())).succeeded)
    assert len(await bed.runs()) == 1
    assert len(await bed.events("InitialState")) == 1
    assert operator.controller.targets[made["metadata"]["uid"]].generation == 2


async def test_05_a_deleted_target_leaves_nothing_behind(bed, app, until) -> None:
    from prometheus_client import generate_latest

    operator = await bed.start()
    await bed.make(graphqlEndpoint=app.url)
    await until(lambda: operator.services.engine.polls)
    body = await bed.read()
    assert not body["metadata"].get("finalizers")
    await until(lambda: b'tapp_name="app"' in generate_latest(operator.registry))
    await bed.client.delete(TARGET_APPS, bed.namespace, "app")
    await until(lambda: not operator.services.engine.polls)
    assert b'tapp_name="app"' not in generate_latest(operator.registry)


async def test_05_a_deletion_while_the_operator_is_down_completes(bed, app, until) -> None:
    await bed.start()
    await bed.make(graphqlEndpoint=app.url)
    await until(lambda: monitoring(bed))
    await bed.stop()
    await bed.client.delete(TARGET_APPS, bed.namespace, "app")
    with pytest.raises(ApiFailure, match="not found"):
        await bed.read()
    operator = await bed.start()
    assert not operator.controller.targets


async def test_06_a_recreated_target_of_the_same_name_is_a_new_one(bed, app, until) -> None:
    app.turn(application={"health": "unhealthy"})
    await bed.start()
    await bed.make(graphqlEndpoint=app.url, actions=[act()])
    first = await until(lambda: settled(bed))
    await bed.client.delete(TARGET_APPS, bed.namespace, "app")
    made = await bed.make(graphqlEndpoint=app.url, actions=[act()])

    async def second() -> Any:
        return [run for run in await bed.runs() if run["spec"]["targetRef"]["uid"] == made["metadata"]["uid"]]

    runs = await until(second)
    assert runs[0]["metadata"]["name"] != first[0]["metadata"]["name"]


async def test_07_of_two_replicas_one_acts_and_the_other_takes_over(bed, app, until) -> None:
    first = await bed.start(identity="one")
    second = await bed.start(identity="two")
    await bed.make(graphqlEndpoint=app.url, actions=[act()])
    await until(lambda: monitoring(bed))
    assert first.controller.acting
    assert not second.controller.acting
    assert second._unready() == []
    app.turn(application={"health": "unhealthy"})
    await until(lambda: settled(bed))
    await until(lambda: latched(bed))
    await bed.kill(first)
    await until(lambda: second.controller.acting)
    await until(lambda: any(poll.succeeded for poll in second.services.engine.polls.values()))
    assert len(await bed.runs()) == 1
    app.turn(application={"health": "healthy"})
    await until(lambda: _not_latched(bed))
    app.turn(application={"health": "unhealthy"})
    await until(lambda: settled(bed, 2))
    assert [run["status"]["holder"] for run in await bed.runs()] == ["one", "two"]


async def _not_latched(bed: Any) -> bool:
    return (await latched(bed)) is False


async def test_07_replicas_may_share_the_targets(bed, app, until) -> None:
    one = await bed.start(identity="one", sharing="shares")
    two = await bed.start(identity="two", sharing="shares")
    # Of 24 targets with random uids, each replica gets some: with 8 it has been seen that one got none.
    for number in range(24):
        await bed.make(f"app-{number}", graphqlEndpoint=app.url)

    def shared() -> bool:
        mine, theirs = set(one.controller.targets), set(two.controller.targets)
        return len(mine | theirs) == 24 and not mine & theirs and bool(mine) and bool(theirs)

    await until(shared)
    await bed.stop(one)
    await until(lambda: len(two.controller.targets) == 24)


async def test_08_a_graceful_stop_finishes_what_runs_and_frees_the_lease(bed, app, until) -> None:
    slow = type(app)()
    await slow.start()
    slow.fault, slow.delay = "slow", 1.5
    app.turn(application={"health": "unhealthy"})
    operator = await bed.start(identity="one")
    await bed.make(
        graphqlEndpoint=app.url, actions=[act(slow.url, parameters={"url": slow.url, "timeout": 10})]
    )
    await until(lambda: operator.services.queue.executing)
    assert await bed.stop() == 0
    runs = await bed.runs()
    assert runs[0]["status"]["phase"] == "Succeeded"
    second = await bed.start(identity="two")
    assert second.controller.acting
    await slow.stop()


async def test_09_a_suspended_target_is_not_polled(bed, app, until) -> None:
    operator = await bed.start()
    await bed.make(graphqlEndpoint=app.url)
    await until(lambda: operator.services.engine.polls)
    await bed.edit(suspend=True)
    await until(lambda: not operator.services.engine.polls)
    count = app.requests
    await asyncio.sleep(1.2)
    assert app.requests == count
    assert (await bed.condition("Ready"))["reason"] == "Suspended"
    await bed.edit(suspend=False)
    await until(lambda: monitoring(bed))


async def test_09_a_dry_run_tells_and_does_not_act(bed, app, until) -> None:
    app.turn(application={"health": "unhealthy"})
    await bed.start()
    await bed.make(graphqlEndpoint=app.url, dryRun=True, actions=[act()])
    events = await until(lambda: bed.events("ActionDryRun"))
    assert "would run webhook" in events[0]["message"]
    assert await bed.runs() == []


async def test_11_conditions_and_fields_of_the_status_are_true(bed, app, until) -> None:
    await bed.start()
    await bed.make(graphqlEndpoint=app.url, actions=[act()])
    status = await until(lambda: monitoring(bed))
    kinds = {entry["type"]: entry for entry in status["conditions"]}
    assert set(kinds) == {"Ready", "EndpointReachable", "QueryValid", "ActionsAuthorized"}
    assert {(entry["status"], entry["observedGeneration"]) for entry in kinds.values()} == {("True", 1)}
    assert status["endpoint"] == app.url
    assert status["lastPolled"]
    app.turn(application={"health": "unhealthy"})

    async def counted() -> Any:
        current = (await bed.read())["status"]
        return current if current["actionsExecuted"] == 1 and current["eventsGenerated"] >= 4 else None

    status = await until(counted)
    assert status["recentRuns"][0]["phase"] == "Failed"


async def test_13_a_quiet_target_is_written_at_most_once_a_minute(bed, app, until) -> None:
    operator = await bed.start()
    made = await bed.make(graphqlEndpoint=app.url)
    await until(lambda: monitoring(bed))
    polled = app.requests
    version = await until(lambda: _rested(bed))
    assert app.requests > polled + 1
    target = operator.controller.targets[made["metadata"]["uid"]]
    target.written_at -= 61
    await until(lambda: _moved(bed, version))


async def _rested(bed: Any) -> str:
    """The version of an object that nobody has written for longer than a change waits to be told."""
    version: str = (await bed.read())["metadata"]["resourceVersion"]
    await asyncio.sleep(7)
    return version if not await _moved(bed, version) else ""


async def _moved(bed: Any, version: str) -> bool:
    return (await bed.read())["metadata"]["resourceVersion"] != version


async def test_14_nothing_that_the_operator_writes_is_pruned(bed, app, until) -> None:
    from kco.operator import reporting

    app.turn(application={"health": "unhealthy"})
    operator = await bed.start()
    made = await bed.make(graphqlEndpoint=app.url, actions=[act(cooldown="1m", maxPerHour=3)])
    await until(lambda: settled(bed))
    target = operator.controller.targets[made["metadata"]["uid"]]
    wanted = reporting.status(target)

    def within(part: Any, whole: Any) -> bool:
        if isinstance(part, dict):
            return all(
                key in whole and within(part[key], whole[key]) for key in part if part[key] is not None
            )
        if isinstance(part, list):
            return len(part) == len(whole) and all(map(within, part, whole))
        return True

    async def complete() -> Any:
        return within(wanted, (await bed.read()).get("status") or {})

    await until(complete)


async def test_22_an_endpoint_that_goes_down_is_told_once_and_so_is_its_recovery(bed, app, until) -> None:
    await bed.start()
    down = {"field": "@endpoint.up", "condition": "equals", "value": False}
    rule = {"name": "down", "trigger": down, "action": "webhook", "parameters": {"url": app.url}}
    await bed.make(graphqlEndpoint=app.url, failureThreshold=2, maxRetries=0, actions=[rule])
    await until(lambda: monitoring(bed))
    app.fault = "status:500"
    events = await until(lambda: bed.events("EndpointDown"))
    assert events[0]["type"] == "Warning"
    assert "HTTP 500" in events[0]["message"]
    await until(lambda: _condition_is(bed, "EndpointReachable", "False"))
    assert (await bed.read())["status"]["state"] == "Failed"
    await until(lambda: bed.runs())
    app.fault = None
    recovered = await until(lambda: bed.events("EndpointUp"))
    assert recovered[0]["type"] == "Normal"
    await until(lambda: _condition_is(bed, "EndpointReachable", "True"))
    assert (await bed.read())["status"]["state"] == "Monitoring"
    assert sum(event["count"] for event in await bed.events("EndpointDown")) == 1


async def _condition_is(bed: Any, kind: str, status: str) -> bool:
    return (await bed.condition(kind)).get("status") == status


async def test_25_a_mutation_is_refused_before_any_request(bed, app, until) -> None:
    await bed.start()
    await bed.make(graphqlEndpoint=app.url, stateQuery="mutation { reset }")
    await until(lambda: _condition_is(bed, "QueryValid", "False"))
    assert "only a query is sent" in (await bed.condition("QueryValid"))["message"]
    assert app.requests == 0
    await bed.edit(stateQuery="{ application { health } }")
    await until(lambda: monitoring(bed))


async def test_33_a_wrong_rule_makes_only_its_own_target_unready(bed, app, until) -> None:
    await bed.start()
    await bed.make("wrong", graphqlEndpoint=app.url, actions=[act(action="restart_pods")])
    await bed.make("odd", graphqlEndpoint=app.url, actions=[act(parameters={"url": app.url, "speed": 3})])
    await bed.make(graphqlEndpoint=app.url)
    await until(lambda: monitoring(bed))

    async def messages() -> Any:
        found = [(await bed.condition("Ready", name)).get("message", "") for name in ("wrong", "odd")]
        return found if all(found) else None

    wrong, odd = await until(messages)
    assert "unknown action 'restart_pods'; did you mean 'restart_pod'" in wrong
    assert "parameters.speed: action webhook has no such parameter" in odd
    assert (await bed.read("wrong"))["status"]["state"] == "Failed"


async def test_59_a_watch_that_ends_is_begun_anew_and_misses_no_deletion(
    bed, app, until, monkeypatch
) -> None:
    from kco.operator.watch import Watch

    watches: list[Watch] = []
    start = Watch.start

    def noted(self: Watch) -> None:
        watches.append(self)
        start(self)

    monkeypatch.setattr(Watch, "start", noted)
    operator = await bed.start()
    await bed.make("one", graphqlEndpoint=app.url)
    await bed.make("two", graphqlEndpoint=app.url)
    await until(lambda: len(operator.controller.targets) == 2)
    await watches[0].stop()
    await bed.client.delete(TARGET_APPS, bed.namespace, "one")
    await until(lambda: len(watches) == 2)
    await until(lambda: [target.name for target in operator.controller.targets.values()] == ["two"])
    await bed.make("three", graphqlEndpoint=app.url)
    await until(lambda: len(operator.controller.targets) == 2)


async def test_60_a_busy_port_and_a_missing_crd_end_the_start_with_a_message(bed, app, control_plane) -> None:
    server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with pytest.raises(CannotStart, match=f"METRICS_PORT={port}"):
        await bed.start(metrics_port=port)
    bed.operators.pop()
    server.close()
    from slipway.cluster import Cluster

    with Cluster(name="kco-empty", nodes=0, controllers=False) as empty:
        import yaml

        from operator_kit.kube.config import parse_kubeconfig

        config = parse_kubeconfig(yaml.safe_dump(empty.kubeconfig()), source="empty")
        with pytest.raises(CannotStart, match=r"targetapps\.operator\.kco\.local is not installed"):
            await bed.start(config)
        bed.operators.pop()
