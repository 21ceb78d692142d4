"""What is to be done next for a pod: a pure function of the pod, of what is known about it, and of the time.

`step` says which operations to begin now and when to look again; it changes nothing. The worker performs the
operations, notes their outcome in the PodState, and asks again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from slipway.cluster.clock import parse_timestamp
from slipway.cluster.nodes.pod_state import ContainerState, Kind, Object, Phase, PodState, container_specs

FIRST_CRASH_DELAY = 10.0  # seconds, doubling at each crash
LONGEST_CRASH_DELAY = 300.0
EVICTION_GRACE = 1.0  # for a pod that uses too much, whatever it asks for itself
CRASHES_FORGOTTEN = 600.0  # after so long without a crash the delay starts anew


@dataclass(frozen=True, slots=True)
class Prepare:
    """Mount the volumes and make the sandbox."""


@dataclass(frozen=True, slots=True)
class Start:
    container: str
    restart: bool = False


@dataclass(frozen=True, slots=True)
class Hold:
    """Keep a crashed container waiting until then."""

    container: str
    until: float
    delay: float


@dataclass(frozen=True, slots=True)
class Stop:
    """`by` is when it is killed if it has not ended."""

    container: str
    by: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class Fail:
    """The node ends the pod itself."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Teardown:
    """Let go of sandbox and volumes."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Delete the pod from the API: nothing of it is left here."""


Operation = Prepare | Start | Hold | Stop | Fail | Teardown | Forget


@dataclass(slots=True)
class Plan:
    operations: list[Operation] = field(default_factory=list)
    wake: float | None = None  # when to look again at the latest

    def do(self, operation: Operation) -> None:
        self.operations.append(operation)

    def wake_at(self, when: float) -> None:
        self.wake = when if self.wake is None else min(self.wake, when)


def step(pod: Object, state: PodState, now: float) -> Plan:
    plan = Plan()
    if state.torn_down:
        if pod["metadata"].get("deletionTimestamp") and not state.withdrawn:
            plan.do(Forget())
        return plan
    if _must_end(pod, state, now, plan):
        _wind_down(pod, state, now, plan)
        return plan
    if state.sandbox is None:
        if any(container.alive for container in state.containers.values()):
            return plan  # of a sandbox that was lost; they will have ended in a moment
        if not state.preparing and now >= state.prepare_after:
            plan.do(Prepare())
        elif not state.preparing:
            plan.wake_at(state.prepare_after)
        return plan
    _stop_unhealthy(pod, state, now, plan)
    if _initialize(pod, state, now, plan):
        _run_apps(pod, state, now, plan)
    for container in state.of(Kind.EPHEMERAL):
        if container.phase is Phase.WAITING:
            _start_when_due(container, now, plan, restart=False)
    return plan


def restarts(pod: Object, container: ContainerState) -> bool:
    """Whether an ended container is started again by its or its pod's restart policy."""
    if container.ended is None:
        return True
    if container.kind is Kind.SIDECAR:
        return True
    if container.kind is Kind.EPHEMERAL:
        return False
    code = container.ended.exit.code
    own = _own_policy(pod, container, code)
    policy = own or pod["spec"].get("restartPolicy", "Always")
    if container.kind is Kind.INIT and policy == "Always":
        policy = "OnFailure"
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def _own_policy(pod: Object, container: ContainerState, code: int) -> str:
    """A container's own restartPolicy and rules (KEP-5307), empty if it has none."""
    spec = next((row for _, row in container_specs(pod) if row["name"] == container.name), {})
    for rule in spec.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        among = code in (codes.get("values") or ())
        if among == (codes.get("operator") == "In") and rule.get("action") == "Restart":
            return "Always"
    return str(spec.get("restartPolicy") or "")


def initialized(state: PodState) -> bool:
    """All init containers have completed, all sidecars have started."""
    return all(
        container.started
        if container.kind is Kind.SIDECAR
        else container.ended is not None
        and container.ended.exit.code == 0
        and container.phase is Phase.EXITED
        for container in state.of(Kind.INIT, Kind.SIDECAR)
    )


def finished(pod: Object, state: PodState) -> bool:
    """Nothing will run any more by itself: every app container is over, or an init container failed for good."""
    for container in state.of(Kind.INIT):
        over = container.phase is Phase.EXITED and container.ended is not None
        if over and container.ended and container.ended.exit.code != 0 and not restarts(pod, container):
            return True
    apps = state.of(Kind.APP)
    return bool(apps) and all(
        container.phase is Phase.EXITED and not restarts(pod, container) for container in apps
    )


def _must_end(pod: Object, state: PodState, now: float, plan: Plan) -> bool:
    if pod["metadata"].get("deletionTimestamp") or state.withdrawn or state.failure:
        return True
    limit = pod["spec"].get("activeDeadlineSeconds")
    if limit is not None:
        if now >= state.accepted_at + limit:
            message = "Pod was active on the node longer than the specified deadline"
            plan.do(Fail("DeadlineExceeded", message))
            return False
        plan.wake_at(state.accepted_at + limit)
    return finished(pod, state)


def _wind_down(pod: Object, state: PodState, now: float, plan: Plan) -> None:
    """Stop the containers, sidecars after all others, then let go of what is left."""
    by = _stop_by(pod, state, now)
    others = [c for c in state.containers.values() if c.alive and c.kind is not Kind.SIDECAR]
    sidecars = [c for c in state.of(Kind.SIDECAR) if c.alive]
    for container in others or sidecars[-1:]:
        asked = container.stop_by
        if container.phase is Phase.RUNNING and (asked is None or by < asked - 0.5):
            plan.do(Stop(container.name, by))
    if not others and not sidecars and not state.preparing and not state.tearing_down:
        plan.do(Teardown())


def _stop_by(pod: Object, state: PodState, now: float) -> float:
    if state.withdrawn:
        return now
    deleted = pod["metadata"].get("deletionTimestamp")
    if deleted:
        return max(now, parse_timestamp(deleted))
    if state.failure and state.failure[0] == "Evicted":
        return now + EVICTION_GRACE
    return now + float(pod["spec"].get("terminationGracePeriodSeconds", 30))


def _stop_unhealthy(pod: Object, state: PodState, now: float, plan: Plan) -> None:
    grace = float(pod["spec"].get("terminationGracePeriodSeconds", 30))
    for container in state.containers.values():
        if container.unhealthy and container.phase is Phase.RUNNING and container.stop_by is None:
            plan.do(Stop(container.name, now + grace, container.unhealthy))


def _initialize(pod: Object, state: PodState, now: float, plan: Plan) -> bool:
    """Go through the init containers in order, anew in a new sandbox; True when the app containers may start."""
    done = True
    assert state.sandbox is not None
    here = state.sandbox.id
    app_ran = any(container.id and container.sandbox == here for container in state.of(Kind.APP))
    for container in state.of(Kind.INIT, Kind.SIDECAR):
        if container.kind is Kind.SIDECAR:
            if done or container.id:
                _keep_running(pod, container, now, plan)
            done = done and (container.started or app_ran)
        elif done and not app_ran and not _succeeded(container, here):
            if container.phase is Phase.EXITED and container.sandbox != here:
                plan.do(Start(container.name, restart=True))
            else:
                _keep_running(pod, container, now, plan)
            done = False
    return done


def _succeeded(container: ContainerState, sandbox: str) -> bool:
    over = container.phase is Phase.EXITED and container.sandbox == sandbox
    return over and container.ended is not None and container.ended.exit.code == 0


def _run_apps(pod: Object, state: PodState, now: float, plan: Plan) -> None:
    """Start them in their order: those after a container with a postStart hook when the hook is over."""
    rows = pod["spec"]["containers"]
    hooked = {row["name"] for row in rows if (row.get("lifecycle") or {}).get("postStart")}
    for container in state.of(Kind.APP):
        planned = len(plan.operations)
        _keep_running(pod, container, now, plan)
        starts = any(isinstance(operation, Start) for operation in plan.operations[planned:])
        if container.name in hooked and (starts or container.phase is Phase.STARTING or container.in_hook):
            return


def _keep_running(pod: Object, container: ContainerState, now: float, plan: Plan) -> None:
    if container.phase is Phase.WAITING:
        _start_when_due(container, now, plan, restart=container.ended is not None)
    elif container.phase is Phase.EXITED and restarts(pod, container):
        delay, since = crash_delay(container, now)
        if container.ended is None or delay == 0.0 or now >= since + delay:
            plan.do(Start(container.name, restart=True))
        else:
            plan.do(Hold(container.name, since + delay, delay))


def _start_when_due(container: ContainerState, now: float, plan: Plan, *, restart: bool) -> None:
    if now >= container.hold_until:
        plan.do(Start(container.name, restart=restart))
    else:
        plan.wake_at(container.hold_until)


def crash_delay(container: ContainerState, now: float) -> tuple[float, float]:
    """How long a crashed container must wait, and from when; 0 at its first crash in a long time."""
    ended = container.ended
    if ended is None or now - container.crash_delay_set > CRASHES_FORGOTTEN:
        return 0.0, now
    return container.crash_delay, ended.finished_at


def next_crash_delay(container: ContainerState, now: float) -> float:
    """The back-off to note when a container is started again after a crash."""
    if not container.crash_delay or now - container.crash_delay_set > CRASHES_FORGOTTEN:
        return FIRST_CRASH_DELAY
    return min(container.crash_delay * 2, LONGEST_CRASH_DELAY)
