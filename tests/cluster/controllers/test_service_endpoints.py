"""Endpoints and EndpointSlices: what stands behind a Service, as pods come, get ready and go."""

import asyncio
from collections.abc import Callable
from typing import Any

from slipway.cluster.client.objects import labels_of, name_of
from slipway.cluster.client.resources import ENDPOINT_SLICES, ENDPOINTS, PODS, SERVICES
from slipway.cluster.controllers import endpointslices
from slipway.cluster.controllers.writes import Create, Delete, Update

Play = Callable[..., None]


def service(**spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web"}]
    return {
        "metadata": {"name": "svc", "labels": {"team": "a"}},
        "spec": {"selector": {"app": "a"}, "ports": ports, **spec},
    }


def app(name: str, port: int = 8080) -> dict[str, Any]:
    container = {"name": "c", "image": "i", "ports": [{"name": "web", "containerPort": port}]}
    return {"metadata": {"name": name, "labels": {"app": "a"}}, "spec": {"containers": [container]}}


async def endpoints(world: Any) -> list[dict[str, Any]]:
    return [
        endpoint
        for item in await world.list(ENDPOINT_SLICES, "kubernetes.io/service-name=svc")
        for endpoint in item.get("endpoints") or ()
    ]


def test_a_ready_pod_appears_with_its_named_port_resolved(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(SERVICES, service())
        await world.create(PODS, app("one"))
        await asyncio.sleep(5)
        (item,) = await world.list(ENDPOINT_SLICES, "kubernetes.io/service-name=svc")
        assert item["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
        assert labels_of(item)["endpointslice.kubernetes.io/managed-by"] == "endpointslice-controller.k8s.io"
        assert labels_of(item)["team"] == "a"
        (endpoint,) = item["endpoints"]
        pod = await world.get(PODS, "one")
        assert endpoint["addresses"] == [pod["status"]["podIP"]]
        assert endpoint["conditions"] == {"ready": True, "serving": True, "terminating": False}
        assert endpoint["targetRef"]["name"] == "one"
        found = await world.get(ENDPOINTS, "svc")
        (subset,) = found["subsets"]
        assert [address["ip"] for address in subset["addresses"]] == [pod["status"]["podIP"]]
        assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
        assert await world.quiet(600) == []

    play(story)


def test_an_unready_pod_is_listed_but_not_ready_unless_it_is_published(play: Play) -> None:
    async def story(world: Any) -> None:
        world.kubelet.ready = lambda pod: False
        await world.create(SERVICES, service())
        await world.create(PODS, app("one"))
        await asyncio.sleep(5)
        (endpoint,) = await endpoints(world)
        assert endpoint["conditions"] == {"ready": False, "serving": False, "terminating": False}
        (subset,) = (await world.get(ENDPOINTS, "svc"))["subsets"]
        assert "addresses" not in subset
        assert len(subset["notReadyAddresses"]) == 1
        await world.merge(SERVICES, "svc", {"spec": {"publishNotReadyAddresses": True}})
        await asyncio.sleep(5)
        (endpoint,) = await endpoints(world)
        assert endpoint["conditions"]["ready"] is True

    play(story)


def test_a_pod_that_ends_is_terminating_first_and_then_gone(play: Play) -> None:
    async def story(world: Any) -> None:
        world.kubelet.stop_delay = 10
        await world.create(SERVICES, service())
        await world.create(PODS, app("one"))
        await asyncio.sleep(5)
        await world.api.patch(PODS, "one", "default", {"spec": {"nodeName": "node-1"}})
        await world.api.delete(PODS, "one", "default")
        await asyncio.sleep(2)
        (endpoint,) = await endpoints(world)
        assert endpoint["conditions"] == {"ready": False, "serving": True, "terminating": True}
        assert "subsets" not in await world.get(ENDPOINTS, "svc")
        await asyncio.sleep(20)
        assert await endpoints(world) == []

    play(story)


def test_pods_with_different_ports_behind_one_name_get_slices_of_their_own(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(SERVICES, service())
        await world.create(PODS, app("one", 8080))
        await world.create(PODS, app("two", 9090))
        await asyncio.sleep(5)
        slices = await world.list(ENDPOINT_SLICES, "kubernetes.io/service-name=svc")
        assert sorted(item["ports"][0]["port"] for item in slices) == [8080, 9090]
        found = await world.get(ENDPOINTS, "svc")
        assert sorted(subset["ports"][0]["port"] for subset in found["subsets"]) == [8080, 9090]

    play(story)


def test_a_slice_says_null_where_it_has_no_ports_or_no_endpoints(play: Play) -> None:
    """As kubectl shows it on any cluster; LeaderWorkerSet's tests tell null from an empty list."""

    async def story(world: Any) -> None:
        await world.create(SERVICES, service(clusterIP="None", ports=None))
        await asyncio.sleep(5)
        (item,) = await world.list(ENDPOINT_SLICES, "kubernetes.io/service-name=svc")
        assert (item["endpoints"], item["ports"]) == (None, None)
        await world.create(PODS, app("one"))
        await asyncio.sleep(5)
        (item,) = await world.list(ENDPOINT_SLICES, "kubernetes.io/service-name=svc")
        assert len(item["endpoints"]) == 1
        assert item["ports"] is None
        await world.api.delete(PODS, "one", "default", grace_period=0)
        await asyncio.sleep(60)
        (item,) = await world.list(ENDPOINT_SLICES, "kubernetes.io/service-name=svc")
        assert (item["endpoints"], item["ports"]) == (None, None)
        assert await world.quiet(600) == []

    play(story)


def test_a_service_without_selector_is_left_alone_and_endpoints_go_with_the_service(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(SERVICES, service(selector=None))
        await asyncio.sleep(5)
        assert await world.list(ENDPOINT_SLICES, "kubernetes.io/service-name=svc") == []
        await world.merge(SERVICES, "svc", {"spec": {"selector": {"app": "a"}}})
        await world.create(PODS, app("one"))
        await asyncio.sleep(5)
        assert len(await endpoints(world)) == 1
        await world.api.delete(SERVICES, "svc", "default")
        await asyncio.sleep(5)
        assert await world.list(ENDPOINT_SLICES, "kubernetes.io/service-name=svc") == []
        await world.gone(ENDPOINTS, "svc", seconds=5)

    play(story)


def test_endpoints_written_by_hand_are_mirrored(play: Play) -> None:
    async def story(world: Any) -> None:
        await world.create(SERVICES, service(selector=None))
        subset = {
            "addresses": [{"ip": "192.0.2.1"}],
            "notReadyAddresses": [{"ip": "192.0.2.2"}],
            "ports": [{"name": "http", "port": 9376, "protocol": "TCP"}],
        }
        await world.create(ENDPOINTS, {"metadata": {"name": "svc"}, "subsets": [subset]})
        await asyncio.sleep(5)
        (item,) = await world.list(ENDPOINT_SLICES, "kubernetes.io/service-name=svc")
        ready = {e["addresses"][0]: e["conditions"]["ready"] for e in item["endpoints"]}
        assert ready == {"192.0.2.1": True, "192.0.2.2": False}
        assert item["ports"] == [{"name": "http", "port": 9376, "protocol": "TCP"}]
        manager = labels_of(item)["endpointslice.kubernetes.io/managed-by"]
        assert manager == "endpointslicemirroring-controller.k8s.io"
        assert await world.quiet(600) == []
        await world.merge(ENDPOINTS, "svc", {"subsets": [{**subset, "notReadyAddresses": None}]})
        await asyncio.sleep(5)
        assert len(await endpoints(world)) == 1
        await world.api.delete(ENDPOINTS, "svc", "default")
        await asyncio.sleep(5)
        assert await world.list(ENDPOINT_SLICES, "kubernetes.io/service-name=svc") == []

    play(story)


def running(number: int) -> dict[str, Any]:
    pod = app(f"pod-{number:04}")
    pod["metadata"] |= {"uid": f"uid-{number}", "namespace": "default"}
    ready = {"type": "Ready", "status": "True"}
    ip = f"10.0.{number // 200}.{number % 200 + 1}"
    pod["status"] = {"phase": "Running", "podIP": ip, "conditions": [ready]}
    return pod


def stored(plan: Any) -> list[dict[str, Any]]:
    """The slices that a plan of creations leaves."""
    made = []
    for number, write in enumerate(plan.writes):
        assert isinstance(write, Create)
        meta = {**write.obj["metadata"], "name": f"svc-{number}", "uid": f"slice-{number}"}
        made.append({**write.obj, "metadata": meta})
    return made


def test_slices_hold_a_hundred_each_and_one_change_touches_one_slice() -> None:
    owner = service()
    owner |= {"apiVersion": "v1", "kind": "Service"}
    owner["metadata"] |= {"namespace": "default", "uid": "service-uid"}
    pods = [running(number) for number in range(250)]
    slices = stored(endpointslices.step(owner, pods, [], {}))
    assert sorted(len(item["endpoints"]) for item in slices) == [50, 100, 100]
    assert endpointslices.step(owner, pods, slices, {}).writes == []
    pods.pop(30)
    (write,) = endpointslices.step(owner, pods, slices, {}).writes
    assert isinstance(write, Update)
    assert len(write.obj["endpoints"]) == 99
    writes = endpointslices.step(owner, pods[:5], slices, {}).writes
    assert [type(w) for w in writes].count(Delete) == 2
    assert name_of(owner) == "svc"
