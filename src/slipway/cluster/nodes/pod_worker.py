"""Runs one pod: does what `pod_step` decides, notes what came of it, and reports the status.

Everything here runs in the event loop: `_turn` is the one place where decisions are taken, called after each
change of the pod, each outcome and each timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import shutil
import signal
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from slipway.cluster.client.objects import object_reference
from slipway.cluster.client.resources import PODS
from slipway.cluster.nodes.container_environment import ConfigError
from slipway.cluster.nodes.container_request import container_request, sandbox_request, termination_message
from slipway.cluster.nodes.container_resize import resize
from slipway.cluster.nodes.ignored_fields import ignored_fields
from slipway.cluster.nodes.image_pull import image_of, no_image
from slipway.cluster.nodes.images import ImageError
from slipway.cluster.nodes.local_storage import excess, is_limited, measure
from slipway.cluster.nodes.pod_admission import Rejection
from slipway.cluster.nodes.pod_certificates import PodCertificates
from slipway.cluster.nodes.pod_probes import ContainerProbes, run_hook
from slipway.cluster.nodes.pod_reports import StatusReports
from slipway.cluster.nodes.pod_state import (
    ContainerState,
    Ended,
    Kind,
    Object,
    Phase,
    PodState,
    container_specs,
    first_state,
)
from slipway.cluster.nodes.pod_step import (
    FIRST_CRASH_DELAY,
    LONGEST_CRASH_DELAY,
    Fail,
    Forget,
    Hold,
    Operation,
    Prepare,
    Start,
    Stop,
    Teardown,
    next_crash_delay,
    step,
)
from slipway.cluster.nodes.pod_tokens import pod_token
from slipway.cluster.nodes.runtime import Exit, RuntimeFailure
from slipway.cluster.nodes.surroundings import Surroundings
from slipway.cluster.nodes.volumes import MountError, Volumes
from slipway.cluster.status import StatusError

logger = logging.getLogger(__name__)

_FIELD = {
    Kind.INIT: "initContainers",
    Kind.SIDECAR: "initContainers",
    Kind.APP: "containers",
    Kind.EPHEMERAL: "ephemeralContainers",
}
_SIGTERM, _SIGKILL = 15, 9
_DELETE_RETRY = 1.0  # seconds


class PodWorker:
    """`admit` says why the node has no room for the pod, if so; `gone` is called once when nothing of the pod is left
    here and in the API."""

    def __init__(
        self,
        around: Surroundings,
        pod: Object,
        admit: Callable[[Object], Awaitable[Rejection | None]],
        gone: Callable[[PodWorker], None],
    ) -> None:
        self.around = around
        self.pod = pod
        self.state: PodState = first_state(pod, around.clock.now())
        self.volumes = Volumes(
            around.pod_folder(pod),
            around.find(pod["metadata"]["namespace"]),
            partial(pod_token, around.client),
            PodCertificates(around.client, around.clock, around.node),
            around.bundles,
            around.allocatable,
            around.images,
        )
        self._admit = admit
        self._gone = gone
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping: dict[str, asyncio.Task[None]] = {}
        self._probes: dict[str, ContainerProbes] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self._given: dict[str, Object] = {}  # the resources of what runs
        self._timer: asyncio.TimerHandle | None = None
        self._turning = False
        self._closed = False
        self._forgetting = False
        self._reports = StatusReports(around, self.state)
        self._kick()

    # What others tell the worker

    def update(self, pod: Object) -> None:
        """The pod as the API has it now."""
        before, self.pod = self.pod, pod
        for kind, spec in container_specs(pod):
            if spec["name"] not in self.state.containers:
                self.state.containers[spec["name"]] = ContainerState(spec["name"], kind)
        for _, spec in container_specs(pod):
            container, given = self.state.containers[spec["name"]], self._given.get(spec["name"])
            if container.phase is Phase.RUNNING and given not in (None, spec.get("resources") or {}):
                self._given[container.name] = spec.get("resources") or {}
                resize(self, container, spec, given or {})
        fields = ("labels", "annotations")
        if any(before["metadata"].get(name) != pod["metadata"].get(name) for name in fields):
            self.refresh_files()
        self._kick()

    def refresh_files(self) -> None:
        """Something that the pod's volumes show may have changed."""
        if self.state.sandbox is not None and self.around.files and not self.state.torn_down:
            self.begin(self.volumes.refresh, self.pod)

    def withdraw(self) -> None:
        """The API has the pod no more: end it at once."""
        self.state.withdrawn = True
        self._kick()

    def sandbox_lost(self) -> None:
        """All that ran of the pod is gone: it gets a new sandbox when the runtime can give one."""
        state = self.state
        if state.sandbox is None or state.tearing_down or state.torn_down:
            return
        self.event("Normal", "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
        self.begin(self.around.runtime.remove_sandbox, state.sandbox.id)
        state.sandbox = None
        self._kick()

    def runtime_back(self) -> None:
        """Containers can be started again: whatever waited for that need not wait longer."""
        self.state.prepare_failures, self.state.prepare_after = 0, 0.0
        self._kick()

    async def check_storage(self) -> None:
        """Evict the pod if it has more on the node's disk than it may."""
        state, pod = self.state, self.pod
        if not self.around.files or not is_limited(pod) or state.sandbox is None or state.failure:
            return
        running = {name: row.id for name, row in state.containers.items() if row.phase is Phase.RUNNING}
        logs = self.around.log_folder(pod)
        usage = await measure(pod, self.volumes.roots, logs, running, self.around.runtime.written)
        message = excess(pod, usage)
        if message and not state.torn_down and not state.tearing_down:
            self._perform(Fail("Evicted", message))

    def ended(self, container: str) -> asyncio.Event:
        """Set when the present run of a container is over. Made for those who wait: hardly anybody does."""
        event = self._ended.get(container)
        if event is None:
            event = self._ended[container] = asyncio.Event()
            if self.state.containers[container].ended is not None:
                event.set()
        return event

    async def close(self) -> None:
        """Stop looking after the pod; what runs of it is the runtime's to end."""
        await asyncio.gather(*self._end(), return_exceptions=True)

    def _end(self) -> list[asyncio.Task[None]]:
        """Cancel all that is under way; the tasks, which have yet to notice."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        tasks = [*self._tasks]
        for probes in self._probes.values():
            tasks += probes.stop()
        tasks += self._reports.under_way()
        for task in tasks:
            task.cancel()
        return tasks

    # Deciding

    def _kick(self) -> None:
        if not self._turning and not self._closed:
            self._turning = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._turning = False
        if self._closed:
            return
        now = self.around.clock.now()
        plan = step(self.pod, self.state, now)
        for operation in plan.operations:
            self._perform(operation)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if plan.wake is not None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, plan.wake - now), self._kick)
        self._reports.report(self.pod)
        if self.state.withdrawn and self.state.torn_down and not self._closed:
            self._end()
            shutil.rmtree(self.around.log_folder(self.pod), ignore_errors=True)
            self._gone(self)

    def _perform(self, operation: Operation) -> None:
        state = self.state
        match operation:
            case Prepare():
                state.preparing = True
                self.begin(self._prepare)
            case Start(name):
                container = state.containers[name]
                container.phase = Phase.STARTING
                self.begin(self._start, container, operation.restart)
            case Hold(name, until, delay):
                self._hold(state.containers[name], until, delay)
            case Stop(name, by, message):
                self._stop(state.containers[name], by, message)
            case Fail(reason, message):
                state.failure = (reason, message)
                self.event("Warning" if reason != "DeadlineExceeded" else "Normal", reason, message)
                self._kick()
            case Teardown():
                state.tearing_down = True
                self.begin(self._teardown)
            case Forget():
                if not self._forgetting:
                    self._forgetting = True
                    self.begin(self._forget)

    def begin(self, work: Callable[..., Coroutine[Any, Any, None]], *given: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(self._guarded(work, *given))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, work: Callable[..., Coroutine[Any, Any, None]], *given: Any) -> None:
        # Called here, not by who begins it: a task that is cancelled before its turn would leave it unawaited.
        try:
            await work(*given)
        except Exception:
            meta = self.pod["metadata"]
            logger.exception("pod %s/%s", meta["namespace"], meta["name"])
        self._kick()

    # Doing

    async def _prepare(self) -> None:
        state, around = self.state, self.around
        if around.runtime.trouble():
            state.preparing = False
            self._prepare_later()
            return
        try:
            rejection = await self._admit(self.pod)
            if rejection is not None:
                self.event("Warning", rejection.reason, rejection.message)
                state.failure = (rejection.reason, f"Pod was rejected: {rejection.message}")
                return
            if around.files:
                await self.volumes.prepare(self.pod)
            state.sandbox = await around.runtime.create_sandbox(
                sandbox_request(self.pod, self.volumes, around)
            )
        except MountError as error:
            self.event(
                "Warning",
                "FailedMount",
                f'MountVolume.SetUp failed for volume "{error.volume}" : {error.message}',
            )
            self._prepare_later()
        except RuntimeFailure as error:
            message = f"Failed to create pod sandbox: {error.message}"
            self.event("Warning", "FailedCreatePodSandBox", message)
            self._prepare_later()
        except (StatusError, OSError) as error:
            self.event("Warning", "FailedMount", f"MountVolume.SetUp failed for volume: {error}")
            self._prepare_later()
        finally:
            state.preparing = False
        if state.sandbox is not None:
            self._say_what_is_ignored()
        if self.volumes.token_lifetime is not None:
            self.begin(self._renew_tokens)
        if self.volumes.certificates.next_look() is not None and state.sandbox is not None:
            self.begin(self._renew_certificates)

    def _say_what_is_ignored(self) -> None:
        fields = ignored_fields(self.pod, self.around.runtime.ignores)
        if fields:
            message = f"Not heeded by the runtime of this node: {', '.join(fields)}"
            self.event("Warning", "FieldsIgnored", message)

    def _prepare_later(self) -> None:
        state = self.state
        delay = min(0.5 * 2**state.prepare_failures, 120.0)
        state.prepare_failures += 1
        state.prepare_after = self.around.clock.now() + delay

    async def _renew_tokens(self) -> None:
        while self.volumes.token_lifetime is not None and not self.state.torn_down:
            await self.around.clock.sleep(self.volumes.token_lifetime * 0.8)
            await self.volumes.refresh(self.pod)

    async def _renew_certificates(self) -> None:
        while (pause := self.volumes.certificates.next_look()) is not None and not self.state.torn_down:
            await self.around.clock.sleep(pause)
            await self.volumes.refresh(self.pod)

    async def _start(self, container: ContainerState, restart: bool) -> None:
        spec = self._spec(container)
        attempt = container.restarts + 1 if restart else container.restarts
        around, state = self.around, self.state
        assert state.sandbox is not None
        try:
            image = await image_of(self, container, spec)
            request = await container_request(
                self.pod, spec, attempt, image, self.volumes, around, self._reports.status(self.pod)
            )
            self.event("Normal", "Created", "Container created", container)
            id = await around.runtime.start_container(state.sandbox.id, request)
        except ImageError as error:
            no_image(self, container, spec, error)
            return
        except (ConfigError, MountError) as error:
            self.event("Warning", "Failed", f"Error: {error}", container)
            self.wait_for(container, "CreateContainerConfigError", str(error))
            return
        except RuntimeFailure as error:
            self._not_started(container, attempt, restart, error)
            return
        if restart:
            container.crash_delay = next_crash_delay(container, around.clock.now())
            container.crash_delay_set = around.clock.now()
            container.previous = container.ended
        self.event("Normal", "Started", "Container started", container)
        self._running(container, spec, attempt, id, image.id)

    def _running(self, container: ContainerState, spec: Object, attempt: int, id: str, image_id: str) -> None:
        container.id, container.image_id, container.restarts = id, image_id, attempt
        self._given[container.name] = spec.get("resources") or {}
        container.sandbox = self.state.sandbox.id if self.state.sandbox is not None else ""
        container.ended = None
        container.phase = Phase.RUNNING
        container.started_at = self.around.clock.now()
        container.waiting, container.start_failures = ("", ""), 0
        container.stop_by, container.unhealthy = None, ""
        if container.name in self._ended:
            self._ended[container.name].clear()
        probes = self._probes[container.name] = ContainerProbes(self, container, spec)
        self.begin(self._await_end, container, spec, attempt, id)
        hook = (spec.get("lifecycle") or {}).get("postStart")
        if hook:
            container.in_hook = True
            self.begin(self._after_start, container, hook, probes)
        else:
            probes.start()

    async def _after_start(self, container: ContainerState, hook: Object, probes: ContainerProbes) -> None:
        """The hook, and what waits for it: probes, and to be called running."""
        good, message = await run_hook(self, container, hook, None)
        if self._probes.get(container.name) is not probes:
            return  # that run of the container is over
        container.in_hook = False
        if good:
            probes.start()
        else:
            self.event("Warning", "FailedPostStartHook", f"PostStartHook failed: {message}", container)
            container.unhealthy = "FailedPostStartHook"

    async def _await_end(self, container: ContainerState, spec: Object, attempt: int, id: str) -> None:
        exit = await self.around.runtime.wait_container(id)
        now = self.around.clock.now()
        if container.id != id:
            return
        text = exit.message or termination_message(self.pod, spec, attempt, exit.code, self.around)
        self._over(container, Ended(id, container.started_at, now, Exit(exit.code, exit.reason, text)))

    def _over(self, container: ContainerState, ended: Ended) -> None:
        probes = self._probes.pop(container.name, None)
        if probes is not None:
            probes.stop()
        stopping = self._stopping.pop(container.name, None)
        if stopping is not None and stopping is not asyncio.current_task():
            stopping.cancel()
        container.ended = ended
        container.phase = Phase.EXITED
        container.started = container.ready = container.in_hook = False
        container.stop_by, container.unhealthy = None, ""
        if container.name in self._ended:
            self._ended[container.name].set()

    def _not_started(
        self, container: ContainerState, attempt: int, restart: bool, error: RuntimeFailure
    ) -> None:
        now = self.around.clock.now()
        self.event("Warning", "Failed", f"Error: {error.message}", container)
        if error.reason != "StartError":
            self.wait_for(container, error.reason, error.message)
            return
        if restart:
            container.previous = container.ended
        container.crash_delay = next_crash_delay(container, now)
        container.crash_delay_set = now
        container.restarts = attempt
        mark = f"{self.pod['metadata']['uid']}/{container.name}/{attempt}"
        container.id = hashlib.sha256(mark.encode()).hexdigest()
        # runc's containers that never ran have started at the epoch.
        self._over(container, Ended(container.id, 0.0, now, Exit(128, "StartError", error.message)))

    def wait_for(self, container: ContainerState, reason: str, message: str) -> None:
        """Try to start again later, after longer each time."""
        delay = min(FIRST_CRASH_DELAY * 2**container.start_failures, LONGEST_CRASH_DELAY)
        container.start_failures += 1
        container.phase = Phase.WAITING
        container.waiting = (reason, message)
        container.hold_until = self.around.clock.now() + delay

    def _hold(self, container: ContainerState, until: float, delay: float) -> None:
        meta = self.pod["metadata"]
        pod = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
        container.phase = Phase.WAITING
        container.hold_until = until
        text = _go_duration(delay)
        container.waiting = (
            "CrashLoopBackOff",
            f"back-off {text} restarting failed container={container.name} pod={pod}",
        )
        message = f"Back-off restarting failed container {container.name} in pod {pod}"
        self.event("Warning", "BackOff", message, container)
        self._kick()

    def _stop(self, container: ContainerState, by: float, message: str) -> None:
        again = container.stop_by is not None
        container.stop_by = by
        running = self._stopping.pop(container.name, None)
        if running is not None:
            running.cancel()
        if not again:
            shown = message if message.startswith("Container ") else f"Stopping container {container.name}"
            if message == "FailedPostStartHook":
                shown = "FailedPostStartHook"
            self.event("Normal", "Killing", shown, container)
        self._stopping[container.name] = self.begin(self._stopping_of, container, by, again)

    async def _stopping_of(self, container: ContainerState, by: float, again: bool) -> None:
        clock, runtime, id = self.around.clock, self.around.runtime, container.id
        spec = self._spec(container)
        lifecycle = spec.get("lifecycle") or {}
        if not again:
            hook = lifecycle.get("preStop")
            if hook and by > clock.now():
                good, message = await run_hook(self, container, hook, by - clock.now())
                if not good:
                    text = f"PreStopHook failed: {message}"
                    self.event("Warning", "FailedPreStopHook", text, container)
            await runtime.signal_container(id, _signal_number(lifecycle.get("stopSignal")))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, by - clock.now())):
                await self.ended(container.name).wait()
        if container.id == id and container.phase is Phase.RUNNING:
            await runtime.signal_container(id, _SIGKILL)

    async def _teardown(self) -> None:
        state = self.state
        if state.sandbox is not None:
            await self.around.runtime.remove_sandbox(state.sandbox.id)
        if self.around.files:
            await self.volumes.remove()
        state.torn_down = True

    async def _forget(self) -> None:
        """Report the last status, then delete the pod from the API for good."""
        await asyncio.gather(*self._reports.under_way(), return_exceptions=True)
        meta = self.pod["metadata"]
        for _ in range(5):
            try:
                await self.around.client.delete(
                    PODS, meta["name"], meta["namespace"], grace_period=0, uid=meta["uid"]
                )
                return
            except StatusError as error:
                if error.code in (404, 409):
                    return
                logger.debug("pod %s/%s not deleted: %s", meta["namespace"], meta["name"], error)
            await self.around.clock.sleep(_DELETE_RETRY)
        self._forgetting = False

    # What others ask of the worker

    def changed(self) -> None:
        """A probe has changed what is known."""
        self._kick()

    def event(self, type: str, reason: str, message: str, container: ContainerState | None = None) -> None:
        reference = object_reference({"apiVersion": "v1", "kind": "Pod", **self.pod})
        if container is not None:
            reference["fieldPath"] = f"spec.{_FIELD[container.kind]}{{{container.name}}}"
        self.around.recorder.event_for(reference, type, reason, message)

    def _spec(self, container: ContainerState) -> Object:
        return next(spec for _, spec in container_specs(self.pod) if spec["name"] == container.name)


def _go_duration(seconds: float) -> str:
    """A duration as Go prints it: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _signal_number(name: str | None) -> int:
    return int(getattr(signal, name, _SIGTERM)) if name else _SIGTERM
