"""A Deployment as its controller sees it, and what its status says: counts, availability, progress.

Pure: `deployment` decides what to do, then `finish` adds the write of the status, if there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slipway.cluster.client.objects import Object, annotations_of, metadata, name_of, uid_of
from slipway.cluster.client.resources import DEPLOYMENTS
from slipway.cluster.clock import parse_timestamp
from slipway.cluster.controllers import conditions as conds
from slipway.cluster.controllers import rollout
from slipway.cluster.controllers.rollout import observed, replicas
from slipway.cluster.controllers.writes import Plan, Update

TIMED_OUT = "ProgressDeadlineExceeded"
COMPLETE = "NewReplicaSetAvailable"


@dataclass(slots=True)
class View:
    """A Deployment and what belongs to it, at one moment."""

    deployment: Object
    sets: list[Object]
    pods: Mapping[str, list[Object]]  # by the ReplicaSet's uid; only Recreate asks
    now: float
    timestamp: str
    conditions: conds.Conditions = field(init=False)
    new: Object | None = field(init=False)  # the set that has the Deployment's template
    old: list[Object] = field(init=False)
    active_old: list[Object] = field(init=False)

    def __post_init__(self) -> None:
        self.conditions = [dict(c) for c in (self.deployment.get("status") or {}).get("conditions") or ()]
        self.new = rollout.new_set_of(self.deployment, self.sets)
        self.old = [rs for rs in self.sets if self.new is None or uid_of(rs) != uid_of(self.new)]
        self.active_old = [rs for rs in self.old if replicas(rs) > 0]

    @property
    def has_deadline(self) -> bool:
        deadline = self.deployment["spec"].get("progressDeadlineSeconds")
        return deadline is not None and deadline != 2**31 - 1

    def condition(self, type: str, status: str, reason: str, message: str) -> dict[str, Any]:
        return conds.condition(type, status, reason, message, self.timestamp, updated=True)

    def progressing(self, status: str, reason: str, message: str) -> None:
        self.conditions = conds.put_last(
            self.conditions, self.condition("Progressing", status, reason, message)
        )


def finish(view: View, plan: Plan, *, progress: bool) -> Plan:
    """Append the write of the status, if it changed, and say when to look again."""
    deployment = view.deployment
    status = _counts(view)
    view.conditions = conds.put_last(view.conditions, _availability(view, status))
    if progress:
        _judge_progress(view, plan, status)
    if not view.has_deadline:
        view.conditions = conds.without(view.conditions, "Progressing")
    failure = next(
        (
            found
            for rs in [*([view.new] if view.new else []), *view.old]
            if (found := conds.find((rs.get("status") or {}).get("conditions") or (), "ReplicaFailure"))
        ),
        None,
    )
    if failure:
        view.conditions = conds.put_last(
            view.conditions,
            view.condition("ReplicaFailure", failure["status"], failure["reason"], failure["message"]),
        )
    else:
        view.conditions = conds.without(view.conditions, "ReplicaFailure")
    status["conditions"] = view.conditions
    wanted = {**deployment, "status": status}
    number = str(rollout.revision(view.new)) if view.new is not None else ""
    if view.new is not None and number != "0" and annotations_of(deployment).get(rollout.REVISION) != number:
        annotations = {**annotations_of(deployment), rollout.REVISION: number}
        wanted["metadata"] = {**metadata(deployment), "annotations": annotations}
    if wanted != deployment:
        plan.writes.append(Update(DEPLOYMENTS, wanted, "status"))
    return plan


def _counts(view: View) -> dict[str, Any]:
    existing = [rs for rs in [*view.old, view.new] if rs is not None]
    available = sum(observed(rs, "availableReplicas") for rs in existing)
    counts = {
        "replicas": sum(observed(rs, "replicas") for rs in existing),
        "updatedReplicas": observed(view.new, "replicas") if view.new else 0,
        "readyReplicas": sum(observed(rs, "readyReplicas") for rs in existing),
        "availableReplicas": available,
        "unavailableReplicas": max(0, rollout.total(existing) - available),
    }
    status: dict[str, Any] = {
        "observedGeneration": metadata(view.deployment).get("generation", 0),
        **{field: count for field, count in counts.items() if count},
        "terminatingReplicas": sum(observed(rs, "terminatingReplicas") for rs in existing),
    }
    collisions = (view.deployment.get("status") or {}).get("collisionCount")
    if collisions is not None:
        status["collisionCount"] = collisions
    return status


def _availability(view: View, status: Mapping[str, Any]) -> dict[str, Any]:
    least = replicas(view.deployment) - rollout.max_unavailable(view.deployment)
    if int(status.get("availableReplicas") or 0) >= least:
        text = "Deployment has minimum availability."
        return view.condition("Available", "True", "MinimumReplicasAvailable", text)
    text = "Deployment does not have minimum availability."
    return view.condition("Available", "False", "MinimumReplicasUnavailable", text)


def _judge_progress(view: View, plan: Plan, status: Mapping[str, Any]) -> None:
    if not view.has_deadline:
        return
    known = conds.find(view.conditions, "Progressing")
    settled = int(status.get("replicas") or 0) == int(status.get("updatedReplicas") or 0)
    if settled and known and known.get("reason") == COMPLETE:
        return
    subject = f'ReplicaSet "{name_of(view.new)}"' if view.new else f'Deployment "{name_of(view.deployment)}"'
    if rollout.is_complete(view.deployment, status):
        view.progressing("True", COMPLETE, f"{subject} has successfully progressed.")
    elif _has_moved(view.deployment, status):
        new = view.condition("Progressing", "True", "ReplicaSetUpdated", f"{subject} is progressing.")
        if known and known["status"] == "True":
            new["lastTransitionTime"] = known["lastTransitionTime"]
        # Replaced even when nothing but lastUpdateTime changes: the deadline counts from it.
        view.conditions = [*conds.without(view.conditions, "Progressing"), new]
    elif known:
        _judge_deadline(view, plan, known, subject)


def _judge_deadline(view: View, plan: Plan, known: Mapping[str, Any], subject: str) -> None:
    if known.get("reason") in (COMPLETE, TIMED_OUT):
        return
    since = parse_timestamp(known.get("lastUpdateTime") or known["lastTransitionTime"])
    left = since + int(view.deployment["spec"]["progressDeadlineSeconds"]) - view.now
    if left < 0:
        view.progressing("False", TIMED_OUT, f"{subject} has timed out progressing.")
    else:
        plan.again_after(left + 1)


def _has_moved(deployment: Object, status: Mapping[str, Any]) -> bool:
    old = deployment.get("status") or {}

    def count(of: Mapping[str, Any], field: str) -> int:
        return int(of.get(field) or 0)

    outdated = count(status, "replicas") - count(status, "updatedReplicas")
    outdated_before = count(old, "replicas") - count(old, "updatedReplicas")
    return (
        count(status, "updatedReplicas") > count(old, "updatedReplicas")
        or outdated < outdated_before
        or count(status, "readyReplicas") > count(old, "readyReplicas")
        or count(status, "availableReplicas") > count(old, "availableReplicas")
    )
