"""DaemonSets: one pod on each node that wants it. `step` is pure: set, pods, nodes, revisions in, writes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slipway.cluster.client import selectors
from slipway.cluster.client.objects import (
    Key,
    Object,
    annotations_of,
    is_deleting,
    labels_of,
    metadata,
    name_of,
    namespace_of,
    uid_of,
)
from slipway.cluster.client.placement import node_matches, tolerated
from slipway.cluster.client.resources import CONTROLLER_REVISIONS, DAEMON_SETS, NODES, PODS
from slipway.cluster.controllers import pods as podlist
from slipway.cluster.controllers import revisions as history
from slipway.cluster.controllers.controller import Context, Controller, controlled_by, index_by_controller
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.ownership import claim
from slipway.cluster.controllers.rollout import scaled
from slipway.cluster.controllers.writes import Announce, Create, Delete, Plan, Update

GENERATION = "deprecated.daemonset.template.generation"
GENERATION_LABEL = "pod-template-generation"
_FIRST_BACKOFF = 1.0  # seconds before a failed pod of a node is replaced, doubling
_LONGEST_BACKOFF = 900.0

_TOLERATIONS = [
    {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"},
    {"key": "node.kubernetes.io/disk-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/pid-pressure", "operator": "Exists", "effect": "NoSchedule"},
    {"key": "node.kubernetes.io/unschedulable", "operator": "Exists", "effect": "NoSchedule"},
]
_NETWORK = {"key": "node.kubernetes.io/network-unavailable", "operator": "Exists", "effect": "NoSchedule"}


@dataclass(slots=True)
class View:
    """`patience` gives, by node, the seconds until a failed pod there may be replaced."""

    owner: Object
    pods: list[Object]
    nodes: list[Object]
    revisions: list[Object]
    now: float
    patience: Mapping[str, float] = field(default_factory=dict)

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.owner["spec"]
        return spec

    @property
    def min_ready(self) -> int:
        return int(self.spec.get("minReadySeconds") or 0)

    def available(self, pod: Object) -> bool:
        return not is_deleting(pod) and podlist.is_available(pod, self.min_ready, self.now)


def node_of(pod: Object) -> str:
    """Where the pod runs, or where it was made to go."""
    spec = pod["spec"]
    if spec.get("nodeName"):
        return str(spec["nodeName"])
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for wanted in term.get("matchFields") or ():
            if wanted.get("key") == "metadata.name" and wanted.get("values"):
                return str(wanted["values"][0])
    return ""


def tolerations_of(owner: Object) -> list[dict[str, Any]]:
    spec = owner["spec"]["template"]["spec"]
    own = list(spec.get("tolerations") or ())
    added = [*_TOLERATIONS, *([_NETWORK] if spec.get("hostNetwork") else [])]
    return [*own, *(item for item in added if item not in own)]


def wants(owner: Object, node: Object) -> tuple[bool, bool]:
    """Whether a pod should be started on the node, and whether one that is there may stay."""
    spec = owner["spec"]["template"]["spec"]
    named = spec.get("nodeName")
    if (named and named != name_of(node)) or not node_matches(spec, labels_of(node), name_of(node)):
        return False, False
    tolerations = tolerations_of(owner)
    untolerated = {
        taint["effect"]
        for taint in (node.get("spec") or {}).get("taints") or ()
        if not tolerated(taint, tolerations)
    }
    return not untolerated & {"NoSchedule", "NoExecute"}, "NoExecute" not in untolerated


def step(view: View) -> Plan:
    """What to do now."""
    plan = Plan()
    newest = history.newest(
        view.owner,
        view.revisions,
        (view.owner.get("status") or {}).get("collisionCount"),
        history.POD_LABEL,
    )
    if newest.write:
        plan.writes.append(newest.write)
    digest = labels_of(newest.revision).get(history.POD_LABEL, "")
    by_node: dict[str, list[Object]] = {}
    for pod in sorted(view.pods, key=lambda pod: (podlist.created(pod), name_of(pod))):
        by_node.setdefault(node_of(pod), []).append(pod)
    if not is_deleting(view.owner):
        _manage(view, plan, by_node, digest)
        strategy = view.spec.get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") == "RollingUpdate":
            _roll(view, plan, by_node, digest, strategy.get("rollingUpdate") or {})
    status = _status(view, by_node, digest)
    if status != view.owner.get("status"):
        plan.writes.append(Update(DAEMON_SETS, {**view.owner, "status": status}, "status"))
    live = {labels_of(pod).get(history.POD_LABEL, "") for pod in view.pods} | {digest}
    in_use = {name_of(r) for r in view.revisions if labels_of(r).get(history.POD_LABEL) in live}
    limit = view.spec.get("revisionHistoryLimit")
    plan.writes += history.surplus(view.revisions, in_use, 10 if limit is None else int(limit))
    wait = podlist.soonest_available(view.pods, view.min_ready, view.now)
    if wait is not None:
        plan.again_after(wait)
    return plan


def _manage(view: View, plan: Plan, by_node: Mapping[str, list[Object]], digest: str) -> None:
    """A pod where one is missing; none where none should be; one where several are."""
    known = {name_of(node) for node in view.nodes}
    for node in view.nodes:
        name = name_of(node)
        should_run, may_stay = wants(view.owner, node)
        # One that has ended and is being deleted has given up its place, and did not fail: it was told to end.
        pods = [pod for pod in by_node.get(name, []) if not (is_deleting(pod) and _has_ended(pod))]
        if not may_stay:
            for pod in pods:
                _delete(view, plan, pod)
            continue
        failed = [pod for pod in pods if podlist.phase(pod) == "Failed"]
        finished = [pod for pod in pods if podlist.phase(pod) == "Succeeded"]
        running = [pod for pod in pods if pod not in failed and pod not in finished]
        for pod in failed:
            wait = view.patience.get(name, 0.0)
            if wait > 0:
                plan.again_after(wait)
                running.append(pod)  # its place is taken until then
                continue
            text = f"Found failed daemon pod {namespace_of(pod)}/{name_of(pod)} on node {name}, will try to kill it"
            plan.events.append(Announce(view.owner, "FailedDaemonPod", text, "Warning"))
            _delete(view, plan, pod)
        for pod in finished:
            _delete(view, plan, pod)
        if should_run and not pods:
            _create(view, plan, name, digest)
        staying = [pod for pod in running if not is_deleting(pod)]
        if len(staying) > 1 and not _is_surging(view):
            for pod in staying[1:]:
                _delete(view, plan, pod)
    for name, pods in by_node.items():
        if name not in known:
            for pod in pods:
                if not pod["spec"].get("nodeName"):
                    _delete(view, plan, pod)  # made for a node that is gone; the rest is pod GC's


def _has_ended(pod: Object) -> bool:
    return podlist.phase(pod) in {"Failed", "Succeeded"}


def _is_surging(view: View) -> bool:
    rolling = (view.spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
    return rolling.get("maxSurge", 0) not in (0, "0%", None)


def _roll(
    view: View, plan: Plan, by_node: Mapping[str, list[Object]], digest: str, rolling: Mapping[str, Any]
) -> None:
    """Replace pods of older revisions within maxUnavailable, or beside the old ones within maxSurge."""
    nodes = [name_of(node) for node in view.nodes if wants(view.owner, node)[0]]
    surge = scaled(rolling.get("maxSurge") or 0, len(nodes), round_up=True)
    allowed = scaled(rolling.get("maxUnavailable", 0 if surge else 1), len(nodes), round_up=True)
    if surge:
        _surge(view, plan, by_node, digest, nodes, surge)
        return
    unavailable = 0
    candidates = []
    for name in nodes:
        pods = [pod for pod in by_node.get(name, []) if not is_deleting(pod)]
        outdated = [pod for pod in pods if labels_of(pod).get(history.POD_LABEL) != digest]
        if not any(view.available(pod) for pod in pods):
            unavailable += 1
            for pod in outdated:
                if not podlist.is_finished(pod):
                    _delete(view, plan, pod)  # costs nothing: it serves nobody
        else:
            candidates += outdated
    for pod in candidates[: max(0, allowed - unavailable)]:
        _delete(view, plan, pod)


def _surge(
    view: View,
    plan: Plan,
    by_node: Mapping[str, list[Object]],
    digest: str,
    nodes: list[str],
    surge: int,
) -> None:
    running_twice, wanting = 0, []
    for name in nodes:
        pods = [pod for pod in by_node.get(name, []) if not podlist.is_finished(pod)]
        new = [pod for pod in pods if labels_of(pod).get(history.POD_LABEL) == digest]
        old = [pod for pod in pods if pod not in new and not is_deleting(pod)]
        if not old:
            continue
        if any(view.available(pod) for pod in new):
            for pod in old:
                _delete(view, plan, pod)
        elif new:
            running_twice += 1
        elif not any(view.available(pod) for pod in old):
            for pod in old:
                _delete(view, plan, pod)
        else:
            wanting.append(name)
    for name in wanting[: max(0, surge - running_twice)]:
        _create(view, plan, name, digest)


def _create(view: View, plan: Plan, node: str, digest: str) -> None:
    owner = view.owner
    plan.writes.append(
        Create(
            PODS,
            make_pod(owner, node, digest),
            done=Announce(owner, "SuccessfulCreate", "Created pod: {name}"),
            failed=Announce(owner, "FailedCreate", "Error creating: {error}", "Warning"),
        )
    )


def _delete(view: View, plan: Plan, pod: Object) -> None:
    if is_deleting(pod) or any(isinstance(w, Delete) and uid_of(w.obj) == uid_of(pod) for w in plan.writes):
        return
    owner = view.owner
    plan.writes.append(
        Delete(
            PODS,
            pod,
            done=Announce(owner, "SuccessfulDelete", "Deleted pod: {name}"),
            failed=Announce(owner, "FailedDelete", "Error deleting: {error}", "Warning"),
        )
    )


def make_pod(owner: Object, node: str, digest: str) -> Object:
    pod = podlist.from_template(owner["spec"]["template"], owner)
    labels = pod["metadata"].setdefault("labels", {})
    labels[history.POD_LABEL] = digest
    generation = annotations_of(owner).get(GENERATION)
    if generation:
        labels[GENERATION_LABEL] = generation
    pod["spec"]["tolerations"] = tolerations_of(owner)
    # The scheduler places it, as any pod: only on this node.
    affinity = pod["spec"].setdefault("affinity", {})
    field_term = {"key": "metadata.name", "operator": "In", "values": [node]}
    wanted = affinity.setdefault("nodeAffinity", {})
    wanted["requiredDuringSchedulingIgnoredDuringExecution"] = {
        "nodeSelectorTerms": [{"matchFields": [field_term]}]
    }
    return pod


def _status(view: View, by_node: Mapping[str, list[Object]], digest: str) -> dict[str, Any]:
    counts = dict.fromkeys(("desired", "current", "misscheduled", "ready", "updated", "available"), 0)
    for node in view.nodes:
        should_run, _ = wants(view.owner, node)
        pods = [pod for pod in by_node.get(name_of(node), []) if not is_deleting(pod)]
        if not should_run:
            counts["misscheduled"] += bool(pods)
            continue
        counts["desired"] += 1
        if not pods:
            continue
        counts["current"] += 1
        pod = pods[0]
        counts["ready"] += podlist.is_ready(pod)
        counts["available"] += view.available(pod)
        counts["updated"] += labels_of(pod).get(history.POD_LABEL) == digest
    optional = {
        "updatedNumberScheduled": counts["updated"],
        "numberAvailable": counts["available"],
        "numberUnavailable": counts["desired"] - counts["available"],
        "collisionCount": int((view.owner.get("status") or {}).get("collisionCount") or 0),
    }
    status = {
        "currentNumberScheduled": counts["current"],
        "numberMisscheduled": counts["misscheduled"],
        "desiredNumberScheduled": counts["desired"],
        "numberReady": counts["ready"],
        "observedGeneration": metadata(view.owner).get("generation", 0),
        **{name: count for name, count in optional.items() if count},
    }
    kept = (view.owner.get("status") or {}).get("conditions")
    return {**status, "conditions": kept} if kept else status


class DaemonSetController(Controller):
    def __init__(self, context: Context) -> None:
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}  # set's uid and node: how often, when
        super().__init__(context)

    def watch(self) -> None:
        self.owners = self.own_changes(DAEMON_SETS)
        self.pods = self.owned_changes(PODS, DAEMON_SETS)
        self.orphan_changes(PODS, self.owners)
        self.revisions = self.informer(CONTROLLER_REVISIONS)
        index_by_controller(self.revisions)
        self.nodes = self.informer(NODES)
        self.handle(self.nodes, self._node_changed)

    def _node_changed(self, old: Object | None, new: Object | None) -> None:
        def facts(node: Object) -> Any:
            return labels_of(node), (node.get("spec") or {}).get("taints")

        if old is not None and new is not None and facts(old) == facts(new):
            return
        for owner in self.owners.list():
            if old is None or new is None or wants(owner, old) != wants(owner, new):
                self.enqueue(owner)

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        owner = self.owners.get(*key)
        if owner is None:
            return None
        selector = owner["spec"].get("selector")
        if selectors.is_empty(selector):
            text = "This daemon set is selecting all pods. A non-empty selector is required."
            effects.announce(Announce(owner, "SelectingAll", text, "Warning"))
            return None
        candidates = [*controlled_by(self.pods, owner), *self.pods.indexed("orphan", key[0])]
        pods = await claim(effects, DAEMON_SETS, owner, PODS, selector, candidates)
        view = View(
            owner,
            pods,
            sorted(self.nodes.list(), key=name_of),
            controlled_by(self.revisions, owner),
            self.clock.now(),
            self._patience(owner, pods),
        )
        plan = step(view)
        await effects.carry_out(plan)
        return plan.requeue_after

    def _patience(self, owner: Object, pods: list[Object]) -> dict[str, float]:
        """Back-off for nodes whose pod failed; a first failure is replaced at once."""
        now = self.clock.now()
        waits: dict[str, float] = {}
        for pod in pods:
            if podlist.phase(pod) != "Failed" or is_deleting(pod):
                continue
            place = uid_of(owner), node_of(pod)
            tries, last = self._failures.get(place, (0, 0.0))
            wait = last + min(_FIRST_BACKOFF * 2.0**tries, _LONGEST_BACKOFF) - now if tries else 0.0
            if wait > 0:
                waits[place[1]] = wait
            else:
                self._failures[place] = tries + 1, now
        return waits
