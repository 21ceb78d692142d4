"""Pods as plain processes of the host: no privileges and no isolation, on any Linux or macOS.

All pods share the host's network under 127.0.0.1, so two of them cannot listen on one port. There is no root of
their own either: volumes lie in the pod's folder, and where command, args, environment or working directory name
a mount path, the volume's folder is put in its place. `SLIPWAY_ROOT` names a folder in which the mount paths exist.
Client libraries look for the API server at a Service address and for a token at a fixed path, neither of which is there;
`KUBECONFIG` leads them to both.
"""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from slipway.cluster.clock import Clock
from slipway.cluster.nodes.ignored_fields import AS_PROCESSES, AS_PROCESSES_WITHOUT_ROOT
from slipway.cluster.nodes.local_runtime import LocalRuntime, Running
from slipway.cluster.nodes.runtime import ContainerRequest, Mount, Sandbox, SandboxRequest

_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


class ProcessRuntime(LocalRuntime):
    def __init__(self, cluster: str, clock: Clock, random: Random) -> None:
        super().__init__(cluster, clock, random)
        self._folders: dict[str, Path] = {}
        self.ignores = AS_PROCESSES if os.geteuid() == 0 else AS_PROCESSES_WITHOUT_ROOT
        self.api_server: Callable[[], str] = lambda: ""  # where the API server really listens

    async def create_sandbox(self, request: SandboxRequest) -> Sandbox:
        id = self.new_id()
        self._folders[id] = request.folder
        return Sandbox(id, "127.0.0.1")

    async def remove_sandbox(self, sandbox: str) -> None:
        for running in [*self.containers.values()]:
            if running.sandbox == sandbox:
                await self.signal_container(running.id, 9)
                if running.waiting is not None:
                    await running.waiting
                del self.containers[running.id]
        self._folders.pop(sandbox, None)

    async def launch(self, running: Running, descriptors: Sequence[int]) -> int:
        request = running.request
        root = self._folders[running.sandbox] / "roots" / request.name
        _link(root, request.mounts)
        env = {name: relocate(value, request.mounts) for name, value in request.env.items()}
        env = self.environment({**self._access(running), **env, "SLIPWAY_ROOT": str(root)})
        argv = [relocate(word, request.mounts) for word in request.argv]
        return await self._process(running.id, request, argv, env, descriptors, request.tty)

    async def launch_exec(
        self, id: str, running: Running, command: Sequence[str], descriptors: Sequence[int], tty: bool
    ) -> int:
        request = running.request
        env = {name: relocate(value, request.mounts) for name, value in request.env.items()}
        env = {**self._access(running), **env}
        argv = [relocate(word, request.mounts) for word in command]
        return await self._process(id, request, argv, self.environment(env), descriptors, tty)

    def _access(self, running: Running) -> dict[str, str]:
        """KUBECONFIG with the pod's own token, for a container that has one mounted."""
        mounts = running.request.mounts
        token = next((mount.source for mount in mounts if mount.target.rstrip("/") == _ACCOUNT), None)
        server = self.api_server()
        if token is None or not server:
            return {}
        cluster: dict[str, str] = {"server": server}
        if server.startswith("https:"):
            cluster["certificate-authority"] = str(token / "ca.crt")
        try:
            namespace = (token / "namespace").read_text()
        except OSError:
            namespace = "default"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "cluster", "cluster": cluster}],
            "users": [{"name": "pod", "user": {"tokenFile": str(token / "token")}}],
            "contexts": [
                {"name": "pod", "context": {"cluster": "cluster", "user": "pod", "namespace": namespace}}
            ],
            "current-context": "pod",
        }
        path = self._folders[running.sandbox] / f"kubeconfig-{running.request.name}"
        path.write_text(json.dumps(config))
        path.chmod(0o644)
        return {"KUBECONFIG": str(path)}

    async def _process(
        self,
        id: str,
        request: ContainerRequest,
        argv: Sequence[str],
        env: dict[str, str],
        descriptors: Sequence[int],
        tty: bool,
    ) -> int:
        root = os.geteuid() == 0
        pid = await self.spawner.ask(
            "process", descriptors, id=id, argv=list(argv), env=env, tty=tty,
            cwd=relocate(request.working_dir or "/", request.mounts),
            uid=request.user if root else None, gid=request.group if root else None,
            groups=list(request.groups) if root and request.user is not None else None,
        )  # fmt: skip
        return int(pid)

    async def pod_socket(self, sandbox: str) -> tuple[socket.socket, str]:
        found = socket.socket()
        found.setblocking(False)
        return found, "127.0.0.1"


def relocate(text: str, mounts: Sequence[Mount]) -> str:
    """The text with each mount path in it replaced by where that volume lies on the host; longest paths first."""
    targets = {mount.target.rstrip("/"): str(mount.source) for mount in mounts if mount.target.rstrip("/")}
    if not targets or not any(target in text for target in targets):
        return text
    paths = "|".join(re.escape(target) for target in sorted(targets, key=len, reverse=True))
    return re.sub(rf"(?<![\w./-])({paths})(?![\w.-])", lambda found: targets[found[1]], text)


def _link(root: Path, mounts: Sequence[Mount]) -> None:
    """Lay the mount paths out under `root` as symbolic links."""
    root.mkdir(parents=True, exist_ok=True)
    for mount in sorted(mounts, key=lambda mount: len(mount.target)):
        place = root / mount.target.lstrip("/")
        if place.is_symlink():
            place.unlink()
        if any(parent.is_symlink() for parent in place.parents if root in parent.parents):
            continue  # a mount within another volume: that volume's own folder is left as it is
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.symlink_to(mount.source)
