"""The status of a pod, from what is known of its containers: a pure function.

Phases, conditions and reasons as the kubelet reports them (k8s.io/kubernetes pkg/kubelet/status, facts only).
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any, Literal

Object = dict[str, Any]


@dataclass(slots=True)
class ContainerState:
    """What the node knows of one container; times as metav1.Time."""

    name: str
    image: str
    phase: Literal["waiting", "running", "terminated"] = "waiting"
    reason: str = "ContainerCreating"
    message: str = ""
    exit_code: int = 0
    signal: int = 0
    started_at: str = ""
    finished_at: str = ""
    container_id: str = ""
    image_id: str = ""
    restarts: int = 0
    started: bool = False
    ready: bool = False
    last: Object = field(default_factory=dict)  # the state before this one, if it was an end

    def to_api(self) -> Object:
        """ContainerStatus."""
        status: Object = {
            "name": self.name,
            "state": {self.phase: self.detail()},
            "lastState": copy.deepcopy(self.last),
            "ready": self.ready,
            "restartCount": self.restarts,
            "image": self.image,
            "imageID": self.image_id,
        }
        if self.container_id:
            status["containerID"] = self.container_id
        status["started"] = self.started
        return status

    def detail(self) -> Object:
        if self.phase == "running":
            return {"startedAt": self.started_at}
        detail: Object = {}
        if self.phase == "terminated":
            detail["exitCode"] = self.exit_code
            if self.signal:
                detail["signal"] = self.signal
        if self.reason:
            detail["reason"] = self.reason
        if self.message:
            detail["message"] = self.message
        if self.phase == "terminated":
            if self.started_at:
                detail["startedAt"] = self.started_at
            detail["finishedAt"] = self.finished_at
            if self.container_id:
                detail["containerID"] = self.container_id
        return detail


@dataclass(slots=True)
class PodState:
    """What the node knows of a pod."""

    init: list[ContainerState]
    containers: list[ContainerState]
    ephemeral: list[ContainerState] = field(default_factory=list)
    sidecars: frozenset[str] = frozenset()  # init containers that run on beside the others
    restart_policy: str = "Always"
    address: str = ""
    host_address: str = ""
    start_time: str = ""
    sandbox: bool = False
    failure: tuple[str, str] | None = None  # reason and message that end the pod whatever its containers do
    deleting: bool = False
    gates: tuple[str, ...] = ()  # readiness gates: condition types


def _init_done(state: PodState) -> bool:
    return all(
        (one.started if one.name in state.sidecars else one.phase == "terminated" and one.exit_code == 0)
        for one in state.init
    )


def phase_of(state: PodState) -> str:
    """Pending, Running, Succeeded or Failed."""
    if state.failure is not None:
        return "Failed"
    for one in state.init:
        failed = one.phase == "terminated" and one.exit_code != 0
        if failed and one.name not in state.sidecars and state.restart_policy == "Never":
            return "Failed"
    if not _init_done(state):
        return "Pending"
    main = state.containers
    ended = [one for one in main if one.phase == "terminated"]
    if len(ended) == len(main) and main:
        if state.restart_policy == "Always" and not state.deleting:
            return "Running"
        succeeded = all(one.exit_code == 0 for one in ended)
        if succeeded:
            return "Succeeded"
        if state.restart_policy == "Never" or state.deleting:
            return "Failed"
        return "Running"
    if any(one.phase == "waiting" and not one.last for one in main):
        return "Pending"
    return "Running"


def _condition(
    kind: str,
    true: bool,
    now: str,
    old: dict[str, Object],
    generation: int,
    reason: str = "",
    message: str = "",
) -> Object:
    status = "True" if true else "False"
    before = old.get(kind, {})
    condition: Object = {
        "type": kind,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": before.get("lastTransitionTime", now)
        if before.get("status") == status
        else now,
    }
    if generation:
        condition["observedGeneration"] = generation
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def _names(containers: list[ContainerState]) -> str:
    return "[" + " ".join(one.name for one in containers) + "]"


def conditions_of(state: PodState, phase: str, now: str, pod: Object) -> list[Object]:
    """The kubelet's conditions, after those of others that the pod has already."""
    current = {one["type"]: one for one in (pod.get("status") or {}).get("conditions") or []}
    generation = int(pod["metadata"].get("generation") or 0)
    unready = [one for one in state.containers if not one.ready]
    missing = [
        one
        for one in state.init
        if not (
            one.started if one.name in state.sidecars else one.exit_code == 0 and one.phase == "terminated"
        )
    ]
    done = phase == "Succeeded"
    reason = message = ""
    if done:
        reason = "PodCompleted"
    elif phase == "Failed":
        reason = "PodFailed"
    elif unready:
        reason, message = "ContainersNotReady", f"containers with unready status: {_names(unready)}"
    containers_ready = not unready and not done and phase != "Failed"
    open_gates = [gate for gate in state.gates if current.get(gate, {}).get("status") != "True"]
    ready_reason, ready_message = reason, message
    if containers_ready and open_gates:
        ready_reason = "ReadinessGatesNotReady"
        ready_message = f'the status of pod readiness gate "{open_gates[0]}" is not "True", but False'
    made = [
        _condition(
            "PodReadyToStartContainers",
            state.sandbox and not done and phase != "Failed",
            now,
            current,
            generation,
        ),
        _condition(
            "Initialized",
            not missing,
            now,
            current,
            generation,
            ("PodCompleted" if done else "") if not missing else "ContainersNotInitialized",
            "" if not missing else f"containers with incomplete status: {_names(missing)}",
        ),
        _condition(
            "Ready",
            containers_ready and not open_gates,
            now,
            current,
            generation,
            ready_reason,
            ready_message,
        ),
        _condition("ContainersReady", containers_ready, now, current, generation, reason, message),
    ]
    own = {one["type"] for one in made}
    scheduled = current.get("PodScheduled") or _condition("PodScheduled", True, now, {}, generation)
    kept = [one for kind, one in current.items() if kind not in own and kind != "PodScheduled"]
    return [*made, scheduled, *kept]


def status_of(state: PodState, pod: Object, now: str) -> Object:
    """PodStatus."""
    phase = phase_of(state)
    status = dict(pod.get("status") or {})
    status["phase"] = phase
    if pod["metadata"].get("generation"):
        status["observedGeneration"] = pod["metadata"]["generation"]
    status["conditions"] = conditions_of(state, phase, now, pod)
    status["hostIP"] = state.host_address
    status["hostIPs"] = [{"ip": state.host_address}]
    if state.address:
        status["podIP"] = state.address
        status["podIPs"] = [{"ip": state.address}]
    if state.start_time:
        status["startTime"] = state.start_time
    if state.init:
        status["initContainerStatuses"] = [one.to_api() for one in state.init]
    status["containerStatuses"] = [one.to_api() for one in state.containers]
    if state.ephemeral:
        status["ephemeralContainerStatuses"] = [one.to_api() for one in state.ephemeral]
    if state.failure is not None:
        status["reason"], status["message"] = state.failure
    return status
