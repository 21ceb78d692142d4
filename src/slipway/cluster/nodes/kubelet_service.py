"""The agent as the API server sees it: logs, exec, attach, port-forward, stats of the pods of one node."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Any

from slipway.cluster.exchange import Duplex
from slipway.cluster.kubelet import LogOptions, Session, StreamError
from slipway.cluster.nodes.agent import NodeAgent
from slipway.cluster.nodes.logs import read_log
from slipway.cluster.nodes.pod_state import ContainerState, Phase
from slipway.cluster.nodes.runtime import RuntimeFailure

if TYPE_CHECKING:
    from slipway.cluster.nodes.pod_worker import PodWorker


class KubeletService:
    """Implements `slipway.cluster.kubelet.Kubelet`."""

    def __init__(self, agent: NodeAgent) -> None:
        self._agent = agent
        self._used: dict[str, tuple[float, float]] = {}  # container: when, CPU seconds then

    async def logs(
        self, namespace: str, pod: str, container: str, options: LogOptions
    ) -> AsyncIterator[bytes]:
        worker, state = self._container(namespace, pod, container)
        attempt, ended = state.restarts, worker.ended(container)
        if options.previous:
            before = _previous_attempt(state)
            if before is None:
                text = f'previous terminated container "{container}" in pod "{pod}" not found'
                raise StreamError(400, text)
            attempt = before
            ended = asyncio.Event()
            ended.set()
        elif not state.id:
            reason = state.waiting[0] or "ContainerCreating"
            why = "trying and failing to pull image" if reason in _PULLING else reason
            raise StreamError(400, f'container "{container}" in pod "{pod}" is waiting to start: {why}')
        elif state.phase is not Phase.RUNNING:
            ended = asyncio.Event()
            ended.set()
        path = worker.around.log(worker.pod, container, attempt)
        if not path.exists():
            return
        async for data in read_log(path, options, ended):
            yield data

    async def exec(
        self, namespace: str, pod: str, container: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> Session:
        worker, state = self._running(namespace, pod, container)
        try:
            return await worker.around.runtime.exec(state.id, command, stdin=stdin, tty=tty)
        except RuntimeFailure as error:
            raise StreamError(500, error.message) from None

    async def attach(self, namespace: str, pod: str, container: str, *, stdin: bool, tty: bool) -> Session:
        worker, state = self._running(namespace, pod, container)
        try:
            return await worker.around.runtime.attach(state.id, stdin=stdin, tty=tty)
        except RuntimeFailure as error:
            raise StreamError(500, error.message) from None

    async def port_forward(self, namespace: str, pod: str, port: int) -> Duplex:
        worker = self._pod(namespace, pod)
        if worker.state.sandbox is None or worker.state.torn_down:
            raise StreamError(500, f'pod "{pod}" is not running')
        try:
            return await worker.around.runtime.connect(worker.state.sandbox.id, port)
        except OSError as error:
            id = worker.state.sandbox.id
            raise StreamError(
                500,
                f"error forwarding port {port} to pod {id}, uid : failed to connect to localhost:{port} inside"
                f' namespace "{id}": dial tcp4 127.0.0.1:{port}: connect: {(error.strerror or str(error)).lower()}',
            ) from None

    async def reach_pod(self, namespace: str, pod: str, port: int) -> Duplex:
        worker = self._pod(namespace, pod)
        if worker.state.sandbox is None or worker.state.torn_down:
            raise StreamError(503, f'pod "{pod}" is not running')
        return await worker.around.runtime.reach(worker.state.sandbox, port)

    async def reach_node(self, port: int) -> Duplex:
        return await self._agent.around.runtime.reach_node(self._agent.facts.name, port)

    async def stats(self) -> dict[str, Any]:
        """`node` and `pods`: CPU in cores since the last call, `seconds` ago; memory in bytes."""
        pods, running = [], set()
        for worker in list(self._agent.workers.values()):
            states = [one for one in worker.state.containers.values() if one.phase is Phase.RUNNING]
            running |= {one.id for one in states}
            containers = [{"name": one.name, **await self._usage(worker, one)} for one in states]
            if containers:
                meta = worker.pod["metadata"]
                pods.append({"namespace": meta["namespace"], "name": meta["name"], "containers": containers})
        self._used = {id: last for id, last in self._used.items() if id in running}
        rows = [row for pod in pods for row in pod["containers"]]
        total = {"cpu": sum(row["cpu"] for row in rows), "memory": sum(row["memory"] for row in rows)}
        return {"node": {"name": self._agent.facts.name, **total}, "pods": pods}

    async def _usage(self, worker: PodWorker, state: ContainerState) -> dict[str, float]:
        try:
            used, memory = await worker.around.runtime.usage(state.id)
        except RuntimeFailure:
            return {"cpu": 0.0, "memory": 0, "seconds": 0.0}
        now = worker.around.clock.now()
        since, before = self._used.get(state.id, (state.started_at, 0.0))
        self._used[state.id] = (now, used)
        seconds = max(now - since, 0.001)
        return {"cpu": max(0.0, used - before) / seconds, "memory": memory, "seconds": seconds}

    def _pod(self, namespace: str, pod: str) -> PodWorker:
        worker = self._agent.worker(namespace, pod)
        if worker is None:
            raise StreamError(404, f'pod "{pod}" is not on node "{self._agent.facts.name}"')
        return worker

    def _container(self, namespace: str, pod: str, container: str) -> tuple[PodWorker, ContainerState]:
        worker = self._pod(namespace, pod)
        state = worker.state.containers.get(container)
        if state is None:
            raise StreamError(400, f"container {container} is not valid for pod {pod}")
        return worker, state

    def _running(self, namespace: str, pod: str, container: str) -> tuple[PodWorker, ContainerState]:
        worker, state = self._container(namespace, pod, container)
        if state.phase is not Phase.RUNNING:
            raise StreamError(500, f'unable to upgrade connection: container not found ("{container}")')
        return worker, state


_PULLING = ("ErrImagePull", "ImagePullBackOff")


def _previous_attempt(state: ContainerState) -> int | None:
    """The number of the run before the present one, if there was one."""
    if state.phase is Phase.RUNNING or state.phase is Phase.EXITED:
        return state.restarts - 1 if state.previous is not None and state.restarts else None
    return state.restarts if state.ended is not None else None
