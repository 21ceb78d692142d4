"""The scheduler: takes waiting pods, most important first, decides, and binds.

A pod that fits nowhere waits until something changes that could help it (a node, a pod that leaves, a volume),
and at least as long as its back-off. `ledger` holds what is where, `decision` decides.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from itertools import count
from random import Random
from typing import Any

from slipway.cluster.client.client import Client, PatchType
from slipway.cluster.client.events import EventRecorder
from slipway.cluster.client.informer import Informer, InformerFactory
from slipway.cluster.client.objects import (
    Key,
    Object,
    annotations_of,
    condition_of,
    is_deleting,
    key_of,
    labels_of,
    metadata,
    name_of,
    namespace_of,
    uid_of,
)
from slipway.cluster.client.resources import (
    NAMESPACES,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    POD_DISRUPTION_BUDGETS,
    PODS,
    STORAGE_CLASSES,
    ApiResource,
)
from slipway.cluster.client.selectors import matches
from slipway.cluster.client.storage import SELECTED_NODE, is_bound
from slipway.cluster.scheduler.decision import Decision, Question, decide
from slipway.cluster.scheduler.ledger import Ledger, PodInfo
from slipway.cluster.scheduler.volumes import VolumeView, claim_names
from slipway.cluster.status import StatusError

logger = logging.getLogger(__name__)

NAME = "default-scheduler"
_FIRST_BACKOFF = 1.0  # seconds; as podInitialBackoffSeconds and podMaxBackoffSeconds
_LONGEST_BACKOFF = 10.0
_VOLUMES_TIMEOUT = 600.0


class Scheduler:
    """Schedules pods whose schedulerName is `name`."""

    def __init__(
        self, client: Client, informers: InformerFactory, random: Random, *, name: str = NAME
    ) -> None:
        self.ledger = Ledger()
        self.running = asyncio.Event()  # cleared to pause
        self.running.set()
        self.delay = 0.0  # seconds before each decision
        self._name = name
        self._client = client
        self._clock = client.clock
        self._random = random
        self._recorder = EventRecorder(client, name)
        self._informers = informers
        self._order: list[tuple[int, float, int, Key]] = []  # heap: priority, since when, tie, pod
        self._ready: set[Key] = set()
        self._sequence = count()
        self._awake = asyncio.Event()
        self._failures: dict[Key, tuple[int, float]] = {}  # how often, when last
        self._stuck: set[Key] = set()  # wait for something to change
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._binding: dict[str, asyncio.Task[None]] = {}  # by uid
        self._used: list[Informer] = []
        self._removals: list[Any] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self.run(), name=self._name)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def run(self) -> None:
        """Schedule until cancelled."""
        writing = asyncio.create_task(self._recorder.run(), name=f"{self._name} events")
        try:
            self._watch()
            for informer in self._used:
                await informer.wait_synced()
            while True:
                key = await self._next()
                await self.running.wait()
                if self.delay:
                    await self._clock.sleep(self.delay)
                await self._schedule(key)
        finally:
            for remove in self._removals:
                remove()
            for timer in self._timers.values():
                timer.cancel()
            tasks = [*self._binding.values(), writing]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    # -- what is where -----------------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._handle(NAMESPACES, self._namespace_changed)
        self._handle(NODES, self._node_changed)
        for resource in (PERSISTENT_VOLUMES, PERSISTENT_VOLUME_CLAIMS, STORAGE_CLASSES):
            self._handle(resource, lambda old, new: self._wake_stuck())
        self._handle(POD_DISRUPTION_BUDGETS, lambda old, new: None)
        self._handle(PODS, self._pod_changed)

    def _handle(self, resource: ApiResource, handler: Any) -> None:
        informer = self._informers.informer(resource)
        self._used.append(informer)
        self._removals.append(informer.add_handler(handler))

    def _namespace_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self.ledger.namespaces.pop(name_of(old or {}), None)
        else:
            self.ledger.namespaces[name_of(new)] = labels_of(new)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self.ledger.drop_node(name_of(old or {}))
            return
        self.ledger.put_node(new)
        if old is None or _placement_facts(old) != _placement_facts(new):
            self._wake_stuck()

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        pod = new or old or {}
        uid, node = uid_of(pod), pod["spec"].get("nodeName")
        finished = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        if new is None or finished:
            self._forget(key_of(pod), uid)
            if self.ledger.place_of(uid):
                self.ledger.take_away(uid)
                self._wake_stuck()
            return
        if node:
            known = self.ledger.place_of(uid)
            self.ledger.place(PodInfo(new), node)
            if known != node:
                self._forget(key_of(pod), "")
                self._wake_stuck()  # affinity to it may be what another pod waits for
            return
        nominated = (new.get("status") or {}).get("nominatedNodeName")
        if nominated and uid not in self._binding:
            self.ledger.nominated[uid] = nominated, PodInfo(new)
        if self._is_ours(new) and (old is None or _wishes(old) != _wishes(new)):
            self._add(key_of(new))

    def _is_ours(self, pod: Object) -> bool:
        return (
            pod["spec"].get("schedulerName", NAME) == self._name
            and not pod["spec"].get("nodeName")
            and not pod["spec"].get("schedulingGates")
            and not is_deleting(pod)
            and uid_of(pod) not in self._binding
        )

    # -- the queue ---------------------------------------------------------------------------------------------

    def _add(self, key: Key) -> None:
        self._stuck.discard(key)
        pod = self._informers.informer(PODS).get(*key)
        if pod is None or key in self._ready:
            return
        self._ready.add(key)
        since = self._failures.get(key, (0, 0.0))[1]
        priority = int(pod["spec"].get("priority") or 0)
        heapq.heappush(self._order, (-priority, since, next(self._sequence), key))
        self._awake.set()

    async def _next(self) -> Key:
        while not self._order:
            self._awake.clear()
            await self._awake.wait()
        key = heapq.heappop(self._order)[3]
        self._ready.discard(key)
        return key

    def _forget(self, key: Key, uid: str) -> None:
        self._stuck.discard(key)
        self._failures.pop(key, None)
        timer = self._timers.pop(key, None)
        if timer:
            timer.cancel()
        self.ledger.nominated.pop(uid, None)

    def _wake_stuck(self) -> None:
        """Something changed: every waiting pod tries again when its back-off is over."""
        now = self._clock.now()
        for key in sorted(self._stuck):
            tries, last = self._failures.get(key, (1, now))
            wait = last + min(_FIRST_BACKOFF * 2.0 ** (tries - 1), _LONGEST_BACKOFF) - now
            if wait <= 0:
                self._add(key)
            elif key not in self._timers:
                self._timers[key] = asyncio.get_running_loop().call_later(wait, self._again, key)

    def _again(self, key: Key) -> None:
        self._timers.pop(key, None)
        if key in self._stuck:
            self._add(key)

    # -- one pod -----------------------------------------------------------------------------------------------

    async def _schedule(self, key: Key) -> None:
        pod = self._informers.informer(PODS).get(*key)
        if pod is None:
            self._forget(key, "")
            return
        if not self._is_ours(pod):
            return
        info = PodInfo(pod)
        view = self._volumes(info)
        refused = view.refusal_everywhere(info)
        question = Question(info, self.ledger, self._random, view.refusal, refused, self._protected())
        decision = decide(question)
        if decision.node:
            self.ledger.place(info, decision.node)
            self._binding[info.uid] = asyncio.create_task(
                self._bind(info, decision.node, view.waiting), name=f"bind {info.namespace}/{info.name}"
            )
            return
        await self._give_up(key, info, decision)

    def _volumes(self, info: PodInfo) -> VolumeView:
        if not claim_names(info):
            return VolumeView({}, {}, {})
        claims = self._informers.informer(PERSISTENT_VOLUME_CLAIMS).list(info.namespace)
        volumes = self._informers.informer(PERSISTENT_VOLUMES).list()
        classes = self._informers.informer(STORAGE_CLASSES).list()
        return VolumeView(
            {name_of(item): item for item in claims},
            {name_of(item): item for item in volumes},
            {name_of(item): item for item in classes},
        )

    def _protected(self) -> frozenset[str]:
        """Pods whose budget allows no disruption now."""
        budgets = [
            budget
            for budget in self._informers.informer(POD_DISRUPTION_BUDGETS).list()
            if not (budget.get("status") or {}).get("disruptionsAllowed")
        ]
        if not budgets:
            return frozenset()
        return frozenset(
            info.uid
            for _, info in self.ledger.all_pods()
            for budget in budgets
            if namespace_of(budget) == info.namespace and matches(budget["spec"].get("selector"), info.labels)
        )

    async def _bind(self, info: PodInfo, node: str, waiting: list[Object]) -> None:
        try:
            await self._bind_volumes(waiting, node)
            await self._client.create(
                PODS,
                {
                    "apiVersion": "v1",
                    "kind": "Binding",
                    "metadata": {"name": info.name, "namespace": info.namespace, "uid": info.uid},
                    "target": {"kind": "Node", "name": node},
                },
                namespace=info.namespace,
                name=info.name,
                subresource="binding",
            )
        except (StatusError, OSError, TimeoutError) as error:
            logger.debug("binding %s/%s to %s failed: %s", info.namespace, info.name, node, error)
            if (self._informers.informer(PODS).get(info.namespace, info.name) or {}).get("spec", {}).get(
                "nodeName"
            ) is None:
                self.ledger.take_away(info.uid)
            self._retry((info.namespace, info.name))
        else:
            text = f"Successfully assigned {info.namespace}/{info.name} to {node}"
            self._recorder.event(info.pod, "Normal", "Scheduled", text)
        finally:
            self._binding.pop(info.uid, None)

    async def _bind_volumes(self, claims: list[Object], node: str) -> None:
        """Say where the claims are wanted, and wait until each has its volume."""
        informer = self._informers.informer(PERSISTENT_VOLUME_CLAIMS)
        for claim in claims:
            if annotations_of(claim).get(SELECTED_NODE) != node:
                change = {"metadata": {"annotations": {SELECTED_NODE: node}}}
                await self._client.patch(
                    PERSISTENT_VOLUME_CLAIMS, name_of(claim), namespace_of(claim), change, PatchType.MERGE
                )
        pending = {key_of(claim) for claim in claims}
        if not pending:
            return
        done = asyncio.Event()

        def changed(old: Object | None, new: Object | None) -> None:
            if new is not None and is_bound(new):
                pending.discard(key_of(new))
                if not pending:
                    done.set()

        remove = informer.add_handler(changed)
        try:
            async with asyncio.timeout(_VOLUMES_TIMEOUT):
                await done.wait()
        finally:
            remove()

    def _retry(self, key: Key) -> None:
        tries = self._failures.get(key, (0, 0.0))[0] + 1
        self._failures[key] = tries, self._clock.now()
        self._stuck.add(key)
        wait = min(_FIRST_BACKOFF * 2.0 ** (tries - 1), _LONGEST_BACKOFF)
        if key not in self._timers:
            self._timers[key] = asyncio.get_running_loop().call_later(wait, self._again, key)

    async def _give_up(self, key: Key, info: PodInfo, decision: Decision) -> None:
        tries = self._failures.get(key, (0, 0.0))[0] + 1
        self._failures[key] = tries, self._clock.now()
        self._stuck.add(key)
        self._recorder.event(info.pod, "Warning", "FailedScheduling", decision.message)
        try:
            if decision.nominated:
                self.ledger.nominated[info.uid] = decision.nominated, info
            for victim in decision.victims:
                await self._evict(victim, info, decision.nominated)
            await self._tell(info, decision)
        except (StatusError, OSError) as error:
            logger.debug("%s/%s: %s", info.namespace, info.name, error)

    async def _evict(self, victim: PodInfo, preemptor: PodInfo, node: str) -> None:
        known = metadata(victim.pod).get("deletionTimestamp")
        if known:
            return
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": f"{self._name}: preempting to accommodate a higher priority pod",
            "lastTransitionTime": self._clock.timestamp(),
        }
        try:
            await self._client.patch(
                PODS,
                victim.name,
                victim.namespace,
                {"status": {"conditions": [condition]}},
                PatchType.STRATEGIC,
                subresource="status",
            )
            await self._client.delete(PODS, victim.name, victim.namespace, uid=victim.uid)
        except StatusError as error:
            if error.code != 404:
                raise
        text = f"Preempted by pod {preemptor.uid} on node {node}"
        self._recorder.event(victim.pod, "Normal", "Preempted", text)

    async def _tell(self, info: PodInfo, decision: Decision) -> None:
        """Write the PodScheduled condition and the nominated node, if they say something new."""
        known = condition_of(info.pod, "PodScheduled") or {}
        status = info.pod.get("status") or {}
        nominated = decision.nominated or status.get("nominatedNodeName", "")
        same = (known.get("reason"), known.get("message")) == ("Unschedulable", decision.message)
        if same and nominated == status.get("nominatedNodeName", ""):
            return
        stamp = self._clock.timestamp()
        if known.get("status") == "False" and known.get("lastTransitionTime"):
            stamp = known["lastTransitionTime"]
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": decision.message,
            "lastProbeTime": None,
            "lastTransitionTime": stamp,
        }
        change: dict[str, Any] = {"conditions": [condition]}
        if nominated:
            change["nominatedNodeName"] = nominated
        await self._client.patch(
            PODS, info.name, info.namespace, {"status": change}, PatchType.STRATEGIC, subresource="status"
        )


def _wishes(pod: Object) -> tuple[Any, ...]:
    """What, when it changes, makes a waiting pod worth another try."""
    return labels_of(pod), {k: v for k, v in pod["spec"].items() if k != "nodeName"}, is_deleting(pod)


def _placement_facts(node: Object) -> tuple[Any, ...]:
    status, spec = node.get("status") or {}, node.get("spec") or {}
    return (
        labels_of(node),
        spec.get("taints"),
        spec.get("unschedulable"),
        status.get("allocatable"),
        status.get("capacity"),
    )
