"""How the pods of a Job count: active, succeeded, failed, and which finalizers can go.

Pure: Job and pods in, a `Tally` out. `job` decides by it what to do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from slipway.cluster.client.objects import Object, annotations_of, is_deleting, metadata, name_of, uid_of
from slipway.cluster.controllers import index_sets
from slipway.cluster.controllers import job_failures as failures
from slipway.cluster.controllers import pods as podlist

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURE_COUNT = "batch.kubernetes.io/job-index-failure-count"


@dataclass(slots=True)
class View:
    """A Job and its pods, at one moment."""

    job: Object
    pods: list[Object]
    now: float
    timestamp: str


@dataclass(slots=True)
class Tally:
    """Where the Job's pods stand, with those counted that are only about to be."""

    active: list[Object] = field(default_factory=list)
    terminating: int = 0
    succeeded: int = 0
    failed: int = 0
    completed: set[int] = field(default_factory=set)
    failed_indexes: set[int] = field(default_factory=set)
    fail_job: str = ""  # message of a FailJob rule
    failed_pods: list[Object] = field(default_factory=list)
    succeeded_pods: list[Object] = field(default_factory=list)
    uncounted: dict[str, list[str]] = field(default_factory=lambda: {"succeeded": [], "failed": []})
    counted: dict[str, int] = field(default_factory=dict)
    release: list[Object] = field(default_factory=list)  # pods whose finalizer can go now


def is_indexed(job: Object) -> bool:
    return bool(job["spec"].get("completionMode") == "Indexed")


def index_of(pod: Object) -> int:
    text = annotations_of(pod).get(INDEX, "")
    return int(text) if text.isdigit() else -1


def take_stock(view: View) -> Tally:
    job, status = view.job, view.job.get("status") or {}
    tally = Tally(
        completed=index_sets.parse(status.get("completedIndexes") or ""),
        failed_indexes=index_sets.parse(status.get("failedIndexes") or ""),
    )
    counted = {"succeeded": int(status.get("succeeded") or 0), "failed": int(status.get("failed") or 0)}
    uncounted = status.get("uncountedTerminatedPods") or {}
    kept = {uid_of(pod) for pod in view.pods if held(pod)}
    known = {uid for side in ("succeeded", "failed") for uid in uncounted.get(side) or ()}
    for side in ("succeeded", "failed"):
        for uid in uncounted.get(side) or ():
            if uid in kept:
                tally.uncounted[side].append(uid)
            else:
                counted[side] += 1
    for pod in sorted(view.pods, key=name_of):
        _count_pod(view, tally, pod, known, counted)
    if is_indexed(job):
        counted["succeeded"] = len(tally.completed)
    tally.counted = counted
    tally.succeeded = counted["succeeded"] + len(tally.uncounted["succeeded"])
    tally.failed = counted["failed"] + len(tally.uncounted["failed"])
    return tally


def _count_pod(view: View, tally: Tally, pod: Object, known: set[str], counted: dict[str, int]) -> None:
    job, uid = view.job, uid_of(pod)
    if podlist.is_active(pod):
        tally.active.append(pod)
    elif is_deleting(pod) and not podlist.is_finished(pod):
        tally.terminating += 1
    if podlist.phase(pod) == "Succeeded":
        tally.succeeded_pods.append(pod)
    elif failures.is_failed(job, pod):
        tally.failed_pods.append(pod)
    else:
        return
    if not held(pod):
        return
    if uid in known:
        tally.release.append(pod)
    elif podlist.phase(pod) == "Succeeded":
        if not is_indexed(job):
            tally.uncounted["succeeded"].append(uid)
            return
        index = index_of(pod)
        recorded = index_sets.parse((job.get("status") or {}).get("completedIndexes") or "")
        if index in recorded or not 0 <= index < int(job["spec"].get("completions") or 0):
            tally.release.append(pod)
        else:
            tally.completed.add(index)
    else:
        _count_failure(job, tally, pod, uid)


def _count_failure(job: Object, tally: Tally, pod: Object, uid: str) -> None:
    judgement = failures.judge(job, pod)
    if judgement.action == "FailJob":
        tally.fail_job = tally.fail_job or judgement.message
    per_index = job["spec"].get("backoffLimitPerIndex")
    if per_index is not None:
        ignored = judgement.action == "Ignore"
        count = int(annotations_of(pod).get(FAILURE_COUNT, "0")) + (0 if ignored else 1)
        if judgement.action == "FailIndex" or count > int(per_index):
            tally.failed_indexes.add(index_of(pod))
    if judgement.action == "Ignore":
        tally.release.append(pod)  # never counted
    else:
        tally.uncounted["failed"].append(uid)


def held(pod: Object) -> bool:
    """Whether the pod still waits to be counted."""
    return FINALIZER in (metadata(pod).get("finalizers") or ())
