"""Jobs: so many pods must succeed. `step` is pure: the Job and its pods in, writes out.

Every pod carries a finalizer until its end is in the Job's status, so that none is counted twice or lost
when it is deleted: first its uid goes into `uncountedTerminatedPods` (or its index into `completedIndexes`),
then the finalizer is taken off, then it is counted. Each is a pass of its own; the writes wake the next.
"""

from __future__ import annotations

from typing import Any

from slipway.cluster.client.client import PatchType
from slipway.cluster.client.objects import (
    Key,
    Object,
    annotations_of,
    clone,
    controller_of,
    has_condition,
    is_deleting,
    name_of,
    namespace_of,
    uid_of,
)
from slipway.cluster.client.resources import JOBS, PODS
from slipway.cluster.clock import parse_timestamp
from slipway.cluster.controllers import conditions as conds
from slipway.cluster.controllers import index_sets
from slipway.cluster.controllers import job_failures as failures
from slipway.cluster.controllers import pods as podlist
from slipway.cluster.controllers.controller import Controller, controlled_by
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.job_tally import (
    FAILURE_COUNT,
    FINALIZER,
    INDEX,
    Tally,
    View,
    held,
    index_of,
    is_indexed,
    take_stock,
)
from slipway.cluster.controllers.ownership import claim
from slipway.cluster.controllers.writes import Announce, Create, Delete, Patch, Plan, Update

_MANAGED_BY = "kubernetes.io/job-controller"
_AT_ONCE = 500  # pods created, deleted or newly counted in one pass


def is_over(job: Object) -> bool:
    return has_condition(job, "Complete") or has_condition(job, "Failed")


def step(view: View) -> Plan:
    """What to do now."""
    plan = Plan()
    if is_over(view.job) or is_deleting(view.job):
        plan.writes += [release(pod) for pod in view.pods if held(pod)]
        return plan
    tally = take_stock(view)
    status = clone(view.job.get("status") or {})
    conditions: conds.Conditions = [dict(c) for c in status.get("conditions") or ()]
    suspended = bool(view.job["spec"].get("suspend"))
    conditions = _note_suspension(view, plan, status, conditions, suspended)
    verdict = _verdict(view, tally, conditions)
    if verdict and not any(c["type"] == verdict["type"] for c in conditions):
        conditions.append(verdict)
    deleting = {uid_of(pod) for pod in _surplus(view, tally, verdict, suspended)}
    for pod in tally.active:
        if uid_of(pod) in deleting:
            plan.writes.append(_deletion(view.job, pod))
    if verdict is None and not suspended:
        _create(view, tally, plan)
    plan.writes += [release(pod) for pod in tally.release]
    ending: Announce | None = None
    if verdict and not tally.active and not tally.terminating and not any(map(held, view.pods)):
        conditions, ending = _finish(view, status, conditions, verdict)
    _write_status(view, tally, plan, status, conditions, ending)
    _watch_deadline(view, plan, status)
    return plan


# -- deciding --------------------------------------------------------------------------------------------------


def _note_suspension(
    view: View, plan: Plan, status: dict[str, Any], conditions: conds.Conditions, suspended: bool
) -> conds.Conditions:
    known = conds.find(conditions, "Suspended")
    is_suspended = known is not None and known["status"] == "True"
    if suspended and not is_suspended:
        status.pop("startTime", None)
        plan.events.append(Announce(view.job, "Suspended", "Job suspended"))
        return _put(conditions, view, "Suspended", "True", "JobSuspended", "Job suspended")
    if not suspended:
        if is_suspended:
            status["startTime"] = view.timestamp
            plan.events.append(Announce(view.job, "Resumed", "Job resumed"))
            return _put(conditions, view, "Suspended", "False", "JobResumed", "Job resumed")
        status.setdefault("startTime", view.timestamp)
    return conditions


def _put(
    conditions: conds.Conditions, view: View, type: str, status: str, reason: str, message: str
) -> conds.Conditions:
    return conds.put_in_place(conditions, _condition(view, type, status, reason, message))


def _condition(view: View, type: str, status: str, reason: str, message: str) -> dict[str, Any]:
    made = conds.condition(type, status, reason, message, view.timestamp)
    return {"type": type, "status": status, "lastProbeTime": view.timestamp, **made}


def _verdict(view: View, tally: Tally, conditions: conds.Conditions) -> dict[str, Any] | None:
    """FailureTarget or SuccessCriteriaMet once it is known how the Job ends; what was decided stays."""
    for type in ("FailureTarget", "SuccessCriteriaMet"):
        known = conds.find(conditions, type)
        if known and known["status"] == "True":
            return known
    failure = _failure(view, tally)
    if failure:
        return _condition(view, "FailureTarget", "True", *failure)
    success = _success(view.job, tally)
    return _condition(view, "SuccessCriteriaMet", "True", *success) if success else None


def _failure(view: View, tally: Tally) -> tuple[str, str] | None:
    job, spec = view.job, view.job["spec"]
    if tally.fail_job:
        return "PodFailurePolicy", tally.fail_job
    limit = int(spec.get("backoffLimit", 6))
    restarts = sum(podlist.restarts(pod) for pod in tally.active)
    on_failure = (spec["template"]["spec"].get("restartPolicy") or "") == "OnFailure"
    restarted = on_failure and restarts and (restarts >= limit if limit else restarts > 0)
    if (tally.failed > limit) or restarted:
        return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
    deadline, started = spec.get("activeDeadlineSeconds"), (job.get("status") or {}).get("startTime")
    if (
        deadline is not None
        and started
        and not spec.get("suspend")
        and view.now - parse_timestamp(started) >= int(deadline)
    ):
        return "DeadlineExceeded", "Job was active longer than specified deadline"
    if spec.get("backoffLimitPerIndex") is None:
        return None
    most = spec.get("maxFailedIndexes")
    if most is not None and len(tally.failed_indexes) > int(most):
        return "MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes"
    if tally.failed_indexes and len(tally.failed_indexes | tally.completed) >= int(
        spec.get("completions") or 0
    ):
        return "FailedIndexes", "Job has failed indexes"
    return None


def _success(job: Object, tally: Tally) -> tuple[str, str] | None:
    spec = job["spec"]
    for index, rule in enumerate((spec.get("successPolicy") or {}).get("rules") or ()):
        wanted = tally.completed
        if rule.get("succeededIndexes"):
            required = index_sets.parse(rule["succeededIndexes"])
            wanted = required & tally.completed
            count = int(rule.get("succeededCount") or len(required))
        else:
            count = int(rule.get("succeededCount") or 0)
        if count and len(wanted) >= count:
            return "SuccessPolicy", f"Matched rules at index {index}"
    completions = spec.get("completions")
    if completions is None:
        done = tally.succeeded > 0 and not tally.active
    else:
        done = tally.succeeded >= int(completions)
    return ("CompletionsReached", "Reached expected number of succeeded pods") if done else None


def _surplus(view: View, tally: Tally, verdict: dict[str, Any] | None, suspended: bool) -> list[Object]:
    """Active pods that must go."""
    if verdict or suspended:
        return tally.active[:_AT_ONCE]
    spare: list[Object] = []
    if is_indexed(view.job):
        seen: set[int] = set()
        for pod in tally.active:
            index = index_of(pod)
            bad = index in seen or index < 0 or index in tally.completed or index in tally.failed_indexes
            if bad or index >= int(view.job["spec"].get("completions") or 0):
                spare.append(pod)
            seen.add(index)
    rest = [pod for pod in tally.active if pod not in spare]
    too_many = len(rest) - _wanted(view.job, tally)
    if too_many > 0:
        spare += podlist.deletion_order(rest, rest, view.now)[:too_many]
    return spare[:_AT_ONCE]


def _wanted(job: Object, tally: Tally) -> int:
    """How many pods should be active now."""
    parallelism = int(job["spec"].get("parallelism", 1))
    completions = job["spec"].get("completions")
    if completions is None:
        return min(parallelism, len(tally.active)) if tally.succeeded else parallelism
    return min(parallelism, max(0, int(completions) - tally.succeeded - len(tally.failed_indexes)))


def _create(view: View, tally: Tally, plan: Plan) -> None:
    job = view.job
    busy = len(tally.active)
    if job["spec"].get("podReplacementPolicy") == "Failed":
        busy += tally.terminating
    missing = min(_wanted(job, tally) - busy, _AT_ONCE)
    if missing <= 0:
        return
    per_index = job["spec"].get("backoffLimitPerIndex") is not None
    wait = 0.0 if per_index else failures.backoff_left(tally.failed_pods, tally.succeeded_pods, view.now)
    if wait > 0:
        plan.again_after(wait)
        return
    if not is_indexed(job):
        plan.writes += [_creation(job, make_pod(job, None)) for _ in range(missing)]
        return
    taken = {index_of(pod) for pod in tally.active} | tally.completed | tally.failed_indexes
    if job["spec"].get("podReplacementPolicy") == "Failed":
        taken |= {index_of(pod) for pod in view.pods if is_deleting(pod) and not podlist.is_finished(pod)}
    free = [n for n in range(int(job["spec"].get("completions") or 0)) if n not in taken]
    for index in free[:missing]:
        before = [pod for pod in tally.failed_pods if index_of(pod) == index]
        if per_index:
            wait = failures.backoff_left(before, [], view.now)
            if wait > 0:
                plan.again_after(wait)
                continue
        plan.writes.append(_creation(job, make_pod(job, index, _failure_count(job, before))))


def _failure_count(job: Object, failed: list[Object]) -> int | None:
    if job["spec"].get("backoffLimitPerIndex") is None:
        return None
    counts = [
        int(annotations_of(pod).get(FAILURE_COUNT, "0")) + (failures.judge(job, pod).action != "Ignore")
        for pod in failed
    ]
    return max(counts, default=0)


def make_pod(job: Object, index: int | None, failure_count: int | None = None) -> Object:
    prefix = f"{name_of(job)}-" if index is None else f"{name_of(job)}-{index}-"
    pod = podlist.from_template(job["spec"]["template"], job, prefix=prefix)
    finalizers = pod["metadata"].setdefault("finalizers", [])
    if FINALIZER not in finalizers:
        finalizers.append(FINALIZER)
    if index is None:
        return pod
    annotations = pod["metadata"].setdefault("annotations", {})
    annotations[INDEX] = str(index)
    if failure_count is not None:
        annotations[FAILURE_COUNT] = str(failure_count)
    pod["metadata"].setdefault("labels", {})[INDEX] = str(index)
    pod["spec"]["hostname"] = f"{name_of(job)}-{index}"
    variable = {
        "name": "JOB_COMPLETION_INDEX",
        "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}},
    }
    for container in [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ())]:
        env = container.setdefault("env", [])
        if not any(item["name"] == "JOB_COMPLETION_INDEX" for item in env):
            env.append(clone(variable))
    return pod


# -- writes ----------------------------------------------------------------------------------------------------


def release(pod: Object) -> Patch:
    """Take the tracking finalizer off."""
    body = {"metadata": {"$deleteFromPrimitiveList/finalizers": [FINALIZER]}}
    return Patch(PODS, namespace_of(pod), name_of(pod), body, PatchType.STRATEGIC)


def _creation(job: Object, pod: Object) -> Create:
    return Create(
        PODS,
        pod,
        done=Announce(job, "SuccessfulCreate", "Created pod: {name}"),
        failed=Announce(job, "FailedCreate", "Error creating: {error}", "Warning"),
    )


def _deletion(job: Object, pod: Object) -> Delete:
    return Delete(
        PODS,
        pod,
        done=Announce(job, "SuccessfulDelete", "Deleted pod: {name}"),
        failed=Announce(job, "FailedDelete", "Error deleting: {error}", "Warning"),
    )


def _finish(
    view: View, status: dict[str, Any], conditions: conds.Conditions, verdict: dict[str, Any]
) -> tuple[conds.Conditions, Announce]:
    """The terminal condition, and the Event that tells of it."""
    reason, message = verdict["reason"], verdict["message"]
    if verdict["type"] == "FailureTarget":
        failed = _put(conditions, view, "Failed", "True", reason, message)
        return failed, Announce(view.job, reason, message, "Warning")
    status["completionTime"] = view.timestamp
    complete = _put(conditions, view, "Complete", "True", reason, message)
    return complete, Announce(view.job, "Completed", "Job completed")


def _write_status(
    view: View,
    tally: Tally,
    plan: Plan,
    status: dict[str, Any],
    conditions: conds.Conditions,
    ending: Announce | None,
) -> None:
    counts = {
        "active": len(tally.active),
        "succeeded": tally.counted["succeeded"],
        "failed": tally.counted["failed"],
    }
    for name, count in counts.items():
        if count:
            status[name] = count
        else:
            status.pop(name, None)
    status["ready"] = sum(podlist.is_ready(pod) for pod in tally.active)
    status["terminating"] = tally.terminating
    status["uncountedTerminatedPods"] = {side: uids for side, uids in tally.uncounted.items() if uids}
    if is_indexed(view.job):
        _set_or_drop(status, "completedIndexes", index_sets.to_text(tally.completed))
        if view.job["spec"].get("backoffLimitPerIndex") is not None:
            status["failedIndexes"] = index_sets.to_text(tally.failed_indexes)
    if conditions:
        status["conditions"] = conditions
    if status != view.job.get("status"):
        # First of all: what was decided must be known even when a pod cannot be created.
        plan.writes.insert(0, Update(JOBS, {**view.job, "status": status}, "status", done=ending))


def _set_or_drop(status: dict[str, Any], field: str, value: str) -> None:
    if value:
        status[field] = value
    else:
        status.pop(field, None)


def _watch_deadline(view: View, plan: Plan, status: dict[str, Any]) -> None:
    deadline, started = view.job["spec"].get("activeDeadlineSeconds"), status.get("startTime")
    if deadline is not None and started:
        left = parse_timestamp(started) + int(deadline) - view.now
        if left > 0:
            plan.again_after(left)


class JobController(Controller):
    def watch(self) -> None:
        self.jobs = self.own_changes(JOBS)
        self.pods = self.owned_changes(PODS, JOBS)
        self.orphan_changes(PODS, self.jobs)

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        job = self.jobs.get(*key)
        if job is None:
            # Pods of a Job that is gone must not be held by our finalizer.
            for pod in self.pods.list(key[0]):
                owner = controller_of(pod)
                if owner and (owner["kind"], owner["name"]) == ("Job", key[1]) and held(pod):
                    await effects.do(release(pod))
            return None
        if job["spec"].get("managedBy", _MANAGED_BY) != _MANAGED_BY:
            return None
        pods, selector = controlled_by(self.pods, job), job["spec"].get("selector")
        if selector is not None:
            candidates = [*pods, *self.pods.indexed("orphan", key[0])]
            pods = await claim(effects, JOBS, job, PODS, selector, candidates)
        plan = step(View(job, pods, self.clock.now(), self.clock.timestamp()))
        await effects.carry_out(plan)
        return plan.requeue_after
