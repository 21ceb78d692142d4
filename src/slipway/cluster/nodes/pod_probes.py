"""The probes and hooks of one running container: asked in their period, acted upon at their thresholds."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from slipway.cluster.exchange import Duplex
from slipway.cluster.kubelet import Session
from slipway.cluster.nodes.pod_state import ContainerState, Kind, Object, Phase
from slipway.cluster.nodes.probes import Tally, Target, ask

if TYPE_CHECKING:
    from slipway.cluster.nodes.pod_worker import PodWorker

_NAMES = {"startupProbe": "Startup", "livenessProbe": "Liveness", "readinessProbe": "Readiness"}


class ContainerProbes:
    """Started with each run of the container, stopped at its end."""

    __slots__ = ("_container", "_spec", "_tasks", "_worker")

    def __init__(self, worker: PodWorker, container: ContainerState, spec: Object) -> None:
        self._worker = worker
        self._container = container
        self._spec = spec
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        if self._spec.get("startupProbe"):
            self._container.started = self._container.ready = False
            self._begin(self._watch("startupProbe"))
        else:
            self._has_started()

    def stop(self) -> list[asyncio.Task[None]]:
        """Ask no more; the tasks, which have yet to notice that they are cancelled."""
        for task in self._tasks:
            task.cancel()
        return self._tasks

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    def _has_started(self) -> None:
        self._container.started = True
        probed = self._spec.get("readinessProbe")
        self._container.ready = not probed and self._container.kind is not Kind.EPHEMERAL
        if probed:
            self._begin(self._watch("readinessProbe"))
        if self._spec.get("livenessProbe"):
            self._begin(self._watch("livenessProbe"))

    async def _watch(self, kind: str) -> None:
        probe = self._spec[kind]
        clock = self._worker.around.clock
        target = target_of(self._worker, self._container, self._spec)
        tally = Tally(int(probe.get("successThreshold") or 1), int(probe.get("failureThreshold") or 3))
        await clock.sleep(float(probe.get("initialDelaySeconds") or 0))
        period = float(probe.get("periodSeconds") or 10)
        while self._container.phase is Phase.RUNNING:
            began = clock.now()
            good, message = await ask(probe, target)
            if not good:
                text = f"{_NAMES[kind]} probe failed: {message}"
                self._worker.event("Warning", "Unhealthy", text, self._container)
            if tally.note(good) and self._act(kind, good):
                return
            await clock.sleep(period - (clock.now() - began))

    def _act(self, kind: str, good: bool) -> bool:
        """Apply a verdict; True when this probe has nothing more to do."""
        container = self._container
        if kind == "readinessProbe":
            if container.ready != good:
                container.ready = good
                self._worker.changed()
            return False
        if good:
            if kind == "startupProbe":
                self._has_started()
                self._worker.changed()
                return True
            return False
        name = _NAMES[kind].lower()
        container.unhealthy = f"Container {container.name} failed {name} probe, will be restarted"
        self._worker.changed()
        return True


def target_of(worker: PodWorker, container: ContainerState, spec: Object) -> Target:
    runtime, sandbox = worker.around.runtime, worker.state.sandbox
    assert sandbox is not None

    async def execute(command: list[str]) -> Session:
        return await runtime.exec(container.id, command, stdin=False, tty=False)

    async def connect(host: str, port: int) -> Duplex:
        return await runtime.connect(sandbox.id, port, host)

    ports = {row["name"]: row["containerPort"] for row in spec.get("ports") or () if row.get("name")}
    return Target(sandbox.address, ports, execute, connect, encrypted=runtime.real)


async def run_hook(
    worker: PodWorker, container: ContainerState, hook: Object, timeout: float | None
) -> tuple[bool, str]:
    """Run a postStart or preStop hook; `timeout` seconds are the most it may take."""
    if "sleep" in hook:
        seconds = float(hook["sleep"].get("seconds") or 0)
        await worker.around.clock.sleep(seconds if timeout is None else min(seconds, timeout))
        return True, ""
    spec = next(
        row
        for field in ("containers", "initContainers", "ephemeralContainers")
        for row in worker.pod["spec"].get(field) or ()
        if row["name"] == container.name
    )
    probe = {**hook, "timeoutSeconds": timeout if timeout is not None else 3600.0}
    return await ask(probe, target_of(worker, container, spec))
