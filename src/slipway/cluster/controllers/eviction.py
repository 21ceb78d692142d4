"""Pods that must leave their node: evicted by NoExecute taints, or left over from a node that is gone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from slipway.cluster.client.objects import Key, Object, is_deleting, metadata, name_of, namespace_of
from slipway.cluster.client.placement import tolerates
from slipway.cluster.client.resources import NODES, PODS
from slipway.cluster.clock import parse_timestamp
from slipway.cluster.controllers import pods as podlist
from slipway.cluster.controllers.controller import Context, Controller
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.writes import Announce, Delete, Patch
from slipway.cluster.status import StatusError

_SWEEP: Key = ("", "sweep")
_SWEEP_PERIOD = 20.0  # seconds
_QUARANTINE = 40.0  # seconds for which a missing node may come back
_MOST_FINISHED = 12_500  # finished pods kept, --terminated-pod-gc-threshold


def stay(
    taints: Iterable[Mapping[str, Any]], tolerations: Iterable[Mapping[str, Any]], now: float
) -> float | None:
    """How many more seconds the pod may stay: None for ever, 0 or less for no longer."""
    left: float | None = None
    for taint in taints:
        if taint.get("effect") != "NoExecute":
            continue
        matching = [toleration for toleration in tolerations if tolerates(toleration, taint)]
        if not matching:
            return 0.0
        limits = [int(t["tolerationSeconds"]) for t in matching if t.get("tolerationSeconds") is not None]
        if limits:
            since = parse_timestamp(taint["timeAdded"]) if taint.get("timeAdded") else now
            until = since + max(0, min(limits)) - now
            left = until if left is None else min(left, until)
    return left


class TaintEvictionController(Controller):
    """Keys are pods. One that leaves because of a taint says so in its DisruptionTarget condition."""

    def __init__(self, context: Context) -> None:
        self._leaving: dict[Key, float] = {}  # when a pod's time is over
        super().__init__(context)

    def watch(self) -> None:
        self.nodes = self.informer(NODES)
        self.pods = self.informer(PODS)
        self.pods.add_index("node", lambda pod: (str(pod["spec"].get("nodeName") or ""),))
        self.handle(self.nodes, self._node_changed)
        self.handle(self.pods, self._pod_changed)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        before, now = _no_execute(old), _no_execute(new)
        if new is not None and before != now:
            for pod in self.pods.indexed("node", name_of(new)):
                self.enqueue(pod)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        if new is None:
            self._leaving.pop((namespace_of(old or {}), name_of(old or {})), None)
        elif old is None or old["spec"] != new["spec"]:
            node = self.nodes.get("", str(new["spec"].get("nodeName") or ""))
            if _no_execute(node):
                self.enqueue(new)

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        pod = self.pods.get(*key)
        if pod is None or is_deleting(pod) or podlist.is_finished(pod):
            self._leaving.pop(key, None)
            return None
        node = self.nodes.get("", str(pod["spec"].get("nodeName") or ""))
        now = self.clock.now()
        left = stay(_no_execute(node), pod["spec"].get("tolerations") or (), now)
        subject = f"Pod {key[0]}/{key[1]}"
        if left is None:
            if self._leaving.pop(key, None) is not None:
                text = f"Cancelling deletion of {subject}"
                effects.announce(Announce(PODS.typed(pod), "TaintManagerEviction", text))
            return None
        if left > 0:
            self._leaving[key] = now + left
            return left
        self._leaving.pop(key, None)
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": self.clock.timestamp(),
        }
        await effects.do(
            Patch(PODS, key[0], key[1], {"status": {"conditions": [condition]}}, subresource="status")
        )
        effects.announce(Announce(PODS.typed(pod), "TaintManagerEviction", f"Marking for deletion {subject}"))
        await effects.do(Delete(PODS, pod))
        return None


def _no_execute(node: Object | None) -> list[dict[str, Any]]:
    taints = ((node or {}).get("spec") or {}).get("taints") or ()
    return [taint for taint in taints if taint.get("effect") == "NoExecute"]


class PodGarbageCollector(Controller):
    """Sweeps every now and then: pods of nodes that are gone, and finished pods when there are too many."""

    workers: ClassVar[int] = 1

    def __init__(self, context: Context) -> None:
        self._missing: dict[str, float] = {}  # since when a node has been missing
        super().__init__(context)

    def watch(self) -> None:
        self.nodes = self.informer(NODES)
        self.pods = self.informer(PODS)

    async def prepare(self) -> None:
        self.queue.add(_SWEEP)

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        now = self.clock.now()
        pods = self.pods.list()
        places = {str(pod["spec"].get("nodeName") or "") for pod in pods} - {""}
        missing = {place for place in places if self.nodes.get("", place) is None}
        self._missing = {place: self._missing.get(place, now) for place in missing}
        gone = {place for place, since in self._missing.items() if now - since >= _QUARANTINE}
        for pod in pods:
            place = str(pod["spec"].get("nodeName") or "")
            if place in gone:
                await self._fail_and_delete(pod, effects)
            elif not place and is_deleting(pod):
                await effects.do(Delete(PODS, pod, grace_period=0))
        finished = [pod for pod in pods if podlist.is_finished(pod) and not is_deleting(pod)]
        finished.sort(key=lambda pod: (podlist.created(pod), name_of(pod)))
        for pod in finished[: max(0, len(finished) - _MOST_FINISHED)]:
            await effects.do(Delete(PODS, pod, grace_period=0))
        return _SWEEP_PERIOD

    async def _fail_and_delete(self, pod: Object, effects: Effects) -> None:
        if not podlist.is_finished(pod):
            condition = {
                "type": "DisruptionTarget",
                "status": "True",
                "reason": "DeletionByPodGC",
                "message": "PodGC: node no longer exists",
                "lastTransitionTime": self.clock.timestamp(),
            }
            body = {
                "metadata": {"uid": metadata(pod).get("uid")},
                "status": {"phase": "Failed", "conditions": [condition]},
            }
            try:
                await effects.do(Patch(PODS, namespace_of(pod), name_of(pod), body, subresource="status"))
            except StatusError as error:
                if error.code != 404:
                    raise
        await effects.do(Delete(PODS, pod, grace_period=0))
