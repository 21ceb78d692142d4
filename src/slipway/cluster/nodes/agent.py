"""A node: registers itself, runs the pods bound to it, and is the API server's way to their streams."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from slipway.cluster.client.client import Client
from slipway.cluster.client.events import EventRecorder
from slipway.cluster.client.informer import Informer
from slipway.cluster.client.resources import (
    CONFIG_MAPS,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)
from slipway.cluster.exchange import Duplex
from slipway.cluster.kubelet import LogOptions, Session, StreamError
from slipway.cluster.nodes.images import ImageTable
from slipway.cluster.nodes.logs import read
from slipway.cluster.nodes.pod_worker import Node, PodWorker
from slipway.cluster.nodes.registration import Registration, host_capacity
from slipway.cluster.nodes.runtime import Container, Runtime
from slipway.cluster.status import StatusError

logger = logging.getLogger(__name__)
Object = dict[str, Any]
STATUS_INTERVAL, LEASE_INTERVAL = 60.0, 10.0
_KINDS = {"configmaps": CONFIG_MAPS, "secrets": SECRETS}


class NodeAgent:
    """One node's kubelet. `start` returns when the Node is registered and ready."""

    def __init__(
        self,
        name: str,
        client: Client,
        runtime: Runtime,
        images: ImageTable,
        folder: Path,
        *,
        address: str = "127.0.0.1",
        version: str = "1.37",
        capacity: dict[str, str] | None = None,
        resolver: str = "",
    ) -> None:
        self.name = name
        self._client = client
        self._runtime = runtime
        self._images = images
        self._capacity = capacity or host_capacity()
        self._node = Node(name, address, self._capacity, folder, resolver)
        self._registration = Registration(client, name, address, self._capacity, runtime.name, version)
        self._recorder = EventRecorder(client, "kubelet", host=name)
        self._pods = Informer(client, PODS, field_selector=f"spec.nodeName={name}")
        self._services = Informer(client, SERVICES)
        self._workers: dict[str, PodWorker] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        await self._registration.register()
        await self._registration.renew_lease()
        self._pods.add_handler(self._pod_changed)
        for work in (
            self._recorder.run(),
            self._services.run(),
            self._pods.run(),
            self._every(STATUS_INTERVAL, self._registration.heartbeat),
            self._every(LEASE_INTERVAL, self._registration.renew_lease),
        ):
            self._tasks.append(asyncio.create_task(work))
        await self._services.wait_synced()
        await self._pods.wait_synced()

    async def stop(self) -> None:
        """End every pod's processes; the objects stay."""
        for task in [*self._tasks, *self._running.values()]:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._running.values(), return_exceptions=True)
        await self._runtime.close()
        await self._client.close()

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._client.clock.sleep(seconds)
            try:
                await work()
            except (StatusError, OSError) as error:
                logger.warning("node %s: %s", self.name, error)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        uid = pod["metadata"]["uid"]
        worker = self._workers.get(uid)
        if new is None:
            task = self._running.get(uid)
            if task is not None and worker is not None:
                worker.update({**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "gone"}})
            return
        if worker is not None:
            worker.update(new)
            return
        if (new.get("status") or {}).get("phase") in {"Succeeded", "Failed"} and not new["metadata"].get(
            "deletionTimestamp"
        ):
            return
        worker = PodWorker(new, self._node, self._runtime, self._images, self._client, self._recorder, self)
        self._workers[uid] = worker
        self._running[uid] = asyncio.create_task(self._run(uid, worker))

    async def _run(self, uid: str, worker: PodWorker) -> None:
        try:
            await worker.run()
        except Exception:
            logger.exception("pod %s", worker.pod["metadata"]["name"])
        finally:
            self._workers.pop(uid, None)
            self._running.pop(uid, None)

    # What pods ask for (pod_worker.Cluster)

    def services(self) -> list[Object]:
        return self._services.list()

    async def fetch(self, namespace: str, kind: str, name: str) -> Object | None:
        try:
            return await self._client.get(_KINDS[kind], name, namespace)
        except StatusError as error:
            if error.code == 404:
                return None
            raise

    async def token(self, pod: Object, source: Object) -> str:
        metadata = pod["metadata"]
        bound = {"kind": "Pod", "apiVersion": "v1", "name": metadata["name"], "uid": metadata["uid"]}
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [source["audience"]] if source.get("audience") else [],
                "expirationSeconds": source.get("expirationSeconds", 3600),
                "boundObjectRef": bound,
            },
        }
        account = pod["spec"].get("serviceAccountName") or "default"
        answer = await self._client.create(
            SERVICE_ACCOUNTS, request, namespace=metadata["namespace"], name=account, subresource="token"
        )
        return str(answer["status"]["token"])

    async def claim_path(self, namespace: str, name: str) -> Path | None:
        try:
            claim = await self._client.get(PERSISTENT_VOLUME_CLAIMS, name, namespace)
            volume_name = claim["spec"].get("volumeName")
            if not volume_name or (claim.get("status") or {}).get("phase") != "Bound":
                return None
            volume = await self._client.get(PERSISTENT_VOLUMES, volume_name)
        except StatusError as error:
            if error.code == 404:
                return None
            raise
        source = volume["spec"].get("hostPath") or volume["spec"].get("local") or {}
        return Path(source["path"]) if source.get("path") else None

    # kubelet.Kubelet

    def _worker(self, namespace: str, pod: str) -> PodWorker:
        for worker in self._workers.values():
            metadata = worker.pod["metadata"]
            if (metadata["namespace"], metadata["name"]) == (namespace, pod):
                return worker
        raise StreamError(404, f'pods "{pod}" not found on node {self.name}')

    def _running_container(self, namespace: str, pod: str, container: str) -> Container:
        supervisor = self._worker(namespace, pod).supervisors.get(container)
        if supervisor is None or supervisor.running is None:
            raise StreamError(500, f'unable to upgrade connection: container not found ("{container}")')
        return supervisor.running

    def logs(self, namespace: str, pod: str, container: str, options: LogOptions) -> AsyncIterator[bytes]:
        worker = self._worker(namespace, pod)
        supervisor = worker.supervisors.get(container)
        if supervisor is None:
            raise StreamError(
                400, f'container "{container}" in pod "{pod}" is waiting to start: ContainerCreating'
            )
        state = supervisor.state
        run = state.restarts
        if options.previous:
            if run == 0:
                raise StreamError(
                    400, f'previous terminated container "{container}" in pod "{pod}" not found'
                )
            run -= 1
        elif state.phase == "waiting" and not state.last:
            raise StreamError(
                400, f'container "{container}" in pod "{pod}" is waiting to start: {state.reason}'
            )
        path = worker.log_path(container, run)
        return read(
            path, options, lambda: supervisor.state.restarts == run and supervisor.running is not None
        )

    async def exec(
        self, namespace: str, pod: str, container: str, command: Sequence[str], *, stdin: bool, tty: bool
    ) -> Session:
        return await self._running_container(namespace, pod, container).exec(command, stdin=stdin, tty=tty)

    async def attach(self, namespace: str, pod: str, container: str, *, stdin: bool, tty: bool) -> Session:
        return await self._running_container(namespace, pod, container).attach(stdin=stdin, tty=tty)

    async def port_forward(self, namespace: str, pod: str, port: int) -> Duplex:
        worker = self._worker(namespace, pod)
        if not worker.state.sandbox:
            raise StreamError(500, f'pod "{pod}" is not running')
        try:
            return await worker.sandbox.connect(port)
        except OSError as error:
            raise StreamError(500, f"failed to connect to port {port} of pod {pod}: {error}") from None

    async def stats(self) -> dict[str, Any]:
        return await self._runtime.stats()
