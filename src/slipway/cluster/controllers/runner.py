"""Runs the controllers by kube-controller-manager's names; each can be off, slow, paused or somebody else's.

Every controller has a client of its own, as `system:serviceaccount:kube-system:<account>`; all share the
informers of `system:kube-controller-manager`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Protocol

from slipway.cluster.client.client import Client
from slipway.cluster.client.events import EventRecorder
from slipway.cluster.client.informer import InformerFactory
from slipway.cluster.clock import Clock
from slipway.cluster.controllers.controller import Context, Pace
from slipway.cluster.exchange import Identity

logger = logging.getLogger(__name__)

Connect = Callable[[Identity, str], Client]  # identity and user agent in, client out
Replacement = Callable[[Context], Awaitable[None]]

MANAGER = Identity("system:kube-controller-manager", ("system:authenticated",))
_RESTART = 1.0  # seconds before a controller that raised is started again


class Runnable(Protocol):
    async def run(self) -> None:
        """Work until cancelled."""


@dataclass(frozen=True, slots=True)
class Registration:
    """`name` as kube-controller-manager's --controllers takes it; `account` is its service account and
    `component` what its Events call it."""

    name: str
    account: str
    factory: Callable[[Context], Runnable]
    component: str = ""


def service_account(account: str, namespace: str = "kube-system") -> Identity:
    return Identity(
        f"system:serviceaccount:{namespace}:{account}",
        ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"),
    )


@dataclass(slots=True)
class _Running:
    task: asyncio.Task[None]
    client: Client


class ControllerRunner:
    """`agent` is the user agent's first part; managedFields call the writer by it."""

    def __init__(
        self,
        connect: Connect,
        registrations: Iterable[Registration],
        *,
        clock: Clock,
        random: Random,
        off: Iterable[str] = (),
        replaced: Mapping[str, Replacement] | None = None,
        agent: str = "kube-controller-manager/v1.37.0 (linux/amd64) kubernetes/slipway",
    ) -> None:
        self._connect = connect
        self._registrations = {registration.name: registration for registration in registrations}
        self._clock = clock
        self._random = random
        self._agent = agent
        self._replaced = dict(replaced or {})
        self._off = set(off)
        for name in [*self._off, *self._replaced]:
            self._known(name)
        self._paces = {name: Pace(asyncio.Event()) for name in self._registrations}
        for pace in self._paces.values():
            pace.running.set()
        self._running: dict[str, _Running] = {}
        self._started = False
        self._starting: asyncio.Task[None] | None = None
        self.informers = InformerFactory(connect(MANAGER, f"{agent}/shared-informers"))

    @property
    def names(self) -> list[str]:
        return list(self._registrations)

    async def start(self) -> None:
        """Start every controller that is not off; returns at once, they wait for their informers."""
        self._started = True
        self.informers.start()
        self._starting = asyncio.create_task(self._launch_all(), name="controllers, one after another")

    async def _launch_all(self) -> None:
        """One at each turn of the loop, so that who asks the server first does not wait for all of them."""
        for name in self._registrations:
            if name not in self._off and name not in self._running:
                self._launch(name)
                await asyncio.sleep(0)

    async def stop(self) -> None:
        self._started = False
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        await asyncio.gather(*(self._halt(name) for name in list(self._running)))
        await self.informers.stop()
        await self.informers.client.close()

    def pace(self, name: str, delay: float) -> None:
        """Wait that many seconds before each reconcile of this controller."""
        self._known(name)
        self._paces[name].delay = delay

    def pause(self, name: str) -> None:
        """Let it see changes but do nothing until `resume`."""
        self._known(name)
        self._paces[name].running.clear()

    async def replace(self, name: str, replacement: Replacement) -> None:
        """Run `replacement(context)` in place of the built-in controller."""
        self._known(name)
        self._replaced[name] = replacement
        await self._restart(name)

    async def restore(self, name: str) -> None:
        """The built-in controller again."""
        self._known(name)
        self._replaced.pop(name, None)
        await self._restart(name)

    def resume(self, name: str) -> None:
        self._known(name)
        self._paces[name].running.set()

    async def switch_off(self, name: str) -> None:
        self._known(name)
        self._off.add(name)
        await self._halt(name)

    async def switch_on(self, name: str) -> None:
        self._known(name)
        self._off.discard(name)
        if self._started and name not in self._running:
            self._launch(name)

    async def _restart(self, name: str) -> None:
        if name in self._running:
            await self._halt(name)
            self._launch(name)

    def _known(self, name: str) -> None:
        if name not in self._registrations:
            known = ", ".join(sorted(self._registrations))
            raise ValueError(f"there is no controller {name!r}; known are {known}")

    def _launch(self, name: str) -> None:
        registration = self._registrations[name]
        identity = service_account(registration.account)
        client = self._connect(identity, f"{self._agent}/{identity.name}")
        task = asyncio.create_task(self._run(registration, client), name=name)
        self._running[name] = _Running(task, client)

    async def _halt(self, name: str) -> None:
        running = self._running.pop(name, None)
        if running is None:
            return
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)
        await running.client.close()

    async def _run(self, registration: Registration, client: Client) -> None:
        """One controller, started again when it breaks."""
        recorder = EventRecorder(client, registration.component or registration.name)
        context = Context(
            client,
            self.informers,
            recorder,
            self._clock,
            Random(self._random.getrandbits(64)),
            self._paces[registration.name],
        )
        writing = asyncio.create_task(recorder.run(), name=f"{registration.name} events")
        try:
            while True:
                try:
                    replacement = self._replaced.get(registration.name)
                    if replacement is not None:
                        await replacement(context)
                        return
                    await registration.factory(context).run()
                except Exception:
                    logger.exception("%s ended; starting it again", registration.name)
                await self._clock.sleep(_RESTART)
        finally:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
