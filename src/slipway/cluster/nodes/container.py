"""One container of a pod through all its runs: pull, start, probe, restart with back-off, stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from slipway.cluster.clock import Clock
from slipway.cluster.kubelet import StreamError
from slipway.cluster.nodes import probes
from slipway.cluster.nodes.images import ImageFailure, ImageTable
from slipway.cluster.nodes.pod_status import ContainerState
from slipway.cluster.nodes.runtime import Container, ContainerConfig, Image, RuntimeFailure, Sandbox
from slipway.cluster.nodes.variables import VariableFailure, expand
from slipway.cluster.nodes.volumes import Volumes

Object = dict[str, Any]
BACKOFF_FIRST, BACKOFF_MOST, BACKOFF_FORGET = 10.0, 300.0, 600.0
MESSAGE_LIMIT = 4096


class Surroundings(Protocol):
    """What a container needs of its pod."""

    pod: Object
    clock: Clock
    images: ImageTable
    sandbox: Sandbox
    volumes: Volumes

    async def variables(self, container: Object) -> dict[str, str]: ...
    def event(self, container: Object | None, kind: str, reason: str, message: str) -> None: ...
    def changed(self) -> None: ...
    def log_path(self, container: str, run: int) -> Path: ...


class Supervisor:
    """`restart` decides after each end, by exit code, whether there is a next run."""

    def __init__(self, spec: Object, pod: Surroundings, restart: Callable[[int], bool]) -> None:
        self.spec = spec
        self.state = ContainerState(spec["name"], spec.get("image", ""))
        self.running: Container | None = None
        self._pod = pod
        self._restart = restart
        self._probes: list[asyncio.Task[None]] = []
        self._kill_message = ""
        self._stopping = False

    async def run(self) -> None:
        """Until the last run has ended."""
        backoff = 0.0
        while not self._stopping:
            image = await self._pull()
            if image is None:
                return
            began = self._pod.clock.now()
            code = await self._run_once(image)
            if self._stopping or not self._restart(code):
                return
            if self._pod.clock.now() - began >= BACKOFF_FORGET:
                backoff = 0.0
            if backoff:
                await self._back_off(backoff)
            backoff = min(max(backoff * 2, BACKOFF_FIRST), BACKOFF_MOST)
            self.state.restarts += 1

    async def _back_off(self, seconds: float) -> None:
        pod = self._pod.pod["metadata"]
        message = (
            f"back-off {_duration(seconds)} restarting failed container={self.state.name}"
            f" pod={pod['name']}_{pod['namespace']}({pod['uid']})"
        )
        self._wait_for("CrashLoopBackOff", message)
        self._pod.event(
            self.spec, "Warning", "BackOff", f"Back-off restarting failed container {self.state.name} in pod"
            f" {pod['name']}_{pod['namespace']}({pod['uid']})",
        )  # fmt: skip
        await self._pod.clock.sleep(seconds)

    def _wait_for(self, reason: str, message: str = "") -> None:
        state = self.state
        if state.phase == "terminated":
            state.last = {"terminated": state.detail()}
        state.phase, state.reason, state.message = "waiting", reason, message
        state.ready = state.started = False
        self._pod.changed()

    async def _pull(self) -> Image | None:
        """The image; while it cannot be had, failing as a kubelet does, with growing pauses."""
        pause = BACKOFF_FIRST
        name = self.spec.get("image", "")
        while not self._stopping:
            try:
                return self._pod.images.resolve(name)
            except ImageFailure as error:
                self._pod.event(self.spec, "Normal", "Pulling", f'Pulling image "{name}"')
                self._pod.event(self.spec, "Warning", "Failed", f'Failed to pull image "{name}": {error}')
                self._pod.event(self.spec, "Warning", "Failed", "Error: ErrImagePull")
                self._wait_for("ErrImagePull", str(error))
                await self._pod.clock.sleep(1)
                self._wait_for("ImagePullBackOff", f'Back-off pulling image "{name}": {error}')
                self._pod.event(self.spec, "Normal", "BackOff", f'Back-off pulling image "{name}"')
                self._pod.event(self.spec, "Warning", "Failed", "Error: ImagePullBackOff")
                await self._pod.clock.sleep(pause)
                pause = min(pause * 2, BACKOFF_MOST)
        return None

    async def _config(self, image: Image) -> ContainerConfig:
        """The configuration of the next run; waits with CreateContainerConfigError while a source is missing."""
        while True:
            try:
                variables = {**image.variables, **await self._pod.variables(self.spec)}
                break
            except VariableFailure as error:
                self._wait_for("CreateContainerConfigError", str(error))
                self._pod.event(self.spec, "Warning", "Failed", f"Error: {error}")
                await self._pod.clock.sleep(BACKOFF_FIRST)
        command = [expand(word, variables) for word in self.spec.get("command") or image.command]
        arguments = [expand(word, variables) for word in self.spec.get("args") or []]
        if not self.spec.get("args") and not self.spec.get("command"):
            arguments = list(image.arguments)
        security = {
            **(self._pod.pod["spec"].get("securityContext") or {}),
            **(self.spec.get("securityContext") or {}),
        }
        return ContainerConfig(
            name=self.state.name,
            image=image,
            argv=(*command, *arguments),
            variables=variables,
            folder=self.spec.get("workingDir") or image.folder,
            mounts=self._pod.volumes.mounts(self.spec, variables),
            log=self._pod.log_path(self.state.name, self.state.restarts),
            tty=bool(self.spec.get("tty")),
            stdin=bool(self.spec.get("stdin")),
            user=security.get("runAsUser"),
            group=security.get("runAsGroup"),
            groups=tuple(security.get("supplementalGroups") or ())
            + ((security["fsGroup"],) if security.get("fsGroup") is not None else ()),
            read_only=bool(security.get("readOnlyRootFilesystem")),
        )

    async def _run_once(self, image: Image) -> int:
        state, pod = self.state, self._pod
        config = await self._config(image)
        if state.phase == "terminated":
            state.last = {"terminated": state.detail()}
        pod.event(
            self.spec, "Normal", "Pulled", f'Container image "{state.image}" already present on machine'
        )
        if not config.argv:
            return self._could_not_start("StartError", "no command specified", config)
        try:
            container = await pod.sandbox.start(config)
        except RuntimeFailure as error:
            return self._could_not_start(error.reason, error.message, config)
        self.running = container
        state.phase, state.reason, state.message = "running", "", ""
        state.exit_code = state.signal = 0
        state.container_id, state.image_id = container.id, image.id
        state.started_at, state.finished_at = pod.clock.timestamp(), ""
        self._kill_message = ""
        pod.event(self.spec, "Normal", "Created", "Container created")
        pod.event(self.spec, "Normal", "Started", "Container started")
        try:
            await self._post_start(container)
            self._start_probes(container)
            pod.changed()
            code = await container.wait()
        finally:
            self._stop_probes()
            self.running = None
        self._ended(code, config)
        return code

    def _could_not_start(self, reason: str, message: str, config: ContainerConfig) -> int:
        state, now = self.state, self._pod.clock.timestamp()
        state.phase, state.reason, state.message = "terminated", reason, message
        state.exit_code, state.started_at, state.finished_at = 128, now, now
        state.ready = state.started = False
        self._pod.event(self.spec, "Warning", "Failed", f"Error: {message}")
        self._pod.changed()
        return 128

    def _ended(self, code: int, config: ContainerConfig) -> None:
        state = self.state
        state.phase = "terminated"
        state.exit_code = code
        state.signal = 0
        state.reason = "Completed" if code == 0 else "Error"
        state.message = self._termination_message(config, code)
        state.finished_at = self._pod.clock.timestamp()
        state.ready = state.started = False
        self._pod.changed()

    def _termination_message(self, config: ContainerConfig, code: int) -> str:
        """What the container wrote to its message file, else, if its policy says so, the end of its log."""
        path = self.spec.get("terminationMessagePath") or "/dev/termination-log"
        for mount in config.mounts:
            if path == mount.path or path.startswith(mount.path.rstrip("/") + "/"):
                place = mount.source / path.removeprefix(mount.path).lstrip("/")
                with contextlib.suppress(OSError):
                    return place.read_bytes()[:MESSAGE_LIMIT].decode(errors="replace")
        if code != 0 and self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            with contextlib.suppress(OSError):
                lines = config.log.read_text(errors="replace").splitlines()[-80:]
                text = "\n".join(line.split(" ", 3)[-1] for line in lines)
                return text[-2048:]
        return ""

    # Hooks and probes

    async def _post_start(self, container: Container) -> None:
        hook = (self.spec.get("lifecycle") or {}).get("postStart")
        if hook:
            problem = await self._hook(hook, container)
            if problem:
                self._pod.event(
                    self.spec, "Warning", "FailedPostStartHook", f"PostStartHook failed: {problem}"
                )
                await container.signal(signal.SIGKILL)

    async def _hook(self, hook: Object, container: Container) -> str:
        """Carry out a life-cycle hook; what went wrong, or nothing."""
        if "sleep" in hook:
            await self._pod.clock.sleep(float(hook["sleep"].get("seconds") or 0))
            return ""
        question = {**hook, "timeoutSeconds": 3600}
        variables = await self._known_variables()
        try:
            verdict = await probes.ask(question, self.spec, container, self._pod.sandbox.address, variables)
        except StreamError as error:
            return error.message
        return "" if verdict.ok else verdict.message

    async def _known_variables(self) -> dict[str, str]:
        try:
            return await self._pod.variables(self.spec)
        except VariableFailure:
            return {}

    def _start_probes(self, container: Container) -> None:
        startup = self.spec.get("startupProbe")
        if startup:
            self.state.started = False
            self._watch(startup, container, "Startup", self._startup_changed(container), initial=False)
        else:
            self._begin(container)

    def _begin(self, container: Container) -> None:
        """The container counts as started: liveness and readiness are asked from here on."""
        self.state.started = True
        liveness, readiness = self.spec.get("livenessProbe"), self.spec.get("readinessProbe")
        if liveness:
            self._watch(liveness, container, "Liveness", self._liveness_changed(container), initial=True)
        if readiness:
            self._watch(readiness, container, "Readiness", self._readiness_changed, initial=False)
        else:
            self.state.ready = True
        self._pod.changed()

    def _watch(
        self,
        probe: Object,
        container: Container,
        kind: str,
        on_change: Callable[[bool], None],
        *,
        initial: bool,
    ) -> None:
        async def question() -> probes.Verdict:
            variables = await self._known_variables()
            try:
                return await probes.ask(probe, self.spec, container, self._pod.sandbox.address, variables)
            except StreamError as error:
                return probes.Verdict(False, error.message)

        def failed(message: str) -> None:
            self._pod.event(self.spec, "Warning", "Unhealthy", f"{kind} probe failed: {message}")

        done = (lambda: self.state.started) if kind == "Startup" else (lambda: False)
        watching = probes.watch(
            probe,
            question,
            self._pod.clock,
            on_change=on_change,
            on_failure=failed,
            until=done,
            initial=initial,
        )
        self._probes.append(asyncio.create_task(watching))

    def _startup_changed(self, container: Container) -> Callable[[bool], None]:
        def changed(ok: bool) -> None:
            if ok:
                self._begin(container)
            else:
                self._kill_unhealthy(container, "startup")

        return changed

    def _liveness_changed(self, container: Container) -> Callable[[bool], None]:
        def changed(ok: bool) -> None:
            if not ok:
                self._kill_unhealthy(container, "liveness")

        return changed

    def _readiness_changed(self, ok: bool) -> None:
        self.state.ready = ok
        self._pod.changed()

    def _kill_unhealthy(self, container: Container, probe: str) -> None:
        self._pod.event(
            self.spec,
            "Normal",
            "Killing",
            f"Container {self.state.name} failed {probe} probe, will be restarted",
        )
        grace = float(
            (self.spec.get(f"{probe}Probe") or {}).get("terminationGracePeriodSeconds") or self._grace()
        )
        self._probes.append(asyncio.create_task(self._kill(container, grace)))

    def _grace(self) -> float:
        return float(self._pod.pod["spec"].get("terminationGracePeriodSeconds", 30))

    async def _kill(self, container: Container, grace: float) -> None:
        await container.signal(self._stop_signal())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(container.wait())), grace)
            return
        await container.signal(signal.SIGKILL)

    def _stop_signal(self) -> int:
        name = (self.spec.get("lifecycle") or {}).get("stopSignal") or "SIGTERM"
        return int(getattr(signal, name, signal.SIGTERM))

    def _stop_probes(self) -> None:
        for task in self._probes:
            if task is not asyncio.current_task():
                task.cancel()
        self._probes.clear()

    # Stopping

    async def stop(self, grace: float) -> None:
        """preStop, SIGTERM, and after the grace period SIGKILL; then nothing starts again."""
        self._stopping = True
        container = self.running
        if container is None:
            return
        self._stop_probes()
        self._pod.event(self.spec, "Normal", "Killing", f"Stopping container {self.state.name}")
        end = self._pod.clock.now() + grace
        hook = (self.spec.get("lifecycle") or {}).get("preStop")
        if hook and grace > 0:
            problem = ""
            with contextlib.suppress(TimeoutError):
                problem = await asyncio.wait_for(self._hook(hook, container), grace)
            if problem:
                self._pod.event(self.spec, "Warning", "FailedPreStopHook", f"PreStopHook failed: {problem}")
        left = max(0.0, end - self._pod.clock.now())
        if grace <= 0:
            await container.signal(signal.SIGKILL)
        else:
            await self._kill(container, max(left, 1.0))
        await container.wait()


def _duration(seconds: float) -> str:
    """Go's time.Duration of whole seconds: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
