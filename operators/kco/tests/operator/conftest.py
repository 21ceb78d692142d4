"""A whole operator in virtual time: an API server, applications and replicas on one event loop that jumps.

A replica is an `Operator` whose tasks are counted step by step, so that it can die between any two of them, as a
process does: nothing of it runs any more, no `finally`, no last request; its sockets are closed by the kernel.
kopf, which has a thread and a clock of its own, is replaced by a list and a watch on the same loop.
"""

import asyncio
import contextlib
import contextvars
import itertools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from typing import Any

import pytest

from kco.operator.controller import TARGET_APPS, Controller
from kco.operator.process import Operator
from kco.settings import Settings
from operator_kit.kube.client import EVENTS, KubeClient, Resource
from operator_kit.kube.config import ClusterConfig
from operator_kit.kube.failure import ApiFailure
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.environment.virtual_time import EPOCH, VirtualTimeLoop, run

RUNS = Resource("operator.kco.local", "v1alpha1", "actionruns")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
owner: contextvars.ContextVar["Replica | None"] = contextvars.ContextVar("owner", default=None)


class LoopClock:
    """The loop's time, as the operator's clock."""

    def now(self) -> float:
        return EPOCH + asyncio.get_running_loop().time()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class LoopWatch:
    """What kopf does, on this loop: a list, then a watch from there; begun anew whenever it breaks."""

    def __init__(self, client: KubeClient, namespace: str, controller: Controller) -> None:
        self.ended: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._follow(client, namespace or None, controller), name="watch")

    async def _follow(self, client: KubeClient, namespace: str | None, controller: Controller) -> None:
        while True:
            try:
                listing = await client.list(TARGET_APPS, namespace)
                for body in listing["items"]:
                    controller.observe(body)
                since = listing["metadata"]["resourceVersion"]
                async for kind, body in client.watch(TARGET_APPS, namespace, since=since):
                    if kind == "DELETED":
                        controller.vanished(body["metadata"]["uid"])
                    elif kind != "BOOKMARK":
                        controller.observe(body)
            except ApiFailure:
                await asyncio.sleep(1.0)

    async def stop(self, seconds: float = 10.0) -> None:
        self._task.cancel()


class _Replaced(Operator):
    def _watch(self) -> Any:
        self.watching = LoopWatch(self.client, self.settings.namespace, self.controller)
        return self.watching


class Replica:
    """One operator process that can be killed after any number of steps of its tasks."""

    def __init__(self, world: "World", namespace: str, *, die_at: int | None = None, **changes: Any) -> None:
        given: dict[str, Any] = {
            "namespace": namespace,
            "operator_namespace": namespace,
            "metrics_port": 0,
            "health_port": 0,
            "allowed_networks": ("127.0.0.0/8",),
            **changes,
        }
        self.settings = Settings(**given)
        self.steps = 0
        self.die_at = die_at
        self.dead = False
        self.buried = False
        self.unfinished: set[_Counted] = set()
        self._kernel: list[asyncio.Task[None]] = []
        self._world = world
        token = owner.set(self)
        self.operator = _Replaced(self.settings, world.config, clock=LoopClock(), host="127.0.0.1")
        self.task = asyncio.create_task(self.operator.run(signals=False), name="replica")
        owner.reset(token)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call something of the process; tasks that it starts are the process's own."""
        token = owner.set(self)
        try:
            return function(*arguments)
        finally:
            owner.reset(token)

    def step(self) -> bool:
        """Count a step that is about to be made; False when the process is dead."""
        if self.dead:
            return False
        self.steps += 1
        if self.steps == self.die_at:
            self.kill()
            return False
        return True

    def bury(self) -> None:
        """Take the dead process's coroutines apart while their loop still runs, and unheard: what their `finally`
        asks for is asked of nobody."""
        self.buried = True
        while self.unfinished:
            inner = self.unfinished.pop().inner
            for _ in range(100):
                try:
                    self.call(inner.close)
                    break
                except BaseException:
                    continue  # it waits in a `finally`: go on from there

    def kill(self) -> None:
        """As SIGKILL does: no code of the process runs from now on, its sockets are closed."""
        self.dead = True
        self._world.graves.append(self)
        engine = self.operator.services.engine
        engine._running = False
        if engine._timer is not None:
            engine._timer.cancel()
        for poll, connection in list(engine._flying.items()):
            poll.in_flight = None
            if connection is not None:
                connection.abort("the process is gone")
        engine._pool.close()
        token = owner.set(None)  # the kernel's work, not the process's
        loop = asyncio.get_running_loop()
        session = self.operator.client._session
        if session is not None and session.connector is not None:
            self._kernel.append(loop.create_task(_wait_for(session.connector.close())))
        if self.operator.exposition.ports:
            self._kernel.append(loop.create_task(self.operator.exposition.close()))
        owner.reset(token)

    async def stop(self) -> int:
        self.operator.stop()
        return await self.task


async def _wait_for(work: Awaitable[None]) -> None:
    await work


class _Counted(Coroutine[Any, Any, Any]):
    """A coroutine of a replica: each step is counted, and none is made once the replica is dead."""

    def __init__(self, inner: Coroutine[Any, Any, Any], replica: Replica) -> None:
        self.inner = inner
        self.replica = replica
        replica.unfinished.add(self)

    def send(self, value: Any) -> Any:
        return self._move(self.inner.send, value)

    def throw(self, *failure: Any) -> Any:
        return self._move(self.inner.throw, *failure)

    def _move(self, step: Callable[..., Any], *arguments: Any) -> Any:
        if not self.replica.step():
            return self._never()
        try:
            return step(*arguments)
        except BaseException:
            self.replica.unfinished.discard(self)
            raise

    def _never(self) -> Any:
        if self.replica.buried:
            raise asyncio.CancelledError
        future = asyncio.get_running_loop().create_future()
        future._asyncio_future_blocking = True
        return future

    def close(self) -> None:
        return None

    def __await__(self) -> Generator[Any, Any, Any]:
        raise NotImplementedError


class World:
    """An API server without controllers, applications, and replicas; everything in virtual time."""

    def __init__(self, cluster: EmbeddedCluster, client: KubeClient, until: Callable[..., Any]) -> None:
        self.cluster = cluster
        self._until = until
        self.config = client.config
        self.client = client
        self.graves: list[Replica] = []
        self.down = False
        self.seen: list[tuple[str, str]] = []
        self._names = itertools.count(1)
        self._applications: list[Any] = []

    async def namespace(self) -> str:
        name = f"n{next(self._names)}"
        await self.client.create(
            NAMESPACES, None, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        )
        return name

    async def application(self) -> Any:
        made = sys.modules["kco_graphql_app"].Application()
        await made.start()
        self._applications.append(made)
        return made

    async def make(self, namespace: str, name: str = "app", **spec: Any) -> dict[str, Any]:
        body = {
            "apiVersion": "operator.kco.local/v1alpha1",
            "kind": "TargetApp",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"stateQuery": "{ application { health load } }", "pollingInterval": 5, **spec},
        }
        return await self.client.create(TARGET_APPS, namespace, body)

    async def runs(self, namespace: str) -> list[dict[str, Any]]:
        return list((await self.client.list(RUNS, namespace))["items"])

    async def events(self, namespace: str, reason: str) -> list[dict[str, Any]]:
        items = (await self.client.list(EVENTS, namespace))["items"]
        return [item for item in items if item["reason"] == reason]

    async def until(self, question: Callable[[], Any], seconds: float = 120.0) -> Any:
        """Wait in virtual seconds until a question has a true answer."""
        return await self._until(question, seconds, pause=0.5)

    async def close(self) -> None:
        for application in self._applications:
            await application.stop()


@contextlib.asynccontextmanager
async def _world(install: Callable[..., Any], until: Callable[..., Any]) -> AsyncIterator[World]:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)

    def factory(loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:
        replica = owner.get()
        return asyncio.Task(_Counted(work, replica) if replica is not None else work, loop=loop, **more)

    loop.set_task_factory(factory)
    world: World | None = None

    def hook(handle: Any) -> Any:
        async def through(request: Any) -> Any:
            if world is not None:
                world.seen.append((request.method, request.path))
                if world.down and "/namespaces/default" not in request.path:
                    raise ConnectionError("the API server is away")
            return await handle(request)

        return through

    options = ClusterOptions(
        nodes=0, tls=False, controllers=False, scheduler=False, seed=1, service_account_admission=False
    )
    async with EmbeddedCluster(options, loop.clock(), hook) as cluster:
        config = ClusterConfig(server=cluster.url, token=cluster.admin_token)
        async with KubeClient(config, user_agent="test") as client:
            await install(client)
            world = World(cluster, client, until)
            yield world
            world.down = False
            await world.close()
            for replica in world.graves:
                replica.bury()


@pytest.fixture
def in_virtual_time(install_crds: Callable[..., Any], until: Callable[..., Any]) -> Callable[..., None]:
    """Play a story (an async function of a World) in virtual time."""

    def play(story: Callable[[World], Coroutine[Any, Any, None]]) -> None:
        async def main() -> None:
            async with _world(install_crds, until) as world:
                await story(world)

        run(main())

    return play


@pytest.fixture
def replica() -> type[Replica]:
    return Replica
