"""A long time, an outage and ten thousand TargetApps in virtual time: nothing lost, nothing twice, nothing that grows."""

import asyncio
import base64
import gc
import os
from collections import Counter
from typing import Any

from kco.operator.controller import TARGET_APPS
from operator_kit.kube.client import SECRETS

RULE = {
    "name": "tell",
    "trigger": {"field": "application.health", "condition": "equals", "value": "unhealthy"},
    "action": "webhook",
    "retry": {"attempts": 1},
}
# By default a shorter time, so that everybody can run this; the workflow of KCO asks for a day and 10,000.
HOURS = int(os.environ.get("KCO_SOAK_HOURS", "3"))
CHURN = int(os.environ.get("KCO_CHURN", "400"))


async def succeeded(world: Any, namespace: str) -> Any:
    return [run for run in await world.runs(namespace) if (run.get("status") or {}).get("finishedAt")]


def test_59_an_outage_of_a_minute_loses_no_transition_and_repeats_none(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        namespace = await world.namespace()
        app, hook = await world.application(), await world.application()
        rule = {**RULE, "parameters": {"url": hook.url, "attempts": 1}}
        await world.make(namespace, graphqlEndpoint=app.url, actions=[rule])
        first = replica(world, namespace)
        await world.until(lambda: app.requests > 1)
        world.down = True
        await asyncio.sleep(5)
        app.turn(application={"health": "unhealthy"})
        # It cannot renew its Lease, so somebody else might act: it must end, and within the Lease's duration.
        await world.until(first.task.done, 15)
        assert first.task.result() == 1
        await asyncio.sleep(55 - first.settings.lease_duration)
        assert hook.requests == 0
        world.down = False
        # As the Deployment does: the pod is started again.
        second = replica(world, namespace)
        await world.until(lambda: succeeded(world, namespace))
        await asyncio.sleep(60)
        assert hook.requests == 1
        assert len(await world.runs(namespace)) == 1
        assert len(await world.events(namespace, "ActionSucceeded")) == 1
        assert await second.stop() == 0

    in_virtual_time(main)


def test_59_an_operator_without_election_sits_an_outage_of_a_minute_out(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        namespace = await world.namespace()
        app, hook = await world.application(), await world.application()
        rule = {**RULE, "parameters": {"url": hook.url, "attempts": 1}}
        await world.make(namespace, graphqlEndpoint=app.url, actions=[rule])
        only = replica(world, namespace, leader_election=False)
        await world.until(lambda: app.requests > 1)
        world.down = True
        await asyncio.sleep(5)
        app.turn(application={"health": "unhealthy"})
        await asyncio.sleep(55)
        assert hook.requests == 0, "an action without a record must not happen"
        world.down = False
        await world.until(lambda: succeeded(world, namespace))
        told = await world.until(lambda: world.events(namespace, "StateChanged"))
        assert [event["message"] for event in told] == ["application.health: healthy → unhealthy"]
        await asyncio.sleep(60)
        assert hook.requests == 1
        assert await only.stop() == 0

    in_virtual_time(main)


def test_59_a_deletion_of_which_nobody_tells_is_noticed_within_a_minute(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        namespace, app = await world.namespace(), await world.application()
        await world.make(namespace, graphqlEndpoint=app.url)
        only = replica(world, namespace)
        await world.until(lambda: app.requests)
        await asyncio.sleep(30)
        await only.operator.watching.stop()
        await world.client.delete(TARGET_APPS, namespace, "app")
        await asyncio.sleep(65)
        assert not only.operator.controller.targets
        asked = app.requests
        await asyncio.sleep(60)
        assert app.requests == asked
        assert await only.stop() == 0

    in_virtual_time(main)


def test_59_a_suspended_targetapp_that_is_gone_is_noticed_too_and_one_that_comes_meanwhile_stays(
    in_virtual_time, replica
) -> None:
    async def main(world: Any) -> None:
        namespace, app = await world.namespace(), await world.application()
        await world.make(namespace, graphqlEndpoint=app.url, suspend=True)
        only = replica(world, namespace)
        controller = only.operator.controller
        await world.until(lambda: controller.targets)
        await asyncio.sleep(30)
        await only.operator.watching.stop()
        await world.client.delete(TARGET_APPS, namespace, "app")
        await world.until(lambda: not controller.targets, 310)
        # A list that was made before a TargetApp was there says nothing about it.
        comparing = asyncio.create_task(controller.resync())
        await asyncio.sleep(0)
        metadata = {"namespace": namespace, "name": "late", "uid": "late", "generation": 1}
        spec = {"stateQuery": "{ application { health } }", "graphqlEndpoint": app.url}
        only.call(controller.observe, {"metadata": metadata, "spec": spec})
        await comparing
        assert list(controller.targets) == ["late"]
        assert await only.stop() == 0

    in_virtual_time(main)


def test_07_a_share_that_comes_while_it_is_fetched_is_followed_once_and_one_that_goes_not_at_all(
    in_virtual_time, replica
) -> None:
    async def main(world: Any) -> None:
        namespace, app = await world.namespace(), await world.application()
        bodies = [await world.make(namespace, name, graphqlEndpoint=app.url) for name in ("comes", "goes")]
        only = replica(world, namespace, sharing="shares")
        controller, engine = only.operator.controller, only.operator.services.engine
        await world.until(lambda: len(engine.polls) == 2)
        mine = False
        controller._owns = lambda uid: mine
        await only.call(asyncio.create_task, controller.reshare())
        assert not controller.targets
        mine = True
        sharing = only.call(asyncio.create_task, controller.reshare())
        await asyncio.sleep(0)
        only.call(controller.observe, bodies[0])
        only.call(controller.vanished, bodies[1]["metadata"]["uid"])
        await sharing
        await asyncio.sleep(60)
        assert list(controller.targets) == [bodies[0]["metadata"]["uid"]]
        assert len(engine.polls) == len(engine._schedule) == 1
        assert await only.stop() == 0

    in_virtual_time(main)


def test_11_soon_after_a_restart_the_status_says_monitoring_again(in_virtual_time, replica) -> None:
    async def main(world: Any) -> None:
        namespace, app = await world.namespace(), await world.application()
        await world.make(namespace, graphqlEndpoint=app.url)

        async def state() -> Any:
            return ((await world.client.get(TARGET_APPS, namespace, "app")).get("status") or {}).get("state")

        async def monitoring() -> bool:
            return await state() == "Monitoring"

        for _ in range(2):
            only = replica(world, namespace)
            asked = app.requests
            await world.until(lambda asked=asked: app.requests > asked + 1)
            await world.until(monitoring, 10)
            assert await only.stop() == 0

    in_virtual_time(main)


def test_64_a_day_of_flaps_actions_and_faults_leaves_memory_and_tasks_as_they_were(
    in_virtual_time, replica
) -> None:
    async def main(world: Any) -> None:
        namespace = await world.namespace()
        app, hook = await world.application(), await world.application()
        rule = {**RULE, "parameters": {"url": hook.url, "attempts": 1}}
        await world.make(
            namespace, graphqlEndpoint=app.url, pollingInterval=60, actions=[rule], failureThreshold=1
        )
        only = replica(world, namespace, run_history=3, lease_duration=300)
        await world.until(lambda: app.requests)

        async def hours(count: int) -> tuple[Counter[str], int, int]:
            for hour in range(count):
                app.turn(application={"health": "unhealthy", "load": hour / 100})
                await asyncio.sleep(1200)
                app.fault = ("status:500", "html", "reset")[hour % 3]
                await asyncio.sleep(1200)
                app.fault = None
                app.turn(application={"health": "healthy"})
                await asyncio.sleep(1200)
            return _kept(), len(asyncio.all_tasks()), len(await world.runs(namespace))

        begun = asyncio.get_running_loop().time()
        await hours(1)
        before = await hours(1)
        after = await hours(HOURS - 2)
        assert asyncio.get_running_loop().time() - begun >= HOURS * 3600 - 60
        assert hook.requests == HOURS, "each hour's edge has fired once"
        assert after[1] <= before[1], "no task is left over"
        assert after[2] <= 5, "old runs are pruned"
        grown = after[0] - before[0]
        assert grown.total() <= before[0].total() * 0.02, grown
        assert only.operator.client.last_answer_at is not None
        assert await only.stop() == 0

    in_virtual_time(main)


def test_64_ten_thousand_targetapps_that_came_and_went_leave_nothing(in_virtual_time, replica) -> None:
    """Churn through the controller, as the watch reports it: 10,000 TargetApps of which ten are there at a time."""

    async def main(world: Any) -> None:
        namespace = await world.namespace()
        app = await world.application()
        only = replica(world, namespace, lease_duration=300, global_rate_burst=100_000)
        await world.until(only.operator.started.is_set)
        controller, engine = only.operator.controller, only.operator.services.engine
        spec = {"stateQuery": "{ application { health } }", "graphqlEndpoint": app.url, "pollingInterval": 1}

        async def churn(first: int, count: int) -> Counter[str]:
            for start in range(first, first + count, 10):
                uids = [f"uid-{number}" for number in range(start, start + 10)]
                for uid in uids:
                    metadata = {"namespace": namespace, "name": uid, "uid": uid, "generation": 1}
                    only.call(controller.observe, {"metadata": metadata, "spec": spec})
                await asyncio.sleep(0.5)
                for uid in uids:
                    only.call(controller.vanished, uid)
            await asyncio.sleep(60)
            return _kept()

        await churn(0, 100)
        asked = app.requests
        before = await churn(100, 100)
        await churn(200, CHURN - 200)
        assert app.requests > asked, "they were polled while they were there"
        assert not controller.targets
        assert not engine.polls

        def grown() -> Counter[str]:
            return _kept() - before

        # A busy kernel may still hold the last answers back when virtual time is past them.
        await world.until(lambda: grown().total() <= before.total() * 0.02, 600)
        assert await only.stop() == 0

    in_virtual_time(main)


def _kept() -> Counter[str]:
    """How many objects of each of KCO's own classes there are."""
    gc.collect()
    kinds = (type(kept) for kept in gc.get_objects())
    return Counter(
        kind.__qualname__ for kind in kinds if str(kind.__module__).startswith(("kco.", "operator_kit."))
    )


def test_50_a_rotated_secret_is_sent_within_two_minutes_and_the_old_one_no_more(
    in_virtual_time, replica
) -> None:
    async def main(world: Any) -> None:
        namespace = await world.namespace()
        app = await world.application()
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "token"},
            "stringData": {"header": "first-value"},
        }
        await world.client.create(SECRETS, namespace, secret)
        source = {"secretKeyRef": {"name": "token", "key": "header"}}
        headers = [{"name": "X-Token", "valueFrom": source}]
        await world.make(namespace, graphqlEndpoint=app.url, headers=headers)
        only = replica(world, namespace)
        await world.until(lambda: app.requests)
        assert app.headers["X-Token"] == "first-value"
        changed = {"data": {"header": base64.b64encode(b"second-value").decode()}}
        await world.client.patch(SECRETS, namespace, "token", changed)
        await world.until(lambda: app.headers["X-Token"] == "second-value", 125)
        poll = next(iter(only.operator.services.engine.polls.values()))
        assert len(await world.events(namespace, "InitialState")) == 1, "what is known of the state is kept"
        await asyncio.sleep(180)
        assert next(iter(only.operator.services.engine.polls.values())) is poll, (
            "nothing changes, nothing moves"
        )
        # A Secret that vanishes is told; polling with a value that was taken away stops.
        await world.client.delete(SECRETS, namespace, "token")
        await world.until(lambda: world.events(namespace, "MissingValue"), 125)
        assert not only.operator.services.engine.polls
        assert await only.stop() == 0

    in_virtual_time(main)
