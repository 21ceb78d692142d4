"""The brief's future enhancements at work: subscriptions, several clusters, forecasts; and pods that come and go."""

import base64
import json
from typing import Any

from kco.prediction.trend import Trend
from operator_kit.kube.client import PODS, SECRETS
from slipway.cluster import Cluster

RULE = {
    "name": "tell",
    "trigger": {"field": "application.health", "condition": "equals", "value": "unhealthy"},
    "action": "webhook",
    "parameters": {"url": "http://127.0.0.1:9/", "attempts": 1},
    "retry": {"attempts": 1},
}


async def make_pod(client: Any, namespace: str, name: str, ip: str, *, ready: bool = True) -> None:
    """A pod whose status says that it runs at `ip` (there are no nodes here)."""
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "x"}},
        "spec": {"containers": [{"name": "main", "image": "i"}], "nodeName": "nowhere"},
    }
    await client.create(PODS, namespace, body)
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": conditions}
    await client.patch(PODS, namespace, name, {"status": status}, subresource="status")


async def test_16_polling_follows_pods_as_they_appear_and_are_replaced(bed, app, until) -> None:
    operator = await bed.start()
    await bed.make(graphqlEndpoint="/graphql", selector={"matchLabels": {"app": "x"}}, port=app.port)

    async def waiting() -> bool:
        return (await bed.condition("EndpointReachable")).get("reason") == "NoPods"

    await until(waiting)
    await make_pod(bed.client, bed.namespace, "first", "127.0.0.1")
    await until(lambda: app.requests)
    other = type(app)()
    await other.start("127.0.0.2", app.port)
    await make_pod(bed.client, bed.namespace, "second", "127.0.0.2")
    body = {"gracePeriodSeconds": 0, "apiVersion": "v1", "kind": "DeleteOptions"}
    await bed.client.delete(PODS, bed.namespace, "first", body)
    await until(lambda: other.requests)
    (followed,) = next(iter(operator.controller.targets.values())).followed.values()
    assert followed.instance.pod == "second"
    assert len(await bed.events("InitialState")) == 1
    await operator.services.engine.stop()
    await other.stop()


async def test_34_what_the_next_pod_says_otherwise_is_told_although_none_was_there_between(
    bed, app, until
) -> None:
    operator = await bed.start()
    await bed.make(graphqlEndpoint="/graphql", selector={"matchLabels": {"app": "x"}}, port=app.port)
    app.turn(application={"health": "unhealthy"})
    await make_pod(bed.client, bed.namespace, "first", "127.0.0.1")
    await until(lambda: bed.events("InitialState"))
    body = {"gracePeriodSeconds": 0, "apiVersion": "v1", "kind": "DeleteOptions"}
    await bed.client.delete(PODS, bed.namespace, "first", body)
    (target,) = operator.controller.targets.values()
    await until(lambda: not target.followed)
    app.turn(application={"health": "healthy"})
    await make_pod(bed.client, bed.namespace, "second", "127.0.0.1")
    (told,) = await until(lambda: bed.events("StateChanged"))
    assert told["message"] == "application.health: unhealthy → healthy"
    assert len(await bed.events("InitialState")) == 1
    await operator.services.engine.stop()


async def test_16_each_pod_has_its_own_state_and_memory(bed, app, until) -> None:
    other = type(app)()
    await other.start("127.0.0.2", app.port)
    await make_pod(bed.client, bed.namespace, "a", "127.0.0.1")
    await make_pod(bed.client, bed.namespace, "b", "127.0.0.2")
    operator = await bed.start()
    selector = {"matchLabels": {"app": "x"}}
    await bed.make(
        graphqlEndpoint="/graphql", selector=selector, port=app.port, podPolicy="Each", actions=[RULE]
    )
    await until(lambda: app.requests and other.requests)
    other.turn(application={"health": "unhealthy"})
    runs = await until(bed.runs)
    assert [run["spec"]["pod"] for run in runs] == ["b"]
    told = await until(lambda: bed.events("StateChanged"))
    assert told[0]["message"].endswith("(pod b)")
    await operator.services.engine.stop()
    await other.stop()


async def test_63_a_subscription_delivers_without_polling_and_polling_takes_over(bed, app, until) -> None:
    operator = await bed.start()
    await bed.make(
        graphqlEndpoint=app.url,
        pollingInterval=1,
        stateQuery="{ application { health } }",
        subscription={"query": "subscription { application { health } }"},
        actions=[RULE],
    )
    await until(lambda: not operator.services.engine.polls and operator.controller.targets)
    await until(
        lambda: dict(next(iter(operator.controller.targets.values())).counts.of("polls")).get(
            ("subscription",)
        )
    )
    asked = app.requests
    app.turn(application={"health": "unhealthy"})
    assert await until(bed.runs)
    assert app.requests == asked
    port = app.port
    await app.stop()
    await until(lambda: operator.services.engine.polls)
    assert await until(lambda: bed.events("SubscriptionLost"))
    app._runner = None
    await app.start(port=port)
    await until(lambda: app.requests > asked or not operator.services.engine.polls)


async def test_63_an_application_in_another_cluster_is_watched_from_here(bed, app, until) -> None:
    with Cluster(name="kco-east", nodes=0) as east:
        from operator_kit.kube.client import KubeClient, Resource
        from operator_kit.kube.config import parse_kubeconfig

        text = json.dumps(east.kubeconfig())
        async with KubeClient(parse_kubeconfig(text, source="east")) as there:
            namespaces = Resource("", "v1", "namespaces", namespaced=False)
            await there.create(
                namespaces,
                None,
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": bed.namespace}},
            )
            await make_pod(there, bed.namespace, "shop", "127.0.0.1")
            secret = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "east"},
                "data": {"kubeconfig": base64.b64encode(text.encode()).decode()},
            }
            await bed.client.create(SECRETS, bed.namespace, secret)
            await there.create(
                Resource("", "v1", "configmaps"),
                bed.namespace,
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": "flags"},
                    "data": {"mode": "normal"},
                },
            )
            operator = await bed.start()
            patch = {
                "resourceType": "configmap",
                "resourceName": "flags",
                "patchData": {"data": {"mode": "drain"}},
            }
            await bed.make(
                graphqlEndpoint="/graphql",
                selector={"matchLabels": {"app": "x"}},
                port=app.port,
                cluster={"secretKeyRef": {"name": "east", "key": "kubeconfig"}},
                actions=[{**RULE, "action": "patch_resource", "parameters": patch}],
            )
            await until(lambda: app.requests)
            app.turn(application={"health": "unhealthy"})

            async def patched() -> bool:
                flags = await there.get(Resource("", "v1", "configmaps"), bed.namespace, "flags")
                return bool(flags["data"]["mode"] == "drain")

            await until(patched)
            assert await until(bed.runs)
            await bed.stop()
            assert operator.controller.acting is False


def test_30_a_forecast_sees_a_line_coming_and_leaves_noise_alone() -> None:
    import random

    noise = random.Random(7)
    rising, flat = Trend(600), Trend(600)
    seen_at = None
    for step in range(40):
        moment = step * 30.0
        rising.learn(0.3 + 0.0006 * moment + noise.gauss(0, 0.01), moment)
        flat.learn(0.5 + noise.gauss(0, 0.02), moment)
        answer = rising.probability(0.9, 600, direction="above")
        if seen_at is None and answer is not None and answer[0] >= 0.8:
            seen_at = moment
        quiet = flat.probability(0.9, 600, direction="above")
        assert quiet is None or quiet[0] < 0.5
    # The line passes 0.9 at 1000 s; with a horizon of 600 s it should be seen between 400 s and then.
    assert seen_at is not None
    assert 300 <= seen_at <= 900


def test_30_a_forecast_is_exported_and_never_made_from_too_little() -> None:
    trend = Trend(600)
    for step in range(4):
        trend.learn(float(step), step * 30.0)
    assert trend.probability(100, 600, direction="above") is None
    trend.learn(4.0, 120.0)
    answer = trend.probability(20, 600, direction="above")
    assert answer is not None
    assert 20 < answer[1].expected < 28
