"""`world`: a real API server and its controllers in virtual time, with a kubelet reduced to what they look at."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

from slipway.cluster.client.client import Client, PatchType
from slipway.cluster.client.informer import Informer
from slipway.cluster.client.objects import Object, is_deleting, name_of, namespace_of, uid_of
from slipway.cluster.client.resources import (
    DEPLOYMENTS,
    EVENTS,
    JOBS,
    LEASES,
    NODES,
    PODS,
    REPLICA_SETS,
    STATEFUL_SETS,
    ApiResource,
)
from slipway.cluster.client.transport import InProcessTransport
from slipway.cluster.controllers.registrations import Settings, registrations
from slipway.cluster.controllers.roles import ensure_policy
from slipway.cluster.controllers.runner import ControllerRunner
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.environment.virtual_time import VirtualTimeLoop, run
from slipway.cluster.exchange import Identity, Request, Response
from slipway.cluster.scheduler.scheduler import Scheduler
from slipway.cluster.status import StatusError


class Kubelet:
    """Runs every pod in virtual time: running after `start_delay`, gone after `stop_delay`.

    `outcome(pod)` may say that a pod ends: ("Succeeded"|"Failed", exit code), or None to run on.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.start_delay = 1.0
        self.stop_delay = 1.0
        self.ready: Callable[[Object], bool] = lambda pod: True
        self.outcome: Callable[[Object], tuple[str, int] | None] = lambda pod: None
        self.alive: set[str] = set()  # nodes that renew their lease
        self._lives: dict[str, asyncio.Task[None]] = {}
        self._addresses: dict[str, int] = {}

    async def run(self) -> None:
        informer = Informer(self.client, PODS)
        informer.add_handler(lambda old, new: self._meet(new) if new else None)
        heart = asyncio.create_task(self._beat())
        try:
            await informer.run()
        finally:
            heart.cancel()
            for life in self._lives.values():
                life.cancel()

    async def _beat(self) -> None:
        while True:
            for name in sorted(self.alive):
                lease = {"metadata": {"name": name, "namespace": "kube-node-lease"}}
                lease["spec"] = {"holderIdentity": name, "renewTime": self.client.clock.micro_timestamp()}
                try:
                    await self.client.patch(LEASES, name, "kube-node-lease", lease)
                except StatusError as error:
                    if error.code != 404:
                        raise
                    await self.client.create(LEASES, lease)
            await asyncio.sleep(30)

    def _meet(self, pod: Object) -> None:
        key = uid_of(pod) + ("/end" if is_deleting(pod) else "")
        if key not in self._lives and (pod["spec"].get("nodeName") or is_deleting(pod)):
            self._lives[key] = asyncio.create_task(self._stop(pod) if is_deleting(pod) else self._start(pod))

    async def _start(self, pod: Object) -> None:
        try:
            await asyncio.sleep(self.start_delay)
            await self.report(pod, "Running", self.ready(pod))
            ending = self.outcome(pod)
            if ending:
                await asyncio.sleep(1)
                await self.report(pod, ending[0], False, ending[1])
        except StatusError as error:
            if error.code not in (404, 409):
                raise

    async def report(self, pod: Object, phase: str, ready: bool, exit_code: int | None = None) -> None:
        address = self._addresses.setdefault(uid_of(pod), len(self._addresses))
        now = self.client.clock.timestamp()
        state: dict[str, Any] = {"running": {"startedAt": now}}
        if exit_code is not None:
            state = {"terminated": {"exitCode": exit_code, "startedAt": now, "finishedAt": now}}
        ip = f"10.1.{address // 250}.{address % 250 + 1}"
        status = {
            "phase": phase,
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": str(ready), "lastTransitionTime": now}],
            "containerStatuses": [
                {
                    "name": container["name"],
                    "image": container.get("image", ""),
                    "imageID": "",
                    "ready": ready,
                    "restartCount": 0,
                    "state": state,
                }
                for container in pod["spec"]["containers"]
            ],
        }
        await self.client.patch(
            PODS,
            name_of(pod),
            namespace_of(pod),
            {"status": status},
            PatchType.STRATEGIC,
            subresource="status",
        )

    async def _stop(self, pod: Object) -> None:
        await asyncio.sleep(self.stop_delay)
        try:
            await self.client.delete(PODS, name_of(pod), namespace_of(pod), grace_period=0, uid=uid_of(pod))
        except StatusError as error:
            if error.code not in (404, 409):
                raise


class World:
    """`api` speaks as an administrator; `writes` are all requests of the controllers that changed something."""

    def __init__(self, cluster: EmbeddedCluster, settings: Settings) -> None:
        self.cluster = cluster
        self.clock = cluster.clock
        self.api = cluster.client()
        self.kubelet = Kubelet(cluster.client())
        self.writes: list[tuple[str, str, str]] = []  # user, method, path
        self._settings = settings
        self._lose_reply_after: int | None = None
        self.controllers = self._new_runner()

        self.scheduler = self._new_scheduler()

    def _new_scheduler(self) -> Scheduler:
        identity = Identity("system:kube-scheduler", ("system:authenticated",))
        return Scheduler(self.connect(identity, "kube-scheduler/v1"), self.controllers.informers, Random(2))

    def _new_runner(self) -> ControllerRunner:
        return ControllerRunner(
            self.connect, registrations(self._settings), clock=self.clock, random=Random(1)
        )

    async def restart_controllers(self) -> None:
        """End them and the scheduler wherever they are, and start new ones that know nothing."""
        await self.scheduler.stop()
        await self.controllers.stop()
        self.controllers = self._new_runner()
        self.scheduler = self._new_scheduler()
        await self.controllers.start()
        await self.scheduler.start()

    def lose_reply(self, writes: int) -> None:
        """After that many more writes of controllers one is done, but they never hear of it."""
        self._lose_reply_after = writes

    async def add_node(self, name: str, labels: dict[str, str] | None = None, **spec: Any) -> None:
        self.kubelet.alive.add(name)
        room = {"cpu": "4", "memory": "8Gi", "pods": "110"}
        meta = {"name": name, "labels": {"kubernetes.io/hostname": name, **(labels or {})}}
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": self.clock.timestamp()}
        await self.api.create(NODES, {"metadata": meta, "spec": spec})
        status = {"capacity": room, "allocatable": room, "conditions": [ready]}
        await self.api.patch(NODES, name, "", {"status": status}, subresource="status")

    def connect(self, identity: Identity, agent: str) -> Client:
        async def recorded(request: Request) -> Response:
            response = await self.cluster.plane.api.handle(request)
            if request.method not in ("GET", "HEAD"):
                self.writes.append((identity.name, request.method, request.path))
                if self._lose_reply_after is not None and "serviceaccount" in identity.name:
                    self._lose_reply_after -= 1
                    if self._lose_reply_after < 0:
                        self._lose_reply_after = None
                        raise ConnectionResetError("the connection is gone")
                if response.status >= 400 and response.status not in (404, 409):
                    body = response.body if isinstance(response.body, bytes) else b""
                    print(identity.name, request.method, request.path, response.status, body.decode())
            elif response.status in (401, 403):
                print(identity.name, request.method, request.path, response.status)
            return response

        return Client(InProcessTransport(recorded, identity), user_agent=agent, clock=self.clock)

    async def create(self, resource: ApiResource, obj: Object) -> Object:
        if resource.namespaced:
            obj.setdefault("metadata", {}).setdefault("namespace", "default")
        return await self.api.create(resource, obj)

    async def get(self, resource: ApiResource, name: str, namespace: str = "default") -> Object:
        return await self.api.get(resource, name, namespace if resource.namespaced else "")

    async def list(
        self, resource: ApiResource, selector: str = "", namespace: str = "default"
    ) -> list[Object]:
        found = await self.api.list(resource, namespace, label_selector=selector)
        items: list[Object] = found["items"]
        return items

    async def merge(self, resource: ApiResource, name: str, change: Any, subresource: str = "") -> Object:
        return await self.api.patch(resource, name, "default", change, subresource=subresource)

    async def until(self, check: Callable[[], Coroutine[Any, Any, Any]], seconds: float = 120) -> Any:
        """Poll in virtual time until `check` gives something true; AssertionError after `seconds`."""
        deadline = self.clock.now() + seconds
        while True:
            try:
                found = await check()
            except StatusError as error:
                if error.code != 404:
                    raise
                found = None
            if found:
                return found
            if self.clock.now() > deadline:
                raise AssertionError(f"not within {seconds} s: {json.dumps(await self.dump(), indent=1)}")
            await asyncio.sleep(0.25)

    async def gone(
        self, resource: ApiResource, name: str, namespace: str = "default", seconds: float = 120
    ) -> None:
        async def check() -> bool:
            try:
                await self.get(resource, name, namespace)
            except StatusError as error:
                return error.code == 404
            return False

        await self.until(check, seconds)

    async def dump(self) -> list[Any]:
        shown: list[Any] = []
        for resource in (DEPLOYMENTS, REPLICA_SETS, STATEFUL_SETS, JOBS, PODS):
            shown += [
                [resource.kind, name_of(item), item["spec"].get("replicas"), item.get("status")]
                for item in (await self.api.list(resource))["items"]
            ]
        shown += [[item["reason"], item["message"]] for item in (await self.api.list(EVENTS))["items"]]
        return shown

    async def quiet(self, seconds: float = 30) -> list[tuple[str, str, str]]:
        """What controllers write during that long when nothing else happens."""
        self.writes.clear()
        await asyncio.sleep(seconds)
        return list(self.writes)


@asynccontextmanager
async def a_world(settings: Settings) -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    options = ClusterOptions(
        nodes=0, listen=False, tls=False, controllers=False, scheduler=False, seed=1,
        service_account_admission=False,
    )  # fmt: skip
    async with EmbeddedCluster(options, loop.clock()) as cluster:
        world = World(cluster, settings)
        await world.add_node("node-1")
        await ensure_policy(world.api)
        await world.controllers.start()
        await world.scheduler.start()
        kubelet = asyncio.create_task(world.kubelet.run())
        try:
            yield world
        finally:
            kubelet.cancel()
            await asyncio.gather(kubelet, return_exceptions=True)
            await world.scheduler.stop()
            await world.controllers.stop()


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., None]:
    """`play(story)` runs `async def story(world)` in virtual time."""

    def play(story: Callable[[World], Coroutine[Any, Any, None]], settings: Settings | None = None) -> None:
        async def main() -> None:
            async with a_world(
                settings or Settings(ca_bundle="CA", volumes_root=tmp_path / "claims")
            ) as world:
                await story(world)

        run(main())

    return play
