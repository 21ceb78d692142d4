"""Cells of pods, of what makes pods, and of what limits them."""

from __future__ import annotations

from typing import Any

from slipway.cluster.schema.quantity import canonical
from slipway.cluster.server.printers.durations import human_duration, parse_timestamp
from slipway.cluster.server.printers.subject import (
    Object,
    Subject,
    cell,
    condition,
    condition_is_true,
    value_at,
)

_JOB_STATES = ("Suspended", "FailureTarget", "SuccessCriteriaMet")


@cell
def container_names(subject: Subject) -> str:
    return ",".join(container.get("name", "") for container in subject.value or [])


@cell
def container_images(subject: Subject) -> str:
    return ",".join(container.get("image", "") for container in subject.value or [])


@cell
def ready_of_desired(subject: Subject) -> str:
    desired = subject.at("spec.replicas")
    return f"{subject.at('status.readyReplicas') or 0}/{1 if desired is None else desired}"


@cell
def pod_ready(subject: Subject) -> str:
    summary = _summary(subject)
    return f"{summary.ready}/{summary.total}"


@cell
def pod_status(subject: Subject) -> str:
    return _summary(subject).reason


@cell
def pod_restarts(subject: Subject) -> str:
    summary = _summary(subject)
    if not summary.restarts or summary.last_restart is None:
        return str(summary.restarts)
    return f"{summary.restarts} ({human_duration(subject.now - summary.last_restart)} ago)"


@cell
def pod_address(subject: Subject) -> str:
    addresses = subject.items("status.podIPs") or [{"ip": subject.at("status.podIP")}]
    return addresses[0].get("ip") or "<none>"


@cell
def readiness_gates(subject: Subject) -> str:
    gates = subject.items("spec.readinessGates")
    if not gates:
        return "<none>"
    conditions = subject.at("status.conditions")
    held = sum(condition_is_true(conditions, gate.get("conditionType", "")) for gate in gates)
    return f"{held}/{len(gates)}"


class _PodSummary:
    """What a pod's containers amount to, in the order in which kubectl has always counted them."""

    def __init__(self, pod: Object) -> None:
        spec, status = pod.get("spec") or {}, pod.get("status") or {}
        self.restarts = 0
        self.last_restart: float | None = None
        self.ready = 0
        self.total = len(spec.get("containers") or [])
        self.reason: str = status.get("reason") or status.get("phase") or ""
        scheduled = condition(status.get("conditions"), "PodScheduled")
        if scheduled and scheduled.get("reason") == "SchedulingGated":
            self.reason = "SchedulingGated"
        sidecars = {
            container["name"]
            for container in spec.get("initContainers") or []
            if container.get("restartPolicy") == "Always"
        }
        self.total += len(sidecars)
        initializing = self._count_init(status, sidecars, len(spec.get("initContainers") or []))
        if not initializing or condition_is_true(status.get("conditions"), "Initialized"):
            self._count_main(status, sidecars)
        if (pod.get("metadata") or {}).get("deletionTimestamp"):
            if status.get("reason") == "NodeLost":
                self.reason = "Unknown"
            elif status.get("phase") not in {"Failed", "Succeeded"}:
                self.reason = "Terminating"

    def _restarted(self, container: Object) -> None:
        self.restarts += container.get("restartCount") or 0
        ended = parse_timestamp(value_at(container, "lastState.terminated.finishedAt"))
        if ended is not None and (self.last_restart is None or ended > self.last_restart):
            self.last_restart = ended

    def _count_init(self, status: Object, sidecars: set[str], total: int) -> bool:
        """Init containers; whether one of them still has to end."""
        for index, container in enumerate(status.get("initContainerStatuses") or []):
            self._restarted(container)
            state = container.get("state") or {}
            terminated, waiting = state.get("terminated"), state.get("waiting")
            if terminated is not None and not terminated.get("exitCode"):
                continue
            if container.get("name") in sidecars and container.get("started"):
                self.ready += bool(container.get("ready"))
                continue
            if terminated is not None:
                self.reason = "Init:" + _ending(terminated)
            elif waiting and waiting.get("reason") not in {None, "", "PodInitializing"}:
                self.reason = f"Init:{waiting['reason']}"
            else:
                self.reason = f"Init:{index}/{total}"
            return True
        return False

    def _count_main(self, status: Object, sidecars: set[str]) -> None:
        # Restarts of init containers that have ended count no more.
        self.restarts, self.last_restart = 0, None
        for container in status.get("initContainerStatuses") or []:
            if container.get("name") in sidecars:
                self._restarted(container)
        running, error = False, ""
        for container in reversed(status.get("containerStatuses") or []):
            self._restarted(container)
            state = container.get("state") or {}
            terminated, waiting = state.get("terminated"), state.get("waiting")
            if waiting and waiting.get("reason"):
                self.reason = waiting["reason"]
            elif terminated is not None:
                self.reason = _ending(terminated)
                if terminated.get("exitCode"):
                    error = self.reason
            elif container.get("ready") and state.get("running") is not None:
                running = True
                self.ready += 1
        if self.reason == "Completed":
            if running and condition_is_true(status.get("conditions"), "Ready"):
                self.reason = "Running"
            elif error:
                self.reason = error
            elif running:
                self.reason = "NotReady"


def _ending(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _summary(subject: Subject) -> _PodSummary:
    return _PodSummary(subject.obj)


def row_conditions(pod: Object) -> list[Object]:
    """The conditions of a pod's row: kubectl's `Completed` filter."""
    phase = value_at(pod, "status.phase")
    if phase == "Succeeded":
        message = "The pod has completed successfully."
    elif phase == "Failed":
        message = "The pod failed."
    else:
        return []
    return [{"type": "Completed", "status": "True", "reason": phase, "message": message}]


@cell
def job_status(subject: Subject) -> str:
    conditions = subject.at("status.conditions")
    if condition_is_true(conditions, "Complete"):
        return "Complete"
    if condition_is_true(conditions, "Failed"):
        return "Failed"
    if subject.at("metadata.deletionTimestamp"):
        return "Terminating"
    return next((state for state in _JOB_STATES if condition_is_true(conditions, state)), "Running")


@cell
def job_completions(subject: Subject) -> str:
    succeeded = subject.at("status.succeeded") or 0
    completions = subject.at("spec.completions")
    if completions is not None:
        return f"{succeeded}/{completions}"
    parallelism = subject.at("spec.parallelism") or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


@cell
def job_duration(subject: Subject) -> str:
    begun = parse_timestamp(subject.at("status.startTime"))
    if begun is None:
        return ""
    ended = parse_timestamp(subject.at("status.completionTime"))
    return human_duration((subject.now if ended is None else ended) - begun)


@cell
def true_or_false(subject: Subject) -> str:
    return "<unset>" if subject.value is None else "True" if subject.value else "False"


@cell
def controller_reference(subject: Subject) -> str:
    for owner in subject.items("metadata.ownerReferences"):
        if owner.get("controller"):
            group = owner.get("apiVersion", "").rpartition("/")[0]
            kind = owner.get("kind", "")
            return f"{f'{kind}.{group}' if group else kind}".lower() + f"/{owner.get('name', '')}"
    return "<none>"


@cell
def scale_target(subject: Subject) -> str:
    return f"{subject.at('spec.scaleTargetRef.kind')}/{subject.at('spec.scaleTargetRef.name')}"


@cell
def autoscaler_metrics(subject: Subject) -> str:
    """`cpu: 20%/50%`, two at most."""
    specs, statuses = subject.items("spec.metrics"), subject.items("status.currentMetrics")
    target = subject.at("spec.targetCPUUtilizationPercentage")
    if not specs and target is not None:  # autoscaling/v1 has this one field
        current = subject.at("status.currentCPUUtilizationPercentage")
        return f"cpu: {'<unknown>' if current is None else f'{current}%'}/{target}%"
    if not specs:
        return "<none>"
    shown = [
        _metric(spec, statuses[index] if index < len(statuses) else {}) for index, spec in enumerate(specs)
    ]
    text = ", ".join(shown[:2])
    return f"{text} + {len(shown) - 2} more..." if len(shown) > 2 else text


_METRIC_FIELDS = {
    "External": "external",
    "Pods": "pods",
    "Object": "object",
    "Resource": "resource",
    "ContainerResource": "containerResource",
}


def _metric(spec: Object, status: Object) -> str:
    field = _METRIC_FIELDS.get(spec.get("type", ""))
    if field is None:
        return "<unknown type>"
    wanted = value_at(spec, f"{field}.target") or {}
    current = value_at(status, f"{field}.current") or {}
    if field in {"resource", "containerResource"}:
        name = value_at(spec, f"{field}.name")
        if wanted.get("averageValue") is not None:
            return f"{name}: {_amount(current.get('averageValue'))}/{_amount(wanted['averageValue'])}"
        used = current.get("averageUtilization")
        target = wanted.get("averageUtilization")
        return (
            f"{name}: {'<unknown>' if used is None else f'{used}%'}/"
            f"{'<auto>' if target is None else f'{target}%'}"
        )
    if wanted.get("averageValue") is not None:
        text = f"{_amount(current.get('averageValue'))}/{_amount(wanted['averageValue'])}"
        return text if field == "pods" else f"{text} (avg)"
    return f"{_amount(current.get('value'))}/{_amount(wanted.get('value'))}"


def _amount(value: Any) -> str:
    return "<unknown>" if value is None else canonical(value)


@cell
def quota_requests(subject: Subject) -> str:
    return _quota(subject, limits=False)


@cell
def quota_limits(subject: Subject) -> str:
    return _quota(subject, limits=True)


def _quota(subject: Subject, *, limits: bool) -> str:
    hard, used = subject.at("status.hard") or {}, subject.at("status.used") or {}
    return ", ".join(
        f"{name}: {canonical(used.get(name, '0'))}/{canonical(hard[name])}"
        for name in sorted(hard)
        if name.startswith("limits.") == limits
    )


@cell
def claim_state(subject: Subject) -> str:
    states = ["deleted"] if subject.at("metadata.deletionTimestamp") else []
    if subject.at("status.allocation") is None:
        states += [] if states else ["pending"]
    else:
        states.append("allocated")
        if subject.items("status.reservedFor"):
            states.append("reserved")
    return ",".join(states)
