"""ReplicaSet and ReplicationController: keep so many pods of one template alive.

`scale_plan` and `status_of` are pure; the two controllers differ in their selector's form only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from slipway.cluster.client import selectors
from slipway.cluster.client.objects import (
    Key,
    Object,
    clone,
    condition_of,
    controller_uid,
    is_deleting,
    labels_of,
    metadata,
)
from slipway.cluster.client.resources import PODS, REPLICA_SETS, REPLICATION_CONTROLLERS, ApiResource
from slipway.cluster.controllers import pods as podlist
from slipway.cluster.controllers.controller import Controller, controlled_by, index_by_controller
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.ownership import claim
from slipway.cluster.controllers.writes import Announce, Create, Delete, Plan, Update
from slipway.cluster.status import StatusError

BURST = 500  # pods created or deleted in one go


def scale_plan(owner: Object, pods: Iterable[Object], related: Iterable[Object], now: float) -> Plan:
    """Create what is missing, delete what is too much. `related` are all pods of the owner's siblings too."""
    active = [pod for pod in pods if podlist.is_active(pod)]
    wanted = int(owner["spec"].get("replicas", 1))
    plan = Plan()
    if len(active) < wanted:
        for _ in range(min(wanted - len(active), BURST)):
            plan.writes.append(
                Create(
                    PODS,
                    podlist.from_template(owner["spec"].get("template") or {}, owner),
                    done=Announce(owner, "SuccessfulCreate", "Created pod: {name}"),
                    failed=Announce(owner, "FailedCreate", "Error creating: {error}", "Warning"),
                )
            )
    elif len(active) > wanted:
        surplus = min(len(active) - wanted, BURST)
        for pod in podlist.deletion_order(active, related, now)[:surplus]:
            plan.writes.append(
                Delete(
                    PODS,
                    pod,
                    done=Announce(owner, "SuccessfulDelete", "Deleted pod: {name}"),
                    failed=Announce(owner, "FailedDelete", "Error deleting: {error}", "Warning"),
                )
            )
    return plan


def status_of(
    owner: Object, pods: Iterable[Object], failure: tuple[str, str] | None, now: float, timestamp: str
) -> dict[str, Any]:
    """The status as the API keeps it (zeros left out); `failure` is (reason, message) of a failed write."""
    pods = list(pods)
    active = [pod for pod in pods if podlist.is_active(pod)]
    template_labels = labels_of(owner["spec"].get("template") or {})
    min_ready = int(owner["spec"].get("minReadySeconds") or 0)
    counts = {
        "fullyLabeledReplicas": sum(selectors.matches_map(template_labels, labels_of(pod)) for pod in active),
        "readyReplicas": sum(podlist.is_ready(pod) for pod in active),
        "availableReplicas": sum(podlist.is_available(pod, min_ready, now) for pod in active),
    }
    status: dict[str, Any] = {
        "replicas": len(active),
        **{field: count for field, count in counts.items() if count},
        "observedGeneration": metadata(owner).get("generation", 0),
    }
    if owner["kind"] == "ReplicaSet":
        status["terminatingReplicas"] = sum(is_deleting(pod) and not podlist.is_finished(pod) for pod in pods)
    conditions = [
        clone(condition)
        for condition in (owner.get("status") or {}).get("conditions") or ()
        if condition["type"] != "ReplicaFailure"
    ]
    if failure:
        known = condition_of(owner, "ReplicaFailure")
        if known and known.get("reason") == failure[0]:
            conditions.append(known)
        else:
            conditions.append(
                {
                    "type": "ReplicaFailure",
                    "status": "True",
                    "lastTransitionTime": timestamp,
                    "reason": failure[0],
                    "message": failure[1],
                }
            )
    if conditions:
        status["conditions"] = conditions
    return status


class ReplicaSetController(Controller):
    resource: ClassVar[ApiResource] = REPLICA_SETS

    def watch(self) -> None:
        self.owners = self.own_changes(self.resource)
        index_by_controller(self.owners)
        self.pods = self.owned_changes(PODS, self.resource)
        self.orphan_changes(PODS, self.owners, self.selector)

    def selector(self, owner: Object) -> Mapping[str, Any] | None:
        selector: Mapping[str, Any] | None = owner["spec"].get("selector")
        return selector

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        owner = self.owners.get(*key)
        if owner is None:
            return None
        candidates = [*controlled_by(self.pods, owner)]
        candidates += [pod for pod in self.pods.indexed("orphan", key[0]) if podlist.is_active(pod)]
        mine = await claim(effects, self.resource, owner, PODS, self.selector(owner), candidates)
        now = self.clock.now()
        problem: StatusError | None = None
        failure = None
        if not is_deleting(owner):
            plan = scale_plan(owner, mine, self._related(owner, mine), now)
            try:
                await effects.carry_out(plan)
            except StatusError as error:
                creating = any(isinstance(write, Create) for write in plan.writes)
                failure = ("FailedCreate" if creating else "FailedDelete", error.message)
                problem = error
        status = status_of(owner, mine, failure, now, self.clock.timestamp())
        if status != owner.get("status"):
            await effects.do(Update(self.resource, {**owner, "status": status}, "status"))
        if problem:
            raise problem
        return podlist.soonest_available(mine, int(owner["spec"].get("minReadySeconds") or 0), now)

    def _related(self, owner: Object, mine: list[Object]) -> list[Object]:
        """Pods of all sets with the same controller: a rollout's crowd on a node counts as one."""
        uid = controller_uid(owner)
        if not uid:
            return mine
        return [
            pod
            for sibling in self.owners.indexed("controller", uid)
            for pod in controlled_by(self.pods, sibling)
        ]


class ReplicationControllerController(ReplicaSetController):
    resource: ClassVar[ApiResource] = REPLICATION_CONTROLLERS

    def selector(self, owner: Object) -> Mapping[str, Any] | None:
        labels = owner["spec"].get("selector")
        return {"matchLabels": labels} if labels else None
