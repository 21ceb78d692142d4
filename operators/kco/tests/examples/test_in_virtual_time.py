"""The examples as they stand, on clusters with kubelets, in virtual time: each shows the effect that it promises."""

import asyncio
import base64
import json
from typing import Any

import aiohttp
import yaml

from operator_kit.kube.client import EVENTS, Resource

RUNS = Resource("operator.kco.local", "v1alpha1", "actionruns")


async def runs(town: Any, rule: str = "") -> list[dict[str, Any]]:
    """Finished runs of a rule, or of all where it has no name, oldest first."""
    items = (await town.client.list(RUNS, "shop"))["items"]
    mine = [
        run
        for run in items
        if rule in ("", run["spec"]["rule"]) and (run.get("status") or {}).get("finishedAt")
    ]
    return sorted(mine, key=lambda run: run["spec"]["transition"])


async def succeeded(town: Any, rule: str = "", count: int = 1, seconds: float = 120) -> dict[str, Any]:
    """The latest run of a rule, once it has run so often."""

    async def enough() -> Any:
        found = await runs(town, rule)
        return found if len(found) >= count else None

    latest = (await town.until(enough, seconds))[-1]
    assert latest["status"]["phase"] == "Succeeded", latest
    return dict(latest)


async def monitored(town: Any, name: str) -> None:
    async def state() -> bool:
        status = (await town.read("TargetApp", "shop", name)).get("status") or {}
        return bool(status.get("state") == "Monitoring" and status.get("lastPolled"))

    await town.until(state)


async def events(town: Any, reason: str) -> list[str]:
    items = (await town.client.list(EVENTS, "shop"))["items"]
    return [item["message"] for item in items if item["reason"] == reason]


def deployment(name: str, replicas: int) -> dict[str, Any]:
    container = {"name": "main", "image": "example.com/graphql-app"}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def secret(name: str, **texts: str) -> dict[str, Any]:
    data = {key: base64.b64encode(text.encode()).decode() for key, text in texts.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "data": data}


async def scrape(operator: Any) -> str:
    port = operator.operator.exposition.ports["METRICS_PORT"]
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        return await answer.text()


def test_62_basic_the_target_of_the_brief_restarts_an_unhealthy_application(play, start, examples) -> None:
    async def story(town: Any) -> None:
        await town.apply("shop", deployment("my-app", 1))
        ((first, application),) = await town.ready("my-app", 1)
        # The brief's name has no scheme and no port: http and 80.
        name = "tagpp-pod.svc.namespace.cluster.local"
        town.streets.lead(name, 80, lambda: town.living("my-app")[0][1].port)
        operator = start(town)
        await town.apply("shop", examples / "basic.yaml")
        await monitored(town, "my-application")
        application.turn(application={"health": "unhealthy"})
        assert (await succeeded(town))["status"]["output"] == {"restarted": [first]}
        ((second, _),) = await town.ready("my-app", 1)
        assert second != first

        async def told() -> bool:
            return "application.health: unhealthy → healthy" in await events(town, "StateChanged")

        await town.until(told)
        assert await operator.stop() == 0

    play(story)


def test_62_actions_each_rule_has_its_effect(play, start, examples, new_inbox) -> None:
    async def story(town: Any) -> None:
        inbox = new_inbox()
        await inbox.start()
        hook = secret("team-hook", url=f"http://127.0.0.1:{inbox.port}/team", token="Bearer sesame")
        await town.apply("shop", examples / "application" / "shop.yaml", hook)
        before = await town.ready("shop", 2)
        operator = start(town)
        await town.apply("shop", examples / "actions.yaml")
        await monitored(town, "shop")
        polled = next(application for _, application in before if application.requests)

        polled.turn(application={"lastError": "Deadlock found when trying to get lock"})
        outcome = (await succeeded(town, "collect-traces"))["status"]["output"]["pods"]
        assert [(one["pod"], one["exitCode"]) for one in outcome] == [(name, 0) for name, _ in before]

        polled.turn(application={"status": "draining"})
        await succeeded(town, "drain-mode")
        assert (await town.read("ConfigMap", "shop", "shop-flags"))["data"] == {"mode": "drain"}

        polled.turn(application={"pendingTasks": 101})
        assert (await succeeded(town, "more-workers"))["status"]["output"] == {"from": 2, "to": 3}
        await town.ready("shop", 3)
        # Still too much five minutes later; between 100 and 50 nothing more is added.
        assert (await succeeded(town, "more-workers", 2, 400))["status"]["output"] == {"from": 3, "to": 4}
        polled.turn(application={"pendingTasks": 49})
        await asyncio.sleep(600)
        assert len(await runs(town, "more-workers")) == 2
        crowd = await town.ready("shop", 4)

        polled.turn(application={"health": "unhealthy"})
        begun = asyncio.get_running_loop().time()
        await succeeded(town, "tell-the-team")
        ((headers, letter),) = inbox.letters
        assert headers["Authorization"] == "Bearer sesame"
        assert letter["text"] == "shop in shop is unhealthy"
        await asyncio.sleep(begun + 59 - asyncio.get_running_loop().time())
        assert await runs(town, "restart-unhealthy") == []
        run = await succeeded(town, "restart-unhealthy", seconds=600)
        assert sorted(run["status"]["output"]["restarted"]) == [name for name, _ in crowd]
        after = await town.ready("shop", 4)
        assert not {name for name, _ in crowd} & {name for name, _ in after}
        assert await operator.stop() == 0
        await inbox.stop()

    play(story)


def test_62_mina_only_the_daemon_that_is_stuck_for_ten_minutes_is_replaced(play, start, examples) -> None:
    schema = (examples / "mina" / "daemon.graphql").read_text()
    synced = {
        "syncStatus": "SYNCED",
        "daemonStatus": {
            "blockchainLength": 100,
            "highestBlockLengthReceived": 100,
            "peers": [{"host": "a"}],
        },
        "version": "3",
    }

    async def story(town: Any) -> None:
        town.kinds["mina-daemon"] = (3085, schema, synced)
        config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mina-schema"}}
        await town.apply("shop", {**config, "data": {"daemon.graphql": schema}}, deployment("mina-daemon", 3))
        (stuck, daemon), (brief, other), (well, _) = await town.ready("mina-daemon", 3)
        operator = start(town)
        await town.apply("shop", examples / "mina" / "targetapp.yaml")
        await monitored(town, "mina-daemon")
        await town.until(lambda: all(application.requests for _, application in town.living("mina-daemon")))
        daemon.turn(syncStatus="CATCHUP")
        other.turn(syncStatus="CATCHUP")
        await asyncio.sleep(9 * 60)
        other.turn(syncStatus="SYNCED")
        await asyncio.sleep(55)
        assert await runs(town, "restart-stuck") == []
        run = await succeeded(town, "restart-stuck", seconds=120)
        assert run["spec"]["pod"] == stuck
        assert run["status"]["output"] == {"restarted": [stuck]}
        await town.ready("mina-daemon", 3)
        left = {name for name, _ in town.living("mina-daemon")}
        assert {brief, well} <= left
        assert stuck not in left
        # The new daemon is well: nothing more happens in the next hour, and the height is no news.
        await asyncio.sleep(3600)
        assert len(await runs(town, "restart-stuck")) == 1
        assert not any("blockchainLength" in text for text in await events(town, "StateChanged"))
        page = await scrape(operator)
        assert page.count("kco_state_mina_sync_status{") >= 3 * 6
        assert "kco_state_mina_height{" in page
        assert await operator.stop() == 0

    play(story)


def test_62_prediction_scales_before_the_load_is_too_high(play, start, examples) -> None:
    async def story(town: Any) -> None:
        await town.apply("shop", examples / "application" / "shop.yaml")
        await town.ready("shop", 2)
        operator = start(town)
        await town.apply("shop", examples / "prediction" / "targetapp.yaml")
        await monitored(town, "shop-forecast")
        load = 0.3
        while not await runs(town, "scale-ahead"):
            for _, application in town.living("shop"):
                application.turn(application={"load": load})
            await asyncio.sleep(60)
            load += 0.03
            assert load < 0.9, "the threshold is passed, and nothing was done"
        assert (await succeeded(town, "scale-ahead"))["status"]["output"] == {"from": 2, "to": 3}
        await town.ready("shop", 3)
        assert "operator_kco_forecast_probability{" in await scrape(operator)
        assert await operator.stop() == 0

    play(story)


def test_62_multi_cluster_the_shop_in_the_east_is_scaled_from_here(
    play, start, examples, second_town
) -> None:
    async def story(town: Any) -> None:
        async with second_town(town) as east:
            await east.make_namespace("shop")
            await east.apply("shop", examples / "application" / "shop.yaml")
            here = json.dumps(east.cluster.kubeconfig("shop"))
            assert yaml.safe_load(here)["clusters"]
            await town.apply("shop", secret("cluster-east", kubeconfig=here))
            operator = start(town)
            pods = await east.ready("shop", 2)
            await town.apply("shop", examples / "multi-cluster.yaml")
            await monitored(town, "shop-in-east")
            for _, application in pods:
                application.turn(application={"pendingTasks": 101})
            assert (await succeeded(town, "scale-east"))["status"]["output"] == {"from": 2, "to": 5}
            await east.ready("shop", 5)
            assert "application.pendingTasks: 0 → 101" in await events(town, "StateChanged")
            assert await operator.stop() == 0

    play(story)
