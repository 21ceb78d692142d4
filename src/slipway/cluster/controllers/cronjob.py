"""CronJobs: a Job whenever it is time. `step` is pure: the CronJob, its Jobs and the time in, writes out."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any

from slipway.cluster.client.objects import (
    Key,
    Object,
    clone,
    condition_of,
    has_condition,
    is_deleting,
    metadata,
    name_of,
    namespace_of,
    object_reference,
    owner_reference,
    uid_of,
)
from slipway.cluster.client.resources import CRON_JOBS, JOBS
from slipway.cluster.clock import parse_timestamp
from slipway.cluster.controllers import cron
from slipway.cluster.controllers.controller import Controller, controlled_by
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.job import is_over
from slipway.cluster.controllers.writes import Announce, Create, Delete, Plan, Update
from slipway.cluster.status import StatusError

SCHEDULED_AT = "batch.kubernetes.io/cronjob-scheduled-timestamp"
_TOO_MANY = 100
_SLACK = 0.1  # seconds after the time, so that the clock has surely passed it


@dataclass(slots=True)
class View:
    owner: Object
    jobs: list[Object]
    now: float
    status: dict[str, Any] = field(default_factory=dict)


def step(view: View) -> Plan:
    """What to do now; a Job is created before the status that tells of it."""
    plan = Plan()
    view.status = clone(view.owner.get("status") or {})
    view.status["active"] = _still_active(view, plan)
    _clean_history(view, plan)
    if not is_deleting(view.owner) and not view.owner["spec"].get("suspend"):
        _start_if_due(view, plan)
    if not view.status["active"]:
        del view.status["active"]
    if view.status != (view.owner.get("status") or {}):
        plan.writes.append(Update(CRON_JOBS, {**view.owner, "status": view.status}, "status"))
    return plan


def _still_active(view: View, plan: Plan) -> list[dict[str, Any]]:
    """References to Jobs that run; those that ended are told and dropped."""
    by_uid = {uid_of(job): job for job in view.jobs}
    known = {reference.get("uid") for reference in view.status.get("active") or ()}
    active = []
    for reference in view.status.get("active") or ():
        job = by_uid.get(reference.get("uid", ""))
        if job is None:
            text = f"Active job went missing: {reference.get('name')}"
            plan.events.append(Announce(view.owner, "MissingJob", text))
        elif not is_over(job):
            active.append(reference)
        else:
            how = "Complete" if has_condition(job, "Complete") else "Failed"
            text = f"Saw completed job: {name_of(job)}, condition: {how}"
            plan.events.append(Announce(view.owner, "SawCompletedJob", text))
    active += [_reference(job) for job in view.jobs if not is_over(job) and uid_of(job) not in known]
    for job in view.jobs:
        finished = (job.get("status") or {}).get("completionTime")
        if has_condition(job, "Complete") and finished:
            view.status["lastSuccessfulTime"] = max(finished, view.status.get("lastSuccessfulTime") or "")
    return active


def _reference(job: Object) -> dict[str, Any]:
    return object_reference(JOBS.typed(job))


def _clean_history(view: View, plan: Plan) -> None:
    spec = view.owner["spec"]
    for kind, field_name, default in (
        ("Complete", "successfulJobsHistoryLimit", 3),
        ("Failed", "failedJobsHistoryLimit", 1),
    ):
        limit = spec.get(field_name)
        limit = default if limit is None else int(limit)
        done = [job for job in view.jobs if has_condition(job, kind) and not is_deleting(job)]
        done.sort(key=lambda job: ((job.get("status") or {}).get("startTime") or "", name_of(job)))
        plan.writes += [_deletion(view.owner, job) for job in done[: max(0, len(done) - limit)]]


def _deletion(owner: Object, job: Object) -> Delete:
    return Delete(
        JOBS,
        job,
        propagation="Background",
        done=Announce(owner, "SuccessfulDelete", "Deleted job {name}"),
        failed=Announce(owner, "FailedDelete", "Deleted job: {error}", "Warning"),
    )


def _start_if_due(view: View, plan: Plan) -> None:
    spec = view.owner["spec"]
    try:
        schedule = cron.parse(spec["schedule"])
    except cron.CronError as error:
        text = f"unparseable schedule: {spec['schedule']!r} : {error}"
        plan.events.append(Announce(view.owner, "UnparseableSchedule", text, "Warning"))
        return
    zone: tzinfo = UTC
    if spec.get("timeZone"):
        from zoneinfo import ZoneInfo  # hardly any has one

        try:
            zone = ZoneInfo(spec["timeZone"])
        except (KeyError, ValueError, OSError):
            text = f'invalid timeZone: "{spec["timeZone"]}": unknown time zone {spec["timeZone"]}'
            plan.events.append(Announce(view.owner, "UnknownTimeZone", text, "Warning"))
            return
    due, missed = most_recent(view.owner, schedule, zone, view.now)
    following = schedule.next(datetime.fromtimestamp(view.now, UTC), zone)
    if following is None:  # the thirty-first of February: upstream finds no time between two that never come
        why = "time difference between two schedules is less than 1 second"
        text = f"invalid schedule: {spec['schedule']} : {why}"
        plan.events.append(Announce(view.owner, "InvalidSchedule", text, "Warning"))
    else:
        plan.again_after(following.timestamp() - view.now + _SLACK)
    if missed > _TOO_MANY:
        text = (
            "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        )
        plan.events.append(Announce(view.owner, "TooManyMissedTimes", text, "Warning"))
    if due is None:
        return
    deadline = spec.get("startingDeadlineSeconds")
    if deadline is not None and due.timestamp() + int(deadline) < view.now:
        text = f"Missed scheduled time to start a job: {due.astimezone(UTC):%a, %d %b %Y %H:%M:%S} +0000"
        plan.events.append(Announce(view.owner, "MissSchedule", text, "Warning"))
        return
    _start(view, plan, due, zone)


def most_recent(
    owner: Object, schedule: cron.Schedule, zone: tzinfo, now: float
) -> tuple[datetime | None, int]:
    """The latest time that was due and has not been acted on, and how many were due (counted up to a few)."""
    last = (owner.get("status") or {}).get("lastScheduleTime")
    since = parse_timestamp(last or metadata(owner)["creationTimestamp"])
    deadline = owner["spec"].get("startingDeadlineSeconds")
    if deadline is not None:
        since = max(since, now - int(deadline))
    found, missed = None, 0
    at = schedule.next(datetime.fromtimestamp(since, UTC), zone)
    while at is not None and at.timestamp() <= now:
        found, missed = at, missed + 1
        if missed == _TOO_MANY + 1:
            # Skip what nobody would run anyway: go on near the end.
            period = at.timestamp() - since
            at = datetime.fromtimestamp(max(at.timestamp(), now - period), UTC)
        at = schedule.next(at, zone)
    return found, missed


def _start(view: View, plan: Plan, due: datetime, zone: tzinfo) -> None:
    owner, active = view.owner, view.status["active"]
    policy = owner["spec"].get("concurrencyPolicy") or "Allow"
    name = f"{name_of(owner)}-{int(due.timestamp()) // 60}"
    if any(name_of(job) == name for job in view.jobs):
        view.status["lastScheduleTime"] = due.strftime("%Y-%m-%dT%H:%M:%SZ")
        return
    if policy == "Forbid" and active:
        text = "Not starting job because prior execution is running and concurrency policy is Forbid"
        plan.events.append(Announce(owner, "JobAlreadyActive", text))
        return
    if policy == "Replace":
        uids = {reference["uid"] for reference in active}
        plan.writes += [_deletion(owner, job) for job in view.jobs if uid_of(job) in uids]
        view.status["active"] = []
    template = owner["spec"]["jobTemplate"]
    meta = clone(template.get("metadata") or {})
    annotations = {
        **(meta.get("annotations") or {}),
        SCHEDULED_AT: due.astimezone(zone).isoformat().replace("+00:00", "Z"),
    }
    job: Object = {
        "apiVersion": JOBS.api_version,
        "kind": JOBS.kind,
        "metadata": {
            "name": name,
            "namespace": namespace_of(owner),
            "annotations": annotations,
            "ownerReferences": [owner_reference(owner)],
            **({"labels": meta["labels"]} if meta.get("labels") else {}),
        },
        "spec": clone(template["spec"]),
    }
    plan.writes.append(
        Create(
            JOBS,
            job,
            done=Announce(owner, "SuccessfulCreate", "Created job {name}"),
            failed=Announce(owner, "FailedCreate", "Error creating job: {error}", "Warning"),
        )
    )
    # The reference to the new Job follows when it is seen: only the server knows its uid.
    view.status["lastScheduleTime"] = due.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class CronJobController(Controller):
    def watch(self) -> None:
        self.owners = self.own_changes(CRON_JOBS)
        self.jobs = self.owned_changes(JOBS, CRON_JOBS)

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        owner = self.owners.get(*key)
        if owner is None:
            return None
        plan = step(View(owner, controlled_by(self.jobs, owner), self.clock.now()))
        for event in plan.events:
            effects.announce(event)
        for write in plan.writes:
            try:
                await effects.do(write)
            except StatusError as error:
                if not isinstance(write, Create) or error.reason != "AlreadyExists":
                    raise
        return plan.requeue_after


class FinishedJobController(Controller):
    """ttl-after-finished: deletes Jobs so many seconds after their end."""

    def watch(self) -> None:
        self.jobs = self.own_changes(JOBS)

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        job = self.jobs.get(*key)
        if job is None or is_deleting(job) or not is_over(job):
            return None
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        if ttl is None:
            return None
        ending = condition_of(job, "Complete") or condition_of(job, "Failed") or {}
        left = parse_timestamp(ending["lastTransitionTime"]) + int(ttl) - self.clock.now()
        if left > 0:
            return left
        await effects.do(Delete(JOBS, job, propagation="Foreground"))
        return None
