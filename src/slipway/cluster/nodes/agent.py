"""One node: registers it, keeps its lease and status fresh, and gives each of its pods a worker."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from slipway.cluster.client.client import PatchType
from slipway.cluster.client.informer import Informer
from slipway.cluster.client.objects import is_deleting, key_of, uid_of
from slipway.cluster.client.resources import LEASES, NODES, PODS
from slipway.cluster.nodes.node_object import NodeFacts, node_object, node_status
from slipway.cluster.nodes.pod_admission import Occupancy, Rejection
from slipway.cluster.nodes.surroundings import Surroundings
from slipway.cluster.status import StatusError

if TYPE_CHECKING:
    from slipway.cluster.nodes.pod_worker import PodWorker

logger = logging.getLogger(__name__)

Object = dict[str, Any]
LEASE_SECONDS = 40
_RENEW = 10.0  # seconds; a quarter of the lease, as kubelet
_STATUS = 300.0  # kubelet's nodeStatusReportFrequency
_STORAGE = 10.0  # kubelet's evictionMonitoringPeriod
_RETRY = 1.0


class NodeAgent:
    def __init__(self, around: Surroundings, facts: NodeFacts) -> None:
        self.around = around
        self.facts = facts
        self.workers: dict[str, PodWorker] = {}  # by uid
        self._pods = Informer(around.client, PODS, field_selector=f"spec.nodeName={facts.name}")
        self._tasks: list[asyncio.Task[None]] = []
        self._node: Object = {}
        self._occupancy = Occupancy()
        self._trouble = ""  # of the runtime, as last reported

    async def start(self) -> None:
        """Register the node; pods are taken up in the background."""
        await self._register()
        self._pods.add_handler(self._pod_changed)
        self._begin(self.around.recorder.run())
        self._begin(self._pods.run())
        self._begin(self._for_ever(self._heartbeat, _RENEW))
        self._begin(self._for_ever(self._report_status, _STATUS, first=_STATUS))
        self._begin(self._for_ever(self._check_storage, _STORAGE))
        self._event("Normal", "Starting", "Starting kubelet.")
        self.around.runtime.listeners.append(self)

    async def stop(self) -> None:
        if self in self.around.runtime.listeners:
            self.around.runtime.listeners.remove(self)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        await asyncio.gather(*(worker.close() for worker in self.workers.values()))
        self.workers.clear()

    def worker(self, namespace: str, name: str) -> PodWorker | None:
        for worker in self.workers.values():
            if key_of(worker.pod) == (namespace, name):
                return worker
        return None

    def files_changed(self, kind: str, namespace: str, name: str) -> None:
        """A ConfigMap, Secret or ClusterTrustBundle has changed: pods that show it are brought up to date."""
        for worker in self.workers.values():
            if namespace in ("", worker.pod["metadata"]["namespace"]) and _shows(worker.pod, kind, name):
                worker.refresh_files()

    def runtime_lost(self, why: str) -> None:
        """What ran of the node's pods is gone, and nothing can run for a while."""
        self._event("Warning", "ContainerRuntimeDied", why)
        self._event("Normal", "NodeNotReady", f"Node {self.facts.name} status is now: NodeNotReady")
        self._report_soon()
        for worker in list(self.workers.values()):
            worker.sandbox_lost()

    def runtime_back(self) -> None:
        self._event("Normal", "NodeReady", f"Node {self.facts.name} status is now: NodeReady")
        self._report_soon()
        for worker in list(self.workers.values()):
            worker.runtime_back()

    def _report_soon(self) -> None:
        """Not to be waited for: a heartbeat makes up for a report that fails."""
        self._tasks = [task for task in self._tasks if not task.done()]
        self._begin(self._report_if_possible())

    async def _report_if_possible(self) -> None:
        try:
            await self._report_status()
        except (StatusError, OSError) as error:
            logger.debug("node %s: %s", self.facts.name, error)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        worker = self.workers.get(uid_of(pod))
        self._count(old, new)
        if old is not None and new is not None and uid_of(old) != uid_of(new):
            self._withdraw(uid_of(old))  # deleted and created anew between two lists
        if new is None:
            self._withdraw(uid_of(pod))
        elif worker is not None:
            worker.update(new)
        elif not (is_deleting(new) and _over(new)):
            from slipway.cluster.nodes.pod_worker import PodWorker  # a cluster starts without pods

            self.workers[uid_of(new)] = PodWorker(self.around, new, self._admit, self._gone)

    def _count(self, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or uid_of(old) != uid_of(new)):
            self._occupancy.release(uid_of(old))
        if new is None:
            return
        if _over(new):
            self._occupancy.release(uid_of(new))
        elif self._occupancy.has(uid_of(new)) or (new.get("status") or {}).get("startTime"):
            self._occupancy.take(new)  # resized, or taken by the agent that was here before

    async def _admit(self, pod: Object) -> Rejection | None:
        """Whether there is room for the pod; the node is read anew before it is turned away."""
        rejection = self._occupancy.admit(pod, self._node)
        if rejection is not None:
            self._node = await self.around.client.get(NODES, self.facts.name)
            worker = self.workers.get(uid_of(pod))
            if worker is None or worker.state.withdrawn:
                return None  # it has left in the meantime
            rejection = self._occupancy.admit(pod, self._node)
        return rejection

    def _withdraw(self, uid: str) -> None:
        worker = self.workers.get(uid)
        if worker is not None:
            worker.withdraw()

    def _gone(self, worker: PodWorker) -> None:
        self.workers.pop(uid_of(worker.pod), None)

    async def _register(self) -> None:
        node = node_object(self.facts)
        try:
            self._node = await self.around.client.create(NODES, node)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            labels = {"metadata": {"labels": node["metadata"]["labels"]}}
            self._node = await self.around.client.patch(NODES, self.facts.name, "", labels)
        await self._report_status()
        await self._renew_lease()

    async def _heartbeat(self) -> None:
        if self._trouble != self.around.runtime.trouble():
            await self._report_status()
        await self._renew_lease()

    async def _report_status(self) -> None:
        now = self.around.clock.timestamp()
        before = self._node.get("status") or {}
        trouble = self.around.runtime.trouble()
        status = node_status(self.facts, now, before, self.around.images.names(), trouble)
        self._node = await self.around.client.patch(
            NODES, self.facts.name, "", {"status": status}, PatchType.STRATEGIC, subresource="status"
        )
        self._trouble = trouble

    async def _check_storage(self) -> None:
        for worker in list(self.workers.values()):
            await worker.check_storage()

    async def _renew_lease(self) -> None:
        client, name = self.around.client, self.facts.name
        now = self.around.clock.micro_timestamp()
        try:
            await client.patch(LEASES, name, "kube-node-lease", {"spec": {"renewTime": now}})
            return
        except StatusError as error:
            if error.code != 404:
                raise
        owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid_of(self._node)}
        lease = {
            "metadata": {"name": name, "namespace": "kube-node-lease", "ownerReferences": [owner]},
            "spec": {"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now},
        }
        await client.create(LEASES, lease)

    async def _for_ever(
        self, work: Callable[[], Coroutine[Any, Any, None]], period: float, first: float = 0.0
    ) -> None:
        await self.around.clock.sleep(first or period)
        while True:
            try:
                await work()
                pause = period
            except (StatusError, OSError) as error:
                logger.debug("node %s: %s", self.facts.name, error)
                pause = _RETRY
            await self.around.clock.sleep(pause)

    def _event(self, kind: str, reason: str, message: str) -> None:
        name = self.facts.name
        reference = {"kind": "Node", "name": name, "uid": name}
        self.around.recorder.event_for(reference, kind, reason, message)


def _over(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _shows(pod: Object, kind: str, name: str) -> bool:
    if kind == "ClusterTrustBundle":  # which ones a pod shows depends on their labels: it looks itself
        volumes = pod["spec"].get("volumes") or ()
        sources = [row for volume in volumes for row in (volume.get("projected") or {}).get("sources") or ()]
        return any("clusterTrustBundle" in source for source in sources)
    field, by = ("configMap", "name") if kind == "ConfigMap" else ("secret", "secretName")
    for volume in pod["spec"].get("volumes") or ():
        if (volume.get(field) or {}).get(by) == name:
            return True
        for source in (volume.get("projected") or {}).get("sources") or ():
            if (source.get(field) or {}).get("name") == name:
                return True
    return False
