"""The pure heart of the node agent: pod, what is known, and time in; operations and status out."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.clock import format_timestamp
from slipway.cluster.nodes.pod_state import ContainerState, Ended, Kind, Phase, PodState, first_state
from slipway.cluster.nodes.pod_status import Reporter, pod_status
from slipway.cluster.nodes.pod_step import (
    Fail,
    Forget,
    Hold,
    Plan,
    Prepare,
    Start,
    Stop,
    Teardown,
    next_crash_delay,
    step,
)
from slipway.cluster.nodes.runtime import Exit, Sandbox

NOW = 1_800_000_000.0
REPORTER = Reporter("slipway", "10.0.0.1")


def a_pod(*containers: str, **spec: Any) -> dict[str, Any]:
    rows = [{"name": name, "image": "x"} for name in containers or ("main",)]
    return {
        "metadata": {"name": "p", "namespace": "default", "uid": "u", "generation": 1},
        "spec": {"restartPolicy": "Always", "containers": rows, "terminationGracePeriodSeconds": 30, **spec},
    }


def known(pod: dict[str, Any], *, sandbox: bool = True) -> PodState:
    state = first_state(pod, NOW)
    state.sandbox = Sandbox("s", "10.1.0.5") if sandbox else None
    return state


def runs(state: PodState, name: str = "main") -> ContainerState:
    container = state.containers[name]
    container.phase, container.id, container.started_at = Phase.RUNNING, f"id-{name}", NOW
    container.sandbox = state.sandbox.id if state.sandbox else ""
    container.started = container.ready = True
    return container


def ends(state: PodState, code: int, name: str = "main", at: float = NOW) -> ContainerState:
    container = runs(state, name)
    container.phase, container.ended = Phase.EXITED, Ended(container.id, NOW - 5, at, Exit(code))
    container.started = container.ready = False
    return container


def operations(pod: dict[str, Any], state: PodState, now: float = NOW) -> list[Any]:
    return step(pod, state, now).operations


def status_of(pod: dict[str, Any], state: PodState) -> dict[str, Any]:
    return pod_status(pod, state, REPORTER, NOW)


def test_a_new_pod_is_prepared_first_and_only_once() -> None:
    pod = a_pod()
    state = known(pod, sandbox=False)
    assert operations(pod, state) == [Prepare()]
    state.preparing = True
    assert operations(pod, state) == []


def test_containers_after_one_with_a_hook_wait_until_its_hook_is_over() -> None:
    pod = a_pod("first", "hooked", "last")
    pod["spec"]["containers"][1]["lifecycle"] = {"postStart": {"sleep": {"seconds": 1}}}
    state = known(pod)
    assert operations(pod, state) == [Start("first"), Start("hooked")]
    runs(state, "first")
    state.containers["hooked"].phase = Phase.STARTING
    assert operations(pod, state) == []
    runs(state, "hooked").in_hook = True
    assert operations(pod, state) == []
    assert status_of(pod, state)["phase"] == "Pending"
    assert "waiting" in status_of(pod, state)["containerStatuses"][1]["state"]
    state.containers["hooked"].in_hook = False
    assert operations(pod, state) == [Start("last")]


def test_preparing_again_waits_for_its_time() -> None:
    pod = a_pod()
    state = known(pod, sandbox=False)
    state.prepare_after = NOW + 4
    assert step(pod, state, NOW) == Plan([], NOW + 4)


def test_all_app_containers_start_together() -> None:
    pod = a_pod("a", "b")
    assert operations(pod, known(pod)) == [Start("a"), Start("b")]


def test_init_containers_start_one_after_the_other() -> None:
    init = [{"name": "one"}, {"name": "side", "restartPolicy": "Always"}, {"name": "two"}]
    pod = a_pod(initContainers=init)
    state = known(pod)
    assert operations(pod, state) == [Start("one")]
    runs(state, "one")
    assert operations(pod, state) == []
    ends(state, 0, "one")
    assert operations(pod, state) == [Start("side")]
    runs(state, "side").started = False
    assert operations(pod, state) == [], "a sidecar must have started before what comes after it"
    state.containers["side"].started = True
    assert operations(pod, state) == [Start("two")]
    ends(state, 0, "two")
    assert operations(pod, state) == [Start("main")]


def test_a_new_sandbox_waits_for_the_ends_of_the_old_ones_containers_and_init_containers_run_again() -> None:
    pod = a_pod(initContainers=[{"name": "one"}])
    state = known(pod)
    ends(state, 0, "one")
    runs(state)
    state.sandbox = None
    assert operations(pod, state) == []
    main = state.containers["main"]
    main.phase, main.ended = Phase.EXITED, Ended(main.id, NOW - 5, NOW, Exit(137))
    assert operations(pod, state) == [Prepare()]
    state.sandbox = Sandbox("t", "10.1.0.6")
    assert operations(pod, state) == [Start("one", restart=True)]
    ends(state, 0, "one")
    assert operations(pod, state) == [Start("main", restart=True)]


def test_a_failed_init_container_fails_a_pod_that_never_restarts() -> None:
    pod = a_pod(initContainers=[{"name": "one"}], restartPolicy="Never")
    state = known(pod)
    ends(state, 1, "one")
    assert operations(pod, state) == [Teardown()]
    assert status_of(pod, state)["phase"] == "Failed"


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [
        ("Always", 0, True), ("Always", 1, True), ("OnFailure", 0, False),
        ("OnFailure", 1, True), ("Never", 0, False), ("Never", 1, False),
    ],
)  # fmt: skip
def test_the_restart_policy_decides_what_becomes_of_an_ended_container(
    policy: str, code: int, again: bool
) -> None:
    pod = a_pod(restartPolicy=policy)
    state = known(pod)
    ends(state, code)
    assert operations(pod, state) == ([Start("main", restart=True)] if again else [Teardown()])
    phase = "Running" if again else "Failed" if code else "Succeeded"
    assert status_of(pod, state)["phase"] == phase


def test_a_second_crash_is_held_back_from_its_end_on() -> None:
    pod = a_pod()
    state = known(pod)
    container = ends(state, 1, at=NOW - 3)
    container.crash_delay, container.crash_delay_set = 10.0, NOW - 8
    assert operations(pod, state) == [Hold("main", NOW + 7, 10.0)]
    container.crash_delay_set = NOW - 700
    assert operations(pod, state) == [Start("main", restart=True)], "old crashes are forgotten"


def test_crash_delays_double_up_to_five_minutes() -> None:
    container = ContainerState("c", Kind.APP)
    delays = []
    for _ in range(8):
        container.crash_delay = next_crash_delay(container, NOW)
        container.crash_delay_set = NOW
        delays.append(container.crash_delay)
    assert delays == [10, 20, 40, 80, 160, 300, 300, 300]


def test_deletion_stops_containers_by_the_deadline_and_sidecars_last() -> None:
    pod = a_pod("a", "b", initContainers=[{"name": "side", "restartPolicy": "Always"}])
    pod["metadata"]["deletionTimestamp"] = format_timestamp(NOW + 20)
    state = known(pod)
    for name in ("a", "b", "side"):
        runs(state, name)
    assert operations(pod, state) == [Stop("a", NOW + 20), Stop("b", NOW + 20)]
    for name in ("a", "b"):
        state.containers[name].stop_by = NOW + 20
    assert operations(pod, state) == []
    ends(state, 0, "a")
    ends(state, 0, "b")
    assert operations(pod, state) == [Stop("side", NOW + 20)]
    ends(state, 0, "side")
    assert operations(pod, state) == [Teardown()]
    state.torn_down = True
    assert operations(pod, state) == [Forget()]


def test_a_pod_that_the_api_has_no_more_is_stopped_at_once() -> None:
    pod = a_pod()
    state = known(pod)
    runs(state)
    state.withdrawn = True
    assert operations(pod, state) == [Stop("main", NOW)]
    ends(state, 137)
    assert operations(pod, state) == [Teardown()]
    state.torn_down = True
    assert operations(pod, state) == []


def test_a_deadline_fails_the_pod_when_it_comes() -> None:
    pod = a_pod(activeDeadlineSeconds=10)
    state = known(pod)
    runs(state)
    assert step(pod, state, NOW) == Plan([], NOW + 10)
    assert isinstance(step(pod, state, NOW + 10).operations[0], Fail)


def test_an_unhealthy_container_is_stopped_with_its_reason() -> None:
    pod = a_pod()
    state = known(pod)
    runs(state).unhealthy = "Container main failed liveness probe, will be restarted"
    (stop,) = operations(pod, state)
    assert stop == Stop("main", NOW + 30, "Container main failed liveness probe, will be restarted")


def test_a_containers_own_restart_rules_overrule_the_pods() -> None:
    pod = a_pod(restartPolicy="Never")
    pod["spec"]["containers"][0]["restartPolicy"] = "Never"
    pod["spec"]["containers"][0]["restartPolicyRules"] = [
        {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    ]
    state = known(pod)
    ends(state, 42)
    assert operations(pod, state) == [Start("main", restart=True)]
    ends(state, 1)
    assert operations(pod, state) == [Teardown()]


def test_status_tells_what_runs_and_what_waits() -> None:
    pod = a_pod("a", "b")
    state = known(pod)
    runs(state, "a")
    state.containers["b"].waiting = ("ErrImagePull", "no such image")
    status = status_of(pod, state)
    assert status["phase"] == "Pending"
    first, second = status["containerStatuses"]
    assert first["state"] == {"running": {"startedAt": format_timestamp(NOW)}}
    assert (first["ready"], first["started"], first["containerID"]) == (True, True, "slipway://id-a")
    assert second["state"] == {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}
    ready = next(row for row in status["conditions"] if row["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ContainersNotReady")
    assert ready["message"] == "containers with unready status: [b]"


def test_readiness_gates_are_waited_for() -> None:
    pod = a_pod(readinessGates=[{"conditionType": "example.com/ok"}])
    state = known(pod)
    runs(state)
    ready = next(row for row in status_of(pod, state)["conditions"] if row["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ReadinessGatesNotReady")
    pod["status"] = {"conditions": [{"type": "example.com/ok", "status": "True"}]}
    ready = next(row for row in status_of(pod, state)["conditions"] if row["type"] == "Ready")
    assert ready["status"] == "True"


def test_an_agent_that_comes_back_takes_running_containers_for_lost() -> None:
    pod = a_pod()
    state = known(pod)
    runs(state).restarts = 3
    pod["status"] = status_of(pod, state)
    again = first_state(pod, NOW + 100)
    again.sandbox = Sandbox("t", "10.1.0.6")
    assert again.containers["main"].restarts == 3
    assert operations(pod, again, NOW + 100) == [Start("main", restart=True)]
    assert again.accepted_at == NOW


def test_an_agent_that_comes_back_leaves_finished_pods_alone() -> None:
    pod = a_pod(restartPolicy="Never")
    state = known(pod)
    ends(state, 0)
    pod["status"] = status_of(pod, state)
    assert operations(pod, first_state(pod, NOW)) == []


CODES = st.sampled_from([0, 1, 137])


@given(
    policy=st.sampled_from(["Always", "OnFailure", "Never"]),
    init=st.lists(st.booleans(), max_size=3),
    outcomes=st.lists(CODES, min_size=1, max_size=40),
    deleted_at=st.integers(0, 60),
)
def test_every_pod_that_is_deleted_is_forgotten_with_nothing_left_running(
    policy: str, init: list[bool], outcomes: list[int], deleted_at: int
) -> None:
    """Plays the worker with arbitrary outcomes; whatever they are, the pod ends, each step allowed by the last."""
    rows = [
        {"name": f"i{n}", **({"restartPolicy": "Always"} if sidecar else {})}
        for n, sidecar in enumerate(init)
    ]
    pod = a_pod("a", "b", restartPolicy=policy, initContainers=rows)
    state, now, codes = known(pod, sandbox=False), NOW, iter(outcomes * 40)
    for turn in range(200):
        if turn == deleted_at:
            pod["metadata"]["deletionTimestamp"] = format_timestamp(now + 5)
        plan = step(pod, state, now)
        for operation in plan.operations:
            match operation:
                case Prepare():
                    assert state.sandbox is None
                    state.sandbox = Sandbox("s", "10.1.0.5")
                case Start(name):
                    assert state.sandbox is not None
                    assert not state.containers[name].alive
                    assert "deletionTimestamp" not in pod["metadata"]
                    runs(state, name)
                case Hold(name, until, _):
                    state.containers[name].phase = Phase.WAITING
                    state.containers[name].hold_until = until
                case Stop(name):
                    ends(state, 143, name, now)
                case Teardown():
                    assert not any(container.alive for container in state.containers.values())
                    state.torn_down = True
                case Forget():
                    return
                case Fail():
                    raise AssertionError("nothing asked for a deadline")
        status = pod_status(pod, state, REPORTER, now)
        assert status["phase"] in ("Pending", "Running", "Succeeded", "Failed")
        now += 1
        for container in list(state.containers.values()):
            if container.phase is Phase.RUNNING and container.kind is not Kind.SIDECAR and turn % 3 == 0:
                ends(state, next(codes), container.name, now)
    raise AssertionError("the pod was never forgotten")
