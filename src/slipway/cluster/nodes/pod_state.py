"""What a node agent knows about one pod: plain data, filled in by what happens, read by `pod_step` and `pod_status`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from slipway.cluster.clock import parse_timestamp
from slipway.cluster.nodes.runtime import Exit, Sandbox

Object = dict[str, Any]


class Kind(StrEnum):
    """SIDECAR is an init container with restartPolicy Always."""

    INIT = "init"
    SIDECAR = "sidecar"
    APP = "app"
    EPHEMERAL = "ephemeral"


class Phase(StrEnum):
    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Ended:
    """One run of a container that is over."""

    id: str
    started_at: float
    finished_at: float
    exit: Exit


@dataclass(slots=True)
class ContainerState:
    """`sandbox` is the one that it ran in last. `hold_until` is when it may be started (again), for the reason in
    `waiting`; `crash_delay` the back-off's present length. `stop_by` is when a container that is being stopped is
    killed. `in_hook`: its postStart hook has not ended yet, so that others are told that it is being created."""

    name: str
    kind: Kind
    phase: Phase = Phase.WAITING
    id: str = ""
    sandbox: str = ""
    image_id: str = ""
    restarts: int = 0
    started_at: float = 0.0
    ended: Ended | None = None
    previous: Ended | None = None
    waiting: tuple[str, str] = ("", "")
    hold_until: float = 0.0
    start_failures: int = 0
    crash_delay: float = 0.0
    crash_delay_set: float = 0.0
    started: bool = False
    ready: bool = False
    in_hook: bool = False
    stop_by: float | None = None
    unhealthy: str = ""

    @property
    def alive(self) -> bool:
        return self.phase in (Phase.STARTING, Phase.RUNNING)


@dataclass(slots=True)
class PodState:
    """`failure` is (reason, message) of a pod that the node itself has ended (deadline, eviction)."""

    containers: dict[str, ContainerState] = field(default_factory=dict)
    sandbox: Sandbox | None = None
    accepted_at: float = 0.0
    preparing: bool = False
    prepare_after: float = 0.0
    prepare_failures: int = 0
    tearing_down: bool = False
    torn_down: bool = False
    failure: tuple[str, str] | None = None
    withdrawn: bool = False  # the API has the pod no more
    conditions: dict[str, Object] = field(default_factory=dict)

    def of(self, *kinds: Kind) -> list[ContainerState]:
        return [container for container in self.containers.values() if container.kind in kinds]


def container_specs(pod: Object) -> list[tuple[Kind, Object]]:
    """All containers in the order in which they start."""
    spec = pod["spec"]
    rows = []
    for container in spec.get("initContainers") or ():
        sidecar = container.get("restartPolicy") == "Always"
        rows.append((Kind.SIDECAR if sidecar else Kind.INIT, container))
    rows += [(Kind.APP, container) for container in spec.get("containers") or ()]
    rows += [(Kind.EPHEMERAL, container) for container in spec.get("ephemeralContainers") or ()]
    return rows


def first_state(pod: Object, now: float) -> PodState:
    """The state of a pod that this agent meets for the first time.

    Where another agent has run it before (one that was killed), its containers are taken as lost: those that ran
    are started again and count a restart, those that had completed stay so.
    """
    state = PodState(accepted_at=now)
    status = pod.get("status") or {}
    known = {
        row["name"]: row
        for group in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
        for row in status.get(group) or ()
    }
    for kind, spec in container_specs(pod):
        container = ContainerState(spec["name"], kind)
        state.containers[container.name] = container
        if container.name in known:
            _recall(container, known[container.name])
    if status.get("startTime"):
        state.accepted_at = parse_timestamp(status["startTime"])
    for condition in status.get("conditions") or ():
        state.conditions[condition["type"]] = condition
    if status.get("phase") in ("Succeeded", "Failed"):
        state.torn_down = True
        if status.get("reason"):
            state.failure = (status["reason"], status.get("message", ""))
    return state


def _recall(container: ContainerState, row: Object) -> None:
    container.restarts = int(row.get("restartCount") or 0)
    container.image_id = row.get("imageID", "")
    now, before = row.get("state") or {}, row.get("lastState") or {}
    if before.get("terminated"):
        container.previous = _ended(before["terminated"])
    if now.get("terminated"):
        container.phase = Phase.EXITED
        container.ended = _ended(now["terminated"])
        container.id = container.ended.id
    elif now.get("running"):
        started = parse_timestamp(now["running"]["startedAt"])
        lost = Exit(255, "Unknown", "The container could not be located when the node agent started again")
        container.phase = Phase.EXITED
        container.ended = Ended(_bare(row.get("containerID", "")), started, started, lost)
        container.id = container.ended.id


def _ended(terminated: Object) -> Ended:
    exit = Exit(
        int(terminated.get("exitCode") or 0), terminated.get("reason", ""), terminated.get("message", "")
    )
    stamps = (terminated.get("startedAt"), terminated.get("finishedAt"))
    started, finished = (parse_timestamp(stamp) if stamp else 0.0 for stamp in stamps)
    return Ended(_bare(terminated.get("containerID", "")), started, finished, exit)


def _bare(container_id: str) -> str:
    return container_id.partition("://")[2]
