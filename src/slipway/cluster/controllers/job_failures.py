"""What a failed pod means for its Job: podFailurePolicy, back-off before the next pod. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from slipway.cluster.client.objects import Object, condition_of, is_deleting, metadata, name_of, namespace_of
from slipway.cluster.clock import parse_timestamp
from slipway.cluster.controllers import pods as podlist

Action = Literal["FailJob", "FailIndex", "Ignore", "Count"]

FIRST_BACKOFF = 10.0  # seconds; doubles with each failure in a row
LONGEST_BACKOFF = 600.0


@dataclass(frozen=True, slots=True)
class Judgement:
    action: Action
    message: str = ""


def judge(job: Object, pod: Object) -> Judgement:
    """The first rule of podFailurePolicy that matches; Count when none does."""
    if podlist.phase(pod) != "Failed":
        return Judgement("Count")
    for index, rule in enumerate((job["spec"].get("podFailurePolicy") or {}).get("rules") or ()):
        text = _exit_code_match(rule, pod) or _condition_match(rule, pod)
        if text:
            return Judgement(rule["action"], f"{text} matching {rule['action']} rule at index {index}")
    return Judgement("Count")


def _exit_code_match(rule: Mapping[str, Any], pod: Object) -> str:
    wanted = rule.get("onExitCodes")
    if not wanted:
        return ""
    status = pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        terminated = (container.get("state") or {}).get("terminated")
        if not terminated or wanted.get("containerName") not in (None, "", container["name"]):
            continue
        code = int(terminated.get("exitCode") or 0)
        if code and (code in wanted["values"]) == (wanted["operator"] == "In"):
            pod_name = f"{namespace_of(pod)}/{name_of(pod)}"
            return f"Container {container['name']} for pod {pod_name} failed with exit code {code}"
    return ""


def _condition_match(rule: Mapping[str, Any], pod: Object) -> str:
    for pattern in rule.get("onPodConditions") or ():
        found = condition_of(pod, pattern["type"])
        if found and found.get("status") == pattern.get("status", "True"):
            return f"Pod {namespace_of(pod)}/{name_of(pod)} has condition {pattern['type']}"
    return ""


def is_failed(job: Object, pod: Object) -> bool:
    """A pod that is being deleted counts as failed too, unless only failed pods are to be replaced."""
    if podlist.phase(pod) == "Failed":
        return True
    if job["spec"].get("podReplacementPolicy") == "Failed" or podlist.phase(pod) == "Succeeded":
        return False
    return is_deleting(pod)


def finished_at(pod: Object, now: float) -> float:
    """When the last container ended, or the best that is known in its place."""
    status = pod.get("status") or {}
    times = [
        parse_timestamp(terminated["finishedAt"])
        for container in status.get("containerStatuses") or ()
        if (terminated := (container.get("state") or {}).get("terminated")) and terminated.get("finishedAt")
    ]
    if times:
        return max(times)
    ready = condition_of(pod, "Ready")
    stamp = (ready or {}).get("lastTransitionTime") or metadata(pod).get("deletionTimestamp")
    return min(now, parse_timestamp(stamp)) if stamp else now


def backoff_left(failed: Iterable[Object], succeeded: Iterable[Object], now: float) -> float:
    """Seconds until the next pod may be created after failures in a row; at most 0 when at once."""
    last_success = max((finished_at(pod, now) for pod in succeeded), default=float("-inf"))
    failures = [at for at in (finished_at(pod, now) for pod in failed) if at > last_success]
    if not failures:
        return 0.0
    wait = min(FIRST_BACKOFF * 2.0 ** (len(failures) - 1), LONGEST_BACKOFF)
    return max(failures) + wait - now
