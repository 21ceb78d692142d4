"""PodStatus as kubelet reports it, from the pod and what is known about it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from slipway.cluster.clock import format_timestamp
from slipway.cluster.nodes.pod_state import (
    ContainerState,
    Ended,
    Kind,
    Object,
    Phase,
    PodState,
    container_specs,
)
from slipway.cluster.nodes.pod_step import finished, initialized

_GROUPS = {
    Kind.INIT: "initContainerStatuses",
    Kind.SIDECAR: "initContainerStatuses",
    Kind.APP: "containerStatuses",
    Kind.EPHEMERAL: "ephemeralContainerStatuses",
}


@dataclass(frozen=True, slots=True)
class Reporter:
    """Whose runtime and address the status names."""

    runtime: str
    host_address: str


def pod_status(pod: Object, state: PodState, reporter: Reporter, now: float) -> Object:
    """The status to write. Conditions keep their transition time while their status stays the same."""
    status: Object = {"phase": phase_of(pod, state)}
    if state.failure:
        status["reason"], status["message"] = state.failure
    status["hostIP"] = reporter.host_address
    status["hostIPs"] = [{"ip": reporter.host_address}]
    status["startTime"] = format_timestamp(state.accepted_at)
    if state.sandbox is not None and state.sandbox.address:
        status["podIP"] = state.sandbox.address
        status["podIPs"] = [{"ip": state.sandbox.address}]
    generation = pod["metadata"].get("generation")
    if generation is not None:
        status["observedGeneration"] = generation
    # As kubelet, which goes by whether there are init containers, not by how far they are.
    waits = "PodInitializing" if pod["spec"].get("initContainers") else "ContainerCreating"
    for kind, spec in container_specs(pod):
        container = state.containers.get(spec["name"])
        if container is not None:
            row = _container_status(container, spec, reporter, waits)
            status.setdefault(_GROUPS[kind], []).append(row)
    status["conditions"] = _conditions(pod, state, status["phase"], now, generation)
    return status


def phase_of(pod: Object, state: PodState) -> str:
    if state.failure:
        return "Failed"
    apps = state.of(Kind.APP)
    if finished(pod, state):
        ends = [container.ended for container in state.of(Kind.INIT, Kind.APP) if container.ended]
        failed = any(ended.exit.code != 0 for ended in ends)
        still = any(container.alive for container in state.of(Kind.SIDECAR))
        if still:
            return "Running"
        return "Failed" if failed else "Succeeded"
    if state.torn_down or (pod["metadata"].get("deletionTimestamp") and not _any_alive(state)):
        ran = [container.ended for container in apps if container.ended]
        if len(ran) == len(apps) and apps:
            return "Failed" if any(ended.exit.code != 0 for ended in ran) else "Succeeded"
    if not initialized(state) and not any(container.id for container in apps):
        return "Pending"
    if any((c.phase in (Phase.WAITING, Phase.STARTING) or c.in_hook) and c.ended is None for c in apps):
        return "Pending"
    return "Running"


def _any_alive(state: PodState) -> bool:
    return any(container.alive for container in state.containers.values())


def _container_status(
    container: ContainerState, spec: Mapping[str, Any], reporter: Reporter, waits: str
) -> Object:
    row: Object = {
        "name": container.name,
        "state": _current(container, reporter, waits),
        "lastState": {},
        "ready": _ready(container),
        "restartCount": container.restarts,
        "image": spec.get("image", ""),
        "imageID": container.image_id,
    }
    previous = container.previous
    if container.phase in (Phase.WAITING, Phase.STARTING) and container.ended is not None:
        previous = container.ended
    if previous is not None:
        row["lastState"] = {"terminated": _terminated(previous, reporter)}
    if container.id:
        row["containerID"] = f"{reporter.runtime}://{container.id}"
    row["started"] = container.started and container.phase is Phase.RUNNING
    resources = spec.get("resources") or {}
    if container.phase is Phase.RUNNING:
        row["resources"] = resources
    if resources.get("requests") and container.phase is Phase.RUNNING:
        row["allocatedResources"] = resources["requests"]
    mounts = [_mount(mount) for mount in spec.get("volumeMounts") or ()]
    if mounts:
        row["volumeMounts"] = mounts
    return row


def _mount(mount: Mapping[str, Any]) -> Object:
    row: Object = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        row |= {"readOnly": True, "recursiveReadOnly": "Disabled"}
    return row


def _ready(container: ContainerState) -> bool:
    if container.kind is Kind.INIT:
        return container.ended is not None and container.ended.exit.code == 0
    return container.ready and container.phase is Phase.RUNNING


def _current(container: ContainerState, reporter: Reporter, waits: str) -> Object:
    if container.phase is Phase.RUNNING and not container.in_hook:
        return {"running": {"startedAt": format_timestamp(container.started_at)}}
    if container.phase is Phase.EXITED and container.ended is not None:
        return {"terminated": _terminated(container.ended, reporter)}
    reason, message = container.waiting
    waiting: Object = {"reason": reason or waits}
    if message:
        waiting["message"] = message
    return {"waiting": waiting}


def _terminated(ended: Ended, reporter: Reporter) -> Object:
    code = ended.exit.code
    row: Object = {
        "exitCode": code,
        "reason": ended.exit.reason or ("Completed" if code == 0 else "Error"),
        "startedAt": format_timestamp(ended.started_at),
        "finishedAt": format_timestamp(ended.finished_at),
    }
    if ended.exit.message:
        row["message"] = ended.exit.message
    if ended.id:
        row["containerID"] = f"{reporter.runtime}://{ended.id}"
    return row


def _conditions(pod: Object, state: PodState, phase: str, now: float, generation: int | None) -> list[Object]:
    over = phase in ("Succeeded", "Failed")
    ended_well = "PodCompleted" if phase == "Succeeded" else "PodFailed"
    not_ready = [c.name for c in state.of(Kind.APP, Kind.SIDECAR) if not _ready(c)]
    rows = {"PodReadyToStartContainers": (state.sandbox is not None and not state.torn_down, "", "")}
    uninitialized = [c.name for c in state.of(Kind.INIT, Kind.SIDECAR) if not _initialized(c)]
    if phase == "Succeeded":
        rows["Initialized"] = (True, "PodCompleted" if state.of(Kind.INIT, Kind.SIDECAR) else "", "")
    elif uninitialized and not any(c.id for c in state.of(Kind.APP)):
        message = f"containers with incomplete status: [{' '.join(uninitialized)}]"
        rows["Initialized"] = (False, "ContainersNotInitialized", message)
    else:
        rows["Initialized"] = (True, "", "")
    if over:
        rows["ContainersReady"] = (False, ended_well, "")
    elif not_ready:
        message = f"containers with unready status: [{' '.join(not_ready)}]"
        rows["ContainersReady"] = (False, "ContainersNotReady", message)
    else:
        rows["ContainersReady"] = (True, "", "")
    ready = rows["ContainersReady"]
    unmet = _unmet_gates(pod)
    if ready[0] and unmet:
        ready = (False, "ReadinessGatesNotReady", "; ".join(unmet))
    rows["Ready"] = ready
    rows["PodScheduled"] = (True, "", "")
    if state.failure and state.failure[0] == "Evicted":
        rows["DisruptionTarget"] = (True, "TerminationByKubelet", state.failure[1])
    order = (
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
        "DisruptionTarget",
    )
    return [_condition(kind, *rows[kind], state, now, generation) for kind in order if kind in rows]


def _initialized(container: ContainerState) -> bool:
    return container.started if container.kind is Kind.SIDECAR else _ready(container)


def _unmet_gates(pod: Object) -> list[str]:
    have = {row["type"]: row["status"] for row in (pod.get("status") or {}).get("conditions") or ()}
    messages = []
    for gate in pod["spec"].get("readinessGates") or ():
        kind = gate["conditionType"]
        if kind not in have:
            messages.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif have[kind] != "True":
            messages.append(f'the status of pod readiness gate "{kind}" is not "True", but {have[kind]}')
    return messages


def _condition(
    kind: str, holds: bool, reason: str, message: str, state: PodState, now: float, generation: int | None
) -> Object:
    known = state.conditions.get(kind)
    status = "True" if holds else "False"
    changed = known is None or known.get("status") != status
    row: Object = {
        "type": kind,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": format_timestamp(now)
        if changed or known is None
        else known["lastTransitionTime"],
        "reason": reason or None,
        "message": message or None,
    }
    if generation is not None:
        row["observedGeneration"] = generation
    return row
