"""StatefulSets: pods with a number, a name and storage of their own, brought up and down in order.

`step` is pure: the set, its pods, revisions and claims in, writes out. With OrderedReady each pass does one
thing and waits for it; with Parallel it does everything that it may.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slipway.cluster.client.objects import (
    Key,
    Object,
    clone,
    is_deleting,
    labels_of,
    metadata,
    name_of,
    namespace_of,
    uid_of,
)
from slipway.cluster.client.resources import (
    CONTROLLER_REVISIONS,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    STATEFUL_SETS,
)
from slipway.cluster.controllers import pods as podlist
from slipway.cluster.controllers import revisions as history
from slipway.cluster.controllers.controller import Controller, controlled_by, index_by_controller
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.ownership import claim
from slipway.cluster.controllers.rollout import replicas, scaled
from slipway.cluster.controllers.writes import Announce, Create, Delete, Plan, Update
from slipway.cluster.status import StatusError

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"
_ORDINAL = re.compile(r"(.*)-(\d+)")


@dataclass(slots=True)
class View:
    """A StatefulSet and what belongs to it. `claims` are all of its namespace, by name."""

    owner: Object
    pods: list[Object]
    revisions: list[Object]
    claims: Mapping[str, Object]
    now: float
    by_ordinal: dict[int, Object] = field(default_factory=dict)

    @property
    def spec(self) -> dict[str, Any]:
        spec: dict[str, Any] = self.owner["spec"]
        return spec

    @property
    def ordinals(self) -> range:
        start = int((self.spec.get("ordinals") or {}).get("start") or 0)
        return range(start, start + replicas(self.owner))

    @property
    def min_ready(self) -> int:
        return int(self.spec.get("minReadySeconds") or 0)

    @property
    def parallel(self) -> bool:
        return self.spec.get("podManagementPolicy") == "Parallel"

    def healthy(self, pod: Object) -> bool:
        return (
            podlist.phase(pod) == "Running"
            and not is_deleting(pod)
            and podlist.is_available(pod, self.min_ready, self.now)
        )


def ordinal_of(owner: Object, pod: Object) -> int:
    """The pod's number; -1 when its name is not one that this set gives."""
    found = _ORDINAL.fullmatch(name_of(pod))
    return int(found[2]) if found and found[1] == name_of(owner) else -1


def step(view: View) -> Plan:
    """What to do now; the write of the status is last."""
    plan = Plan()
    collisions = (view.owner.get("status") or {}).get("collisionCount")
    newest = history.newest(view.owner, view.revisions, collisions)
    if newest.write:
        plan.writes.append(newest.write)
    update = newest.revision
    recorded = (view.owner.get("status") or {}).get("currentRevision")
    current = next((r for r in view.revisions if name_of(r) == recorded), update)
    view.by_ordinal = {ordinal_of(view.owner, pod): pod for pod in view.pods}
    if not is_deleting(view.owner):
        _Pass(view, plan, current, update).run()
    status = _status(view, current, update)
    if status != view.owner.get("status"):
        plan.writes.append(Update(STATEFUL_SETS, {**view.owner, "status": status}, "status"))
    live = {name_of(current), name_of(update)}
    live |= {labels_of(pod).get(history.POD_LABEL, "") for pod in view.pods}
    limit = view.spec.get("revisionHistoryLimit")
    plan.writes += history.surplus(view.revisions, live, 10 if limit is None else int(limit))
    wait = podlist.soonest_available(view.pods, view.min_ready, view.now)
    if wait is not None:
        plan.again_after(wait)
    return plan


class _Pass:
    """One pass over the pods of a set, in their order."""

    def __init__(self, view: View, plan: Plan, current: Object, update: Object) -> None:
        self.view, self.plan = view, plan
        self.current, self.update = current, update
        self.acted = False  # created, deleted or met something to wait for

    def run(self) -> None:
        view = self.view
        for ordinal in view.ordinals:
            if self._bring_up(ordinal) and not view.parallel:
                return
        condemned = sorted((n for n in view.by_ordinal if n not in view.ordinals and n >= 0), reverse=True)
        for ordinal in condemned:
            if self._bring_down(ordinal) and not view.parallel:
                return
        strategy = view.spec.get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") == "RollingUpdate" and not self.acted:
            self._roll(strategy.get("rollingUpdate") or {})

    def _bring_up(self, ordinal: int) -> bool:
        """Whether the next pod has to wait for this one."""
        view = self.view
        pod = view.by_ordinal.get(ordinal)
        if pod is None:
            self._create(ordinal)
            return True
        if podlist.is_finished(pod):
            if not is_deleting(pod):
                self._delete(pod)
            return True
        if podlist.phase(pod) == "Pending" and not is_deleting(pod):
            self._create_claims(ordinal, pod)
        self._own_claims(ordinal, pod, condemned=False)
        return not view.healthy(pod)

    def _bring_down(self, ordinal: int) -> bool:
        """Whether the next pod has to wait for this one to go."""
        view, pod = self.view, self.view.by_ordinal[ordinal]
        if is_deleting(pod):
            return True
        if not view.healthy(pod) and not view.parallel:
            # Scaling down does not go on while another pod is unhealthy, unless it is this very one.
            others = [p for n, p in view.by_ordinal.items() if n != ordinal and not view.healthy(p)]
            if any(ordinal_of(view.owner, p) < ordinal for p in others):
                return True
        self._own_claims(ordinal, pod, condemned=True)
        self._delete(pod)
        return True

    def _roll(self, rolling: Mapping[str, Any]) -> None:
        """Replace pods of older revisions from the highest number down, at most so many unavailable."""
        view = self.view
        first = view.ordinals.start + int(rolling.get("partition") or 0)
        allowed = max(1, scaled(rolling.get("maxUnavailable", 1), replicas(view.owner), round_up=True))
        targets = [n for n in reversed(view.ordinals) if n >= first and n in view.by_ordinal]
        unavailable = sum(not view.healthy(view.by_ordinal[n]) for n in view.ordinals if n in view.by_ordinal)
        for ordinal in targets:
            pod = view.by_ordinal[ordinal]
            outdated = labels_of(pod).get(history.POD_LABEL) != name_of(self.update)
            if outdated and not is_deleting(pod):
                if not view.healthy(pod):
                    self._delete(pod)  # it is unavailable already: replacing it costs nothing
                elif unavailable < allowed:
                    unavailable += 1
                    self._delete(pod)
                else:
                    return
            elif not view.healthy(pod) and unavailable >= allowed:
                return

    # -- writes ------------------------------------------------------------------------------------------------

    def _create(self, ordinal: int) -> None:
        self.acted = True
        owner = self.view.owner
        pod = make_pod(owner, self._revision_for(ordinal), ordinal)
        self._create_claims(ordinal, pod)
        subject = f"Pod {name_of(pod)} in StatefulSet {name_of(owner)}"
        self.plan.writes.append(
            Create(
                PODS,
                pod,
                done=Announce(owner, "SuccessfulCreate", f"create {subject} successful"),
                failed=Announce(
                    owner, "FailedCreate", f"create {subject} failed error: {{error}}", "Warning"
                ),
            )
        )

    def _revision_for(self, ordinal: int) -> Object:
        strategy = self.view.spec.get("updateStrategy") or {}
        if strategy.get("type", "RollingUpdate") != "RollingUpdate":
            return self.update
        partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
        return self.current if ordinal < self.view.ordinals.start + partition else self.update

    def _delete(self, pod: Object) -> None:
        self.acted = True
        owner = self.view.owner
        subject = f"Pod {name_of(pod)} in StatefulSet {name_of(owner)}"
        self.plan.writes.append(
            Delete(
                PODS,
                pod,
                done=Announce(owner, "SuccessfulDelete", f"delete {subject} successful"),
                failed=Announce(
                    owner, "FailedDelete", f"delete {subject} failed error: {{error}}", "Warning"
                ),
            )
        )

    def _create_claims(self, ordinal: int, pod: Object) -> None:
        owner = self.view.owner
        for template in self.view.spec.get("volumeClaimTemplates") or ():
            name = claim_name(owner, template, ordinal)
            if name in self.view.claims:
                continue
            made: Object = {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {
                    **{k: clone(v) for k, v in metadata(template).items() if k in ("labels", "annotations")},
                    "name": name,
                    "namespace": namespace_of(owner),
                },
                "spec": clone(template["spec"]),
            }
            selected = (self.view.spec.get("selector") or {}).get("matchLabels") or {}
            made["metadata"]["labels"] = {**(made["metadata"].get("labels") or {}), **selected}
            references = _claim_owners(owner, pod, condemned=False)
            if references:
                made["metadata"]["ownerReferences"] = references
            subject = f"Claim {name} Pod {name_of(pod)} in StatefulSet {name_of(owner)}"
            self.plan.writes.append(
                Create(
                    PERSISTENT_VOLUME_CLAIMS,
                    made,
                    done=Announce(owner, "SuccessfulCreate", f"create {subject} success"),
                    failed=Announce(
                        owner, "FailedCreate", f"create {subject} failed error: {{error}}", "Warning"
                    ),
                )
            )

    def _own_claims(self, ordinal: int, pod: Object, *, condemned: bool) -> None:
        """Make the claims' owners what the retention policy asks for."""
        owner = self.view.owner
        for template in self.view.spec.get("volumeClaimTemplates") or ():
            known = self.view.claims.get(claim_name(owner, template, ordinal))
            if known is None:
                continue
            ours = {uid_of(owner), uid_of(pod)}
            before = metadata(known).get("ownerReferences") or []
            foreign = [ref for ref in before if ref["uid"] not in ours]
            wanted = foreign + _claim_owners(owner, pod, condemned=condemned)
            if wanted != before:
                changed = clone(known)
                changed["metadata"]["ownerReferences"] = wanted
                self.plan.writes.append(Update(PERSISTENT_VOLUME_CLAIMS, changed))


def claim_name(owner: Object, template: Object, ordinal: int) -> str:
    return f"{name_of(template)}-{name_of(owner)}-{ordinal}"


def make_pod(owner: Object, revision: Object, ordinal: int) -> Object:
    name = f"{name_of(owner)}-{ordinal}"
    pod = podlist.from_template(history.template_of(revision), owner, name=name)
    labels = pod["metadata"].setdefault("labels", {})
    labels[POD_NAME_LABEL] = name
    labels[POD_INDEX_LABEL] = str(ordinal)
    labels[history.POD_LABEL] = name_of(revision)
    pod["spec"]["hostname"] = name
    pod["spec"]["subdomain"] = owner["spec"].get("serviceName") or ""
    if not pod["spec"]["subdomain"]:
        del pod["spec"]["subdomain"]
    templates = owner["spec"].get("volumeClaimTemplates") or ()
    if templates:
        claimed = [
            {
                "name": name_of(template),
                "persistentVolumeClaim": {"claimName": claim_name(owner, template, ordinal)},
            }
            for template in templates
        ]
        names = {volume["name"] for volume in claimed}
        others = [volume for volume in pod["spec"].get("volumes") or () if volume["name"] not in names]
        pod["spec"]["volumes"] = [*claimed, *others]
    return pod


def _claim_owners(owner: Object, pod: Object, *, condemned: bool) -> list[dict[str, Any]]:
    policy = owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    holder: Object | None = None
    if condemned and policy.get("whenScaled") == "Delete" and uid_of(pod):
        holder = {"apiVersion": "v1", "kind": "Pod", **pod}
    elif not condemned and policy.get("whenDeleted") == "Delete":
        holder = owner
    if holder is None:
        return []
    return [
        {
            "apiVersion": holder["apiVersion"],
            "kind": holder["kind"],
            "name": name_of(holder),
            "uid": uid_of(holder),
            "controller": True,
        }
    ]


def _status(view: View, current: Object, update: Object) -> dict[str, Any]:
    existing = [pod for number, pod in view.by_ordinal.items() if number >= 0]
    running = [pod for pod in existing if not is_deleting(pod)]

    def of(revision: Object) -> int:
        return sum(labels_of(pod).get(history.POD_LABEL) == name_of(revision) for pod in running)

    ready = sum(podlist.phase(pod) == "Running" and podlist.is_ready(pod) for pod in existing)
    counts = {
        "readyReplicas": ready,
        "currentReplicas": of(current),
        "updatedReplicas": of(update),
    }
    wanted = replicas(view.owner)
    finished = counts["updatedReplicas"] == wanted == ready == len(existing)
    if finished:
        current = update
        counts["currentReplicas"] = counts["updatedReplicas"]
    status: dict[str, Any] = {
        "observedGeneration": metadata(view.owner).get("generation", 0),
        "replicas": len(existing),
        **{name: count for name, count in counts.items() if count},
        "currentRevision": name_of(current),
        "updateRevision": name_of(update),
        "collisionCount": (view.owner.get("status") or {}).get("collisionCount") or 0,
        "availableReplicas": sum(view.healthy(pod) for pod in existing),
    }
    kept = (view.owner.get("status") or {}).get("conditions")
    if kept:
        status["conditions"] = kept
    return status


class StatefulSetController(Controller):
    def watch(self) -> None:
        self.owners = self.own_changes(STATEFUL_SETS)
        self.pods = self.owned_changes(PODS, STATEFUL_SETS)
        self.orphan_changes(PODS, self.owners)
        self.revisions = self.informer(CONTROLLER_REVISIONS)
        index_by_controller(self.revisions)
        self.claims = self.informer(PERSISTENT_VOLUME_CLAIMS)

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        owner = self.owners.get(*key)
        if owner is None:
            return None
        candidates = [*controlled_by(self.pods, owner), *self.pods.indexed("orphan", key[0])]
        pods = await claim(
            effects,
            STATEFUL_SETS,
            owner,
            PODS,
            owner["spec"].get("selector"),
            candidates,
            lambda pod: ordinal_of(owner, pod) >= 0,
        )
        claims = {}
        if owner["spec"].get("volumeClaimTemplates"):
            claims = {name_of(item): item for item in self.claims.list(key[0])}
        revisions = controlled_by(self.revisions, owner)
        plan = step(View(owner, pods, revisions, claims, self.clock.now()))
        try:
            await effects.carry_out(plan)
        except StatusError as error:
            if error.reason == "AlreadyExists" and (error.details or {}).get("kind") == "controllerrevisions":
                status = clone(owner.get("status") or {"replicas": 0})
                status["collisionCount"] = int(status.get("collisionCount") or 0) + 1
                await effects.do(Update(STATEFUL_SETS, {**owner, "status": status}, "status"))
            raise
        return plan.requeue_after
