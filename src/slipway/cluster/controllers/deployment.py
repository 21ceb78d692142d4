"""Deployments: from a changed template to a new ReplicaSet that takes over from the old ones.

`step` is pure: Deployment, its ReplicaSets and pods in, writes out. The order of decisions is upstream's:
paused, scaled, then the strategy; each pass does one thing and the next change wakes the next pass.
"""

from __future__ import annotations

from slipway.cluster.client import selectors
from slipway.cluster.client.objects import (
    Key,
    Object,
    annotations_of,
    clone,
    is_deleting,
    metadata,
    name_of,
    namespace_of,
    owner_reference,
    uid_of,
)
from slipway.cluster.client.resources import DEPLOYMENTS, PODS, REPLICA_SETS
from slipway.cluster.controllers import conditions as conds
from slipway.cluster.controllers import pods as podlist
from slipway.cluster.controllers import rollout
from slipway.cluster.controllers.controller import Controller, controlled_by, index_by_controller
from slipway.cluster.controllers.deployment_status import TIMED_OUT, View, finish
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.hashing import template_hash
from slipway.cluster.controllers.ownership import claim
from slipway.cluster.controllers.rollout import observed, replicas
from slipway.cluster.controllers.writes import Announce, Create, Delete, Patch, Plan, Update
from slipway.cluster.status import StatusError

_NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    rollout.REVISION,
    rollout.REVISION_HISTORY,
    rollout.DESIRED_REPLICAS,
    rollout.MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
}
_HISTORY_LENGTH = 2000  # characters of the revision-history annotation


def step(view: View) -> Plan:
    """What to do now."""
    deployment, plan = view.deployment, Plan()
    if selectors.is_empty(deployment["spec"].get("selector")):
        plan.events.append(
            Announce(
                deployment,
                "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.",
                "Warning",
            )
        )
        return plan
    if is_deleting(deployment):
        return finish(view, plan, progress=False)
    _note_pause(view)
    if deployment["spec"].get("paused") or _is_scaling(view):
        _refresh_new(view, plan)
        _scale(view, plan)
        if deployment["spec"].get("paused"):
            _clean_up(view, plan)
        return finish(view, plan, progress=False)
    if rollout.is_rolling(deployment):
        _roll(view, plan)
    else:
        _recreate(view, plan)
    return finish(view, plan, progress=True)


def _note_pause(view: View) -> None:
    if not view.has_deadline:
        return
    known = conds.find(view.conditions, "Progressing")
    if known and known.get("reason") == TIMED_OUT:
        return
    was_paused = known is not None and known.get("reason") == "DeploymentPaused"
    paused = bool(view.deployment["spec"].get("paused"))
    if paused and not was_paused:
        view.progressing("Unknown", "DeploymentPaused", "Deployment is paused")
    elif was_paused and not paused:
        view.progressing("Unknown", "DeploymentResumed", "Deployment is resumed")


def _is_scaling(view: View) -> bool:
    wanted = str(replicas(view.deployment))
    return any(
        annotations_of(rs).get(rollout.DESIRED_REPLICAS, wanted) != wanted
        for rs in [*view.active_old, *([view.new] if view.new and replicas(view.new) else [])]
    )


# -- the newest ReplicaSet -------------------------------------------------------------------------------------


def _refresh_new(view: View, plan: Plan) -> bool:
    """Revision, copied annotations and minReadySeconds of the newest set; whether it had to be written."""
    new = view.new
    if new is None:
        return False
    wanted = clone(new)
    _annotate(view, wanted, exists=True)
    min_ready = view.deployment["spec"].get("minReadySeconds") or 0
    if (wanted["spec"].get("minReadySeconds") or 0) != min_ready:
        wanted["spec"]["minReadySeconds"] = min_ready
    if wanted != new:
        plan.writes.append(Update(REPLICA_SETS, wanted))
        return True
    if view.has_deadline and conds.find(view.conditions, "Progressing") is None:
        view.progressing("True", "FoundNewReplicaSet", f'Found new replica set "{name_of(new)}"')
    return False


def _annotate(view: View, rs: Object, *, exists: bool) -> None:
    annotations = rs["metadata"].setdefault("annotations", {})
    for key, value in annotations_of(view.deployment).items():
        if key not in _NOT_COPIED:
            annotations[key] = value
    number = max((rollout.revision(old) for old in view.old), default=0) + 1
    before = annotations.get(rollout.REVISION, "")
    if rollout.revision(rs) < number:
        annotations[rollout.REVISION] = str(number)
        if exists and before:
            history = [part for part in annotations.get(rollout.REVISION_HISTORY, "").split(",") if part]
            history.append(before)
            while len(",".join(history)) > _HISTORY_LENGTH:
                history.pop(0)
            annotations[rollout.REVISION_HISTORY] = ",".join(history)
    if not exists:
        _note_desired(view, rs)


def _note_desired(view: View, rs: Object) -> None:
    wanted = replicas(view.deployment)
    annotations = rs["metadata"].setdefault("annotations", {})
    annotations[rollout.DESIRED_REPLICAS] = str(wanted)
    annotations[rollout.MAX_REPLICAS] = str(wanted + rollout.max_surge(view.deployment))


def _create_new(view: View, plan: Plan) -> None:
    deployment = view.deployment
    template = clone(deployment["spec"]["template"])
    collisions = (deployment.get("status") or {}).get("collisionCount")
    digest = template_hash(rollout.plain_template(template), collisions)
    template.setdefault("metadata", {}).setdefault("labels", {})[rollout.HASH_LABEL] = digest
    selector = clone(deployment["spec"]["selector"])
    selector.setdefault("matchLabels", {})[rollout.HASH_LABEL] = digest
    rs: Object = {
        "apiVersion": REPLICA_SETS.api_version,
        "kind": REPLICA_SETS.kind,
        "metadata": {
            "name": f"{name_of(deployment)}-{digest}",
            "namespace": namespace_of(deployment),
            "labels": dict(template["metadata"]["labels"]),
            "ownerReferences": [owner_reference(deployment)],
        },
        "spec": {"replicas": 0, "selector": selector, "template": template},
    }
    if deployment["spec"].get("minReadySeconds"):
        rs["spec"]["minReadySeconds"] = deployment["spec"]["minReadySeconds"]
    count = rollout.new_set_replicas(deployment, [*view.sets, rs], rs)
    rs["spec"]["replicas"] = count
    _annotate(view, rs, exists=False)
    done = None
    if count:
        text = f"Scaled up replica set {{name}} from 0 to {count}"
        done = Announce(deployment, "ScalingReplicaSet", text)
    plan.writes.append(Create(REPLICA_SETS, rs, done=done))
    view.new = rs
    if view.has_deadline:
        view.progressing("True", "NewReplicaSetCreated", f'Created new replica set "{name_of(rs)}"')


def _resize(view: View, plan: Plan, rs: Object, size: int) -> bool:
    """Write a set's new size and what it should know about the Deployment; whether the size changed."""
    wanted = clone(rs)
    wanted["spec"]["replicas"] = size
    _note_desired(view, wanted)
    if wanted == rs:
        return False
    done = None
    if size != replicas(rs):
        way = "up" if size > replicas(rs) else "down"
        text = f"Scaled {way} replica set {name_of(rs)} from {replicas(rs)} to {size}"
        done = Announce(view.deployment, "ScalingReplicaSet", text)
    plan.writes.append(Update(REPLICA_SETS, wanted, done=done))
    return done is not None


# -- strategies ------------------------------------------------------------------------------------------------


def _scale(view: View, plan: Plan) -> None:
    """replicas changed: give the only active set all, or share among the several of a rollout."""
    if plan.writes:  # the newest set is being refreshed: sizes come with the next pass
        return
    wanted = replicas(view.deployment)
    active = [rs for rs in [*view.old, *([view.new] if view.new else [])] if replicas(rs) > 0]
    if len(active) <= 1:
        latest = [*rollout.by_age(view.old), *([view.new] if view.new else [])][-1:]
        only = next(iter(active or latest), None)
        if only is not None:
            _resize(view, plan, only, wanted)
        return
    if rollout.is_saturated(view.deployment, view.new):
        for rs in view.active_old:
            _resize(view, plan, rs, 0)
        return
    if rollout.is_rolling(view.deployment):
        sizes = rollout.proportional_sizes(view.deployment, active)
        for rs in active:
            _resize(view, plan, rs, sizes[name_of(rs)])


def _roll(view: View, plan: Plan) -> None:
    if view.new is None:
        _create_new(view, plan)
        return
    if _refresh_new(view, plan):
        return
    everything = [*view.old, view.new]
    wanted, have = replicas(view.deployment), replicas(view.new)
    if have != wanted:
        size = wanted if have > wanted else rollout.new_set_replicas(view.deployment, everything, view.new)
        if _resize(view, plan, view.new, size):
            return
    sizes = rollout.shrunk_old_sets(view.deployment, everything, view.new, view.active_old)
    for rs in view.active_old:
        if name_of(rs) in sizes:
            _resize(view, plan, rs, sizes[name_of(rs)])
    if not sizes and rollout.is_complete(view.deployment, view.deployment.get("status") or {}):
        _clean_up(view, plan)


def _recreate(view: View, plan: Plan) -> None:
    if _refresh_new(view, plan):
        return
    if view.active_old:
        for rs in view.active_old:
            _resize(view, plan, rs, 0)
        return
    for rs in view.old:
        if any(not podlist.is_finished(pod) for pod in view.pods.get(uid_of(rs), ())):
            return  # old pods must be gone, not only asked to go
    if view.new is None:
        _create_new(view, plan)
    elif replicas(view.new) != replicas(view.deployment):
        _resize(view, plan, view.new, replicas(view.deployment))
    elif rollout.is_complete(view.deployment, view.deployment.get("status") or {}):
        _clean_up(view, plan)


def _clean_up(view: View, plan: Plan) -> None:
    """Delete old sets beyond the history limit, oldest revision first; never one that may have pods."""
    limit = view.deployment["spec"].get("revisionHistoryLimit")
    if limit is None or limit == 2**31 - 1:
        return
    alive = [rs for rs in view.old if not is_deleting(rs)]
    for rs in sorted(alive, key=rollout.revision)[: max(0, len(alive) - int(limit))]:
        settled = observed(rs, "observedGeneration") >= metadata(rs).get("generation", 0)
        if not observed(rs, "replicas") and not replicas(rs) and settled:
            plan.writes.append(Delete(REPLICA_SETS, rs, propagation="Background"))


class DeploymentController(Controller):
    def watch(self) -> None:
        self.deployments = self.own_changes(DEPLOYMENTS)
        self.sets = self.owned_changes(REPLICA_SETS, DEPLOYMENTS)
        self.orphan_changes(REPLICA_SETS, self.deployments)
        self.pods = self.informer(PODS)
        index_by_controller(self.pods)
        self.handle(self.pods, self._pod_left)

    def _pod_left(self, old: Object | None, new: Object | None) -> None:
        """Recreate waits for the last old pod to be gone."""
        if new is not None or old is None:
            return
        for reference in metadata(old).get("ownerReferences") or ():
            rs = self.sets.get(namespace_of(old), reference["name"]) if reference.get("controller") else None
            for owner in metadata(rs or {}).get("ownerReferences") or ():
                if owner.get("controller") and owner["kind"] == "Deployment":
                    self.queue.add((namespace_of(old), owner["name"]))

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        deployment = self.deployments.get(*key)
        if deployment is None:
            return None
        candidates = [*controlled_by(self.sets, deployment), *self.sets.indexed("orphan", key[0])]
        selector = deployment["spec"].get("selector")
        sets = await claim(effects, DEPLOYMENTS, deployment, REPLICA_SETS, selector, candidates)
        pods = {uid_of(rs): self.pods.indexed("controller", uid_of(rs)) for rs in sets}
        plan = step(View(deployment, sets, pods, self.clock.now(), self.clock.timestamp()))
        try:
            await self._carry_out(plan, effects)
        except StatusError as error:
            creation = next((w for w in plan.writes if isinstance(w, Create)), None)
            if creation is None or error.reason == "Conflict":
                raise
            await self._creation_failed(deployment, creation.obj, error, effects)
        return plan.requeue_after

    async def _carry_out(self, plan: Plan, effects: Effects) -> None:
        for event in plan.events:
            effects.announce(event)
        for write in plan.writes:
            written = await effects.do(write)
            if not isinstance(write, Update) or write.subresource != "status" or written is None:
                continue
            # An API server may keep a status write from touching annotations: then they go on their own.
            number = annotations_of(write.obj).get(rollout.REVISION)
            if number != annotations_of(written).get(rollout.REVISION):
                body = {"metadata": {"annotations": {rollout.REVISION: number}}}
                await effects.do(Patch(DEPLOYMENTS, namespace_of(written), name_of(written), body))

    async def _creation_failed(
        self, deployment: Object, rs: Object, error: StatusError, effects: Effects
    ) -> None:
        """The name is taken by another template (hash collision), or the set was refused."""
        status = clone(deployment.get("status") or {})
        if error.reason == "AlreadyExists":
            live = await effects.client.get(REPLICA_SETS, name_of(rs), namespace_of(rs))
            ours = any(r["uid"] == uid_of(deployment) for r in metadata(live).get("ownerReferences") or ())
            same = rollout.plain_template(live["spec"]["template"]) == rollout.plain_template(
                deployment["spec"]["template"]
            )
            if not (ours and same):
                status["collisionCount"] = int(status.get("collisionCount") or 0) + 1
                await effects.do(Update(DEPLOYMENTS, {**deployment, "status": status}, "status"))
            raise error
        text = f'Failed to create new replica set "{name_of(rs)}": {error.message}'
        effects.announce(Announce(deployment, "ReplicaSetCreateError", text, "Warning"))
        if deployment["spec"].get("progressDeadlineSeconds") is not None:
            stamp = self.clock.timestamp()
            new = conds.condition("Progressing", "False", "ReplicaSetCreateError", text, stamp, updated=True)
            status["conditions"] = conds.put_last(status.get("conditions") or [], new)
            if status != deployment.get("status"):
                await effects.do(Update(DEPLOYMENTS, {**deployment, "status": status}, "status"))
        raise error
