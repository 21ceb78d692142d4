"""One pod on its node, from binding to deletion."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from slipway.cluster.client.client import Client
from slipway.cluster.client.events import EventRecorder
from slipway.cluster.client.objects import object_reference
from slipway.cluster.client.resources import PODS
from slipway.cluster.clock import Clock, parse_timestamp
from slipway.cluster.nodes.container import Supervisor
from slipway.cluster.nodes.images import ImageTable
from slipway.cluster.nodes.pod_status import ContainerState, PodState, phase_of, status_of
from slipway.cluster.nodes.runtime import Runtime, RuntimeFailure, Sandbox, SandboxConfig
from slipway.cluster.nodes.variables import Fetch, build
from slipway.cluster.nodes.volumes import VolumeFailure, Volumes
from slipway.cluster.status import StatusError

Object = dict[str, Any]
logger = logging.getLogger(__name__)
REFRESH = 10.0  # seconds between looks at what volumes are made of
MOUNT_RETRY = 2.0


class Cluster(Protocol):
    """What a pod asks of the node agent: objects of its namespace, and facts of the node."""

    def services(self) -> list[Object]: ...
    async def fetch(self, namespace: str, kind: str, name: str) -> Object | None: ...
    async def token(self, pod: Object, source: Object) -> str: ...
    async def claim_path(self, namespace: str, name: str) -> Path | None: ...


@dataclass(frozen=True, slots=True)
class Node:
    """The facts of a node that its pods see."""

    name: str
    address: str
    allocatable: Mapping[str, str]
    folder: Path
    resolver: str = ""


class PodWorker:
    """`run` lives as long as the pod; `update` tells it of changes of the object."""

    def __init__(
        self,
        pod: Object,
        node: Node,
        runtime: Runtime,
        images: ImageTable,
        client: Client,
        recorder: EventRecorder,
        cluster: Cluster,
    ) -> None:
        self.pod = pod
        self.images = images
        self.clock: Clock = client.clock
        self.sandbox: Sandbox
        self.supervisors: dict[str, Supervisor] = {}
        self._node = node
        self._runtime = runtime
        self._client = client
        self._recorder = recorder
        self._cluster = cluster
        self._sandbox: Sandbox | None = None
        self._folder: Path = node.folder / "pods" / str(pod["metadata"]["uid"])
        self._dirty = asyncio.Event()
        self._ending = asyncio.Event()
        self._deadline_passed = False
        spec = pod["spec"]
        self.state = PodState(
            [
                ContainerState(c["name"], c.get("image", ""), reason="PodInitializing")
                for c in spec.get("initContainers") or []
            ],
            [
                ContainerState(
                    c["name"],
                    c.get("image", ""),
                    reason="PodInitializing" if spec.get("initContainers") else "ContainerCreating",
                )
                for c in spec.get("containers") or []
            ],
            sidecars=frozenset(
                c["name"] for c in spec.get("initContainers") or [] if c.get("restartPolicy") == "Always"
            ),
            restart_policy=spec.get("restartPolicy", "Always"),
            host_address=node.address,
            gates=tuple(gate["conditionType"] for gate in spec.get("readinessGates") or []),
        )
        self.volumes = Volumes(
            self._folder / "volumes", self._fetch, self._token, self._claim, node.allocatable
        )

    # What containers ask for (container.Surroundings)

    async def _fetch(self, kind: str, name: str) -> Object | None:
        return await self._cluster.fetch(self.pod["metadata"]["namespace"], kind, name)

    async def _token(self, source: Object) -> str:
        return await self._cluster.token(self.pod, source)

    async def _claim(self, name: str) -> Path | None:
        return await self._cluster.claim_path(self.pod["metadata"]["namespace"], name)

    async def variables(self, container: Object) -> dict[str, str]:
        fetch: Fetch = self._fetch
        shown = {**self.pod, "status": {**(self.pod.get("status") or {}), **self._addresses()}}
        found = await build(shown, container, fetch, self._cluster.services(), self._node.allocatable)
        return {"HOSTNAME": self.pod["spec"].get("hostname") or self.pod["metadata"]["name"], **found}

    def _addresses(self) -> Object:
        address = self._sandbox.address if self._sandbox else ""
        return {
            "podIP": address,
            "podIPs": [{"ip": address}] if address else [],
            "hostIP": self._node.address,
            "hostIPs": [{"ip": self._node.address}],
        }

    def event(self, container: Object | None, kind: str, reason: str, message: str) -> None:
        path = ""
        if container is not None:
            group = next(
                (
                    group
                    for group in ("containers", "initContainers", "ephemeralContainers")
                    if any(c["name"] == container["name"] for c in self.pod["spec"].get(group) or [])
                ),
                "containers",
            )
            path = f"spec.{group}{{{container['name']}}}"
        reference = object_reference({**self.pod, "kind": "Pod", "apiVersion": "v1"})
        if path:
            reference["fieldPath"] = path
        self._recorder.event_for(reference, kind, reason, message)

    def changed(self) -> None:
        self._dirty.set()

    def log_path(self, container: str, run: int) -> Path:
        return self._folder / "logs" / container / f"{run}.log"

    # Life

    def update(self, pod: Object) -> None:
        """The object has changed."""
        self.pod = pod
        if pod["metadata"].get("deletionTimestamp"):
            self._ending.set()
        for spec in pod["spec"].get("ephemeralContainers") or []:
            self._start_ephemeral(spec)
        self._dirty.set()

    async def run(self) -> None:
        """Everything; returns when the pod is gone or has ended for good and is forgotten."""
        reporting = asyncio.create_task(self._report())
        living = asyncio.create_task(self._live())
        try:
            if self.pod["metadata"].get("deletionTimestamp"):
                self._ending.set()
            await self._ending.wait()
            await self._terminate(living)
        finally:
            for task in (living, reporting):
                task.cancel()
            await asyncio.gather(living, reporting, return_exceptions=True)
            for supervisor in self.supervisors.values():
                await supervisor.stop(0)
            if self._sandbox is not None:
                await self._sandbox.remove()

    async def _live(self) -> None:
        try:
            self.state.start_time = (self.pod.get("status") or {}).get("startTime") or self.clock.timestamp()
            self.changed()
            await self._mount()
            await self._create_sandbox()
            async with asyncio.TaskGroup() as tasks:
                deadline = tasks.create_task(self._watch_deadline())
                refreshing = tasks.create_task(self._refresh_volumes())
                if await self._run_init(tasks):
                    mains = [
                        tasks.create_task(supervisor.run())
                        for supervisor in self._supervise(
                            self.pod["spec"]["containers"], self.state.containers
                        )
                    ]
                    await asyncio.gather(*mains)
                    for name in self.state.sidecars:
                        await self.supervisors[name].stop(30)
                deadline.cancel()
                refreshing.cancel()
            self.changed()
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("pod %s/%s", self.pod["metadata"]["namespace"], self.pod["metadata"]["name"])
            raise

    async def _mount(self) -> None:
        while True:
            try:
                await self.volumes.prepare(self.pod)
                return
            except VolumeFailure as error:
                self.event(None, "Warning", "FailedMount", str(error))
                await self.clock.sleep(MOUNT_RETRY)

    async def _create_sandbox(self) -> None:
        metadata, spec = self.pod["metadata"], self.pod["spec"]
        hosts = [
            (entry["ip"], name) for entry in spec.get("hostAliases") or [] for name in entry["hostnames"]
        ]
        config = SandboxConfig(
            metadata["uid"],
            metadata["name"],
            metadata["namespace"],
            spec.get("hostname") or metadata["name"],
            self._folder / "sandbox",
            bool(spec.get("hostNetwork")),
            tuple(hosts),
            self._node.resolver,
        )
        while True:
            try:
                self._sandbox = self.sandbox = await self._runtime.create_sandbox(config)
                break
            except (RuntimeFailure, OSError) as error:
                self.event(
                    None, "Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}"
                )
                await self.clock.sleep(MOUNT_RETRY)
        self.state.address = self._sandbox.address
        self.state.sandbox = True
        self.changed()

    async def _run_init(self, tasks: asyncio.TaskGroup) -> bool:
        """Init containers one after the other; sidecars stay. False when the pod has failed in them."""
        specs = self.pod["spec"].get("initContainers") or []
        for supervisor in self._supervise(specs, self.state.init):
            if supervisor.state.name in self.state.sidecars:
                tasks.create_task(supervisor.run())
                while not supervisor.state.started:
                    await self._next_change()
                continue
            await supervisor.run()
            if supervisor.state.exit_code != 0 or supervisor.state.phase != "terminated":
                return False
            supervisor.state.ready = True
            self.changed()
        return True

    def _supervise(self, specs: list[Object], states: list[ContainerState]) -> list[Supervisor]:
        made = []
        for index, spec in enumerate(specs):
            is_init = states is self.state.init and spec["name"] not in self.state.sidecars
            supervisor = Supervisor(spec, self, self._restarts(is_init, spec))
            supervisor.state.reason = states[index].reason
            states[index] = supervisor.state
            self.supervisors[spec["name"]] = supervisor
            made.append(supervisor)
        return made

    def _restarts(self, is_init: bool, spec: Object) -> Callable[[int], bool]:
        policy = self.state.restart_policy

        def decide(code: int) -> bool:
            if self._ending.is_set() or self.state.failure is not None:
                return False
            if spec["name"] in self.state.sidecars:
                return phase_of(self.state) not in {"Succeeded", "Failed"}
            if is_init:
                return code != 0 and policy != "Never"
            return policy == "Always" or (policy == "OnFailure" and code != 0)

        return decide

    def _start_ephemeral(self, spec: Object) -> None:
        if spec["name"] in self.supervisors or self._sandbox is None:
            return
        supervisor = Supervisor(spec, self, lambda code: False)
        self.supervisors[spec["name"]] = supervisor
        self.state.ephemeral.append(supervisor.state)
        self._ephemeral = asyncio.create_task(supervisor.run())

    async def _next_change(self) -> None:
        await self.clock.sleep(0.02)

    async def _watch_deadline(self) -> None:
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        if seconds is None:
            return
        await self.clock.sleep(parse_timestamp(self.state.start_time) + seconds - self.clock.now())
        self.state.failure = (
            "DeadlineExceeded",
            "Pod was active on the node longer than the specified deadline",
        )
        await self._stop_all(float(self.pod["spec"].get("terminationGracePeriodSeconds", 30)))
        self.changed()

    async def _refresh_volumes(self) -> None:
        while True:
            await self.clock.sleep(REFRESH)
            await self.volumes.refresh(self.pod)

    async def evict(self, reason: str, message: str) -> None:
        """End the pod on behalf of the node."""
        self.state.failure = (reason, message)
        await self._stop_all(float(self.pod["spec"].get("terminationGracePeriodSeconds", 30)))
        self.changed()

    # Ending

    async def _stop_all(self, grace: float) -> None:
        mains = [s for s in self.supervisors.values() if s.state.name not in self.state.sidecars]
        await asyncio.gather(*(supervisor.stop(grace) for supervisor in mains))
        for name in reversed([s.name for s in self.state.init if s.name in self.state.sidecars]):
            if name in self.supervisors:
                await self.supervisors[name].stop(grace)

    async def _terminate(self, living: asyncio.Task[None]) -> None:
        self.state.deleting = True
        metadata = self.pod["metadata"]
        grace = float(metadata.get("deletionGracePeriodSeconds") or 0)
        await self._stop_all(grace)
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
        if self._sandbox is not None:
            await self._sandbox.remove()
            self.state.sandbox = False
        await self._write_status()
        with contextlib.suppress(StatusError):
            await self._client.delete(
                PODS, metadata["name"], metadata["namespace"], grace_period=0, uid=metadata["uid"]
            )
        await asyncio.to_thread(shutil.rmtree, self._folder, True)

    # Reporting

    async def _report(self) -> None:
        """Write the status after every change; many changes at once are one write."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._write_status()
            except StatusError as error:
                if error.code == 404:
                    self._ending.set()
                    return
                logger.warning("status of pod %s: %s", self.pod["metadata"]["name"], error.message)
                await self.clock.sleep(1)
                self._dirty.set()

    async def _write_status(self) -> None:
        metadata = self.pod["metadata"]
        status = status_of(self.state, self.pod, self.clock.timestamp())
        if status == self.pod.get("status"):
            return
        patch = {"metadata": {"uid": metadata["uid"]}, "status": status}
        with contextlib.suppress(KeyError):
            self.pod = await self._client.patch(
                PODS, metadata["name"], metadata["namespace"], patch, subresource="status"
            )
