"""The namespaces runtime: each container in namespaces of its own, each pod with an address on a private bridge.

As root the bridge is the host's, so the host reaches pods by their addresses. Without root all of it lives in a user
namespace, and the host reaches pods through this process (`connect`, port-forward, NodePorts).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from slipway.cluster.client.quantities import whole
from slipway.cluster.clock import Clock
from slipway.cluster.exchange import Duplex
from slipway.cluster.nodes.ignored_fields import BY_ALL, WITHOUT_ROOT
from slipway.cluster.nodes.images import visible_paths
from slipway.cluster.nodes.leftovers import end_processes, remove_interfaces
from slipway.cluster.nodes.local_runtime import LocalRuntime, Running
from slipway.cluster.nodes.namespaces import cgroups
from slipway.cluster.nodes.namespaces.first_process import END_ALL
from slipway.cluster.nodes.node_object import node_ranges
from slipway.cluster.nodes.runtime import InMemory, RuntimeFailure, Sandbox, SandboxRequest
from slipway.cluster.nodes.spawning.spawner import SpawnError
from slipway.cluster.nodes.streams import SocketDuplex

_RECIPES = "slipway.cluster.nodes.namespaces.recipes"
_SANDBOXES = "slipway.cluster.nodes.namespaces.sandboxes"
_SHM = 64 * 1024 * 1024  # bytes of a pod's /dev/shm, as containerd gives
_HOSTS = (
    "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n"
)


@dataclass(slots=True)
class _Pod:
    request: SandboxRequest
    pid: int
    address: str
    link: str


class NamespacesRuntime(LocalRuntime):
    """`rootless` puts everything into a user namespace."""

    kills_group = False  # a container's processes end with its first one
    terminals_inside = True

    def __init__(
        self,
        cluster: str,
        clock: Clock,
        random: Random,
        *,
        pod_range: str,
        service_range: str,
        nodes: Sequence[str],
        rootless: bool,
    ) -> None:
        super().__init__(cluster, clock, random)
        self.rootless = rootless
        unlimited = () if cgroups.home() else ("containers.resources.limits.memory",)
        self.ignores = {*(WITHOUT_ROOT if rootless else BY_ALL), *unlimited}
        self._network = ipaddress.ip_network(pod_range)
        self._service_range = service_range
        mark = hashlib.sha256(f"{cluster}/{os.getpid()}/{id(self)}".encode()).hexdigest()[:6]
        self._prefix = f"slw{mark}"
        self._alias = self.owner.mark(cluster)
        self._mark = self.owner.mark(cluster, "helper")  # in the names of the processes that hold sandboxes
        self._ranges: dict[str, str] = dict(zip(nodes, node_ranges(pod_range, len(nodes)), strict=False))
        self._used: dict[str, set[int]] = {node: set() for node in self._ranges}
        self._last: dict[str, int] = {}
        self._links = 0
        self._among_host = False  # whether a pod has had its processes among the host's
        self._pods: dict[str, _Pod] = {}

    @property
    def bridge(self) -> str:
        return f"{self._prefix}br"  # no number of a link is written like that

    async def start(self) -> None:
        await super().start()
        try:
            if self.rootless:
                await self.spawner.ask(f"{_RECIPES}:enter_user_namespace")
            else:
                remove_interfaces()
            await self.spawner.ask(
                f"{_RECIPES}:make_network",
                bridge=self.bridge,
                alias=self._alias,
                pod_range=str(self._network),
                service_range=self._service_range,
                addresses=[self.node_address(node) for node in self._ranges],
            )
        except SpawnError as error:
            await self.spawner.stop()
            raise RuntimeFailure("NetworkNotReady", f"the pod network cannot be made: {error}") from None

    async def stop(self) -> None:
        await super().stop()
        if self._among_host:  # whose children the kernel does not end with them
            await asyncio.to_thread(end_processes, self.owner.mark(self.cluster))

    def node_address(self, node: str) -> str:
        return str(ipaddress.ip_network(self._ranges[node])[1])

    def pod_range(self, node: str) -> str:
        return self._ranges[node]

    async def create_sandbox(self, request: SandboxRequest) -> Sandbox:
        id = self.new_id()
        address = "" if request.host_network else self._take(request.node)
        self._links += 1
        link = f"{self._prefix}{self._links:x}" if address else ""
        shown = address or self.node_address(request.node)
        _write_files(request, shown)
        in_memory = _in_memory(request)
        self.spawner.watch(id)
        try:
            pid = await self.spawner.ask(
                f"{_SANDBOXES}:make_sandbox",
                id=id,
                mark=self._mark,
                hostname=request.hostname,
                host_ipc=request.host_ipc,
                share_processes=request.processes == "pod",
                in_memory=in_memory,
                address=address,
                prefix=self._network.prefixlen,
                gateway=self.node_address(request.node),
                bridge=self.bridge,
                link=link,
                alias=self._alias,
                sysctls=dict(request.sysctls),
            )
        except SpawnError as error:
            self._give_back(request.node, address)
            raise RuntimeFailure("FailedCreatePodSandBox", str(error)) from None
        self._among_host |= request.processes == "host"
        self._pods[id] = _Pod(request, int(pid), address, link)
        return Sandbox(id, shown)

    def _take(self, node: str) -> str:
        """The next free address, round the range: one that was just given back is the last to be used again."""
        network, used = ipaddress.ip_network(self._ranges[node]), self._used[node]
        places = network.num_addresses - 3  # without network, node and broadcast
        for step in range(places):
            number = 2 + (self._last.get(node, -1) + 1 + step) % places
            if number not in used:
                used.add(number)
                self._last[node] = number - 2
                return str(network[number])
        raise RuntimeFailure("FailedCreatePodSandBox", f"no addresses left in {network}")

    def _give_back(self, node: str, address: str) -> None:
        if address:
            first = int(ipaddress.ip_network(self._ranges[node]).network_address)
            self._used[node].discard(int(ipaddress.ip_address(address)) - first)

    async def remove_sandbox(self, sandbox: str) -> None:
        pod = self._pods.pop(sandbox, None)
        if pod is None:
            return
        for running in [*self.containers.values()]:
            if running.sandbox == sandbox:
                await self.signal_container(running.id, 9)
                if running.waiting is not None:
                    await running.waiting
                del self.containers[running.id]
        with contextlib.suppress(SpawnError):  # without a helper there is nothing left to end
            await self.spawner.ask(f"{_SANDBOXES}:end_sandbox", id=sandbox, link=pod.link)
        await self.spawner.exit_code(sandbox)
        self.spawner.forget(sandbox)
        self._give_back(pod.request.node, pod.address)

    async def launch(self, running: Running, descriptors: Sequence[int]) -> int:
        request = running.request
        pod = self._pods[running.sandbox]
        folder = pod.request.folder
        base = folder / "roots" / request.name
        base.mkdir(parents=True, exist_ok=True)
        mounts = [
            {"source": str(folder / "etc" / name), "target": f"/etc/{name}", "file": True}
            for name in ("resolv.conf", "hosts", "hostname")
        ]
        shm = Path("/dev/shm") if pod.request.host_ipc else folder / "shm"
        mounts.append({"source": str(shm), "target": "/dev/shm"})
        mounts += [
            {
                "source": str(mount.source),
                "target": mount.target,
                "read_only": mount.read_only,
                "in_memory": mount.in_memory,
            }
            for mount in request.mounts
        ]
        pid = await self.spawner.ask(
            f"{_RECIPES}:start_container",
            descriptors,
            id=running.id,
            sandbox=pod.pid,
            base=str(base),
            layers=[str(layer) for layer in request.image.layers],
            paths=[str(path) for path in visible_paths(request.image)],
            folders=list(request.image.folders),
            mounts=mounts,
            read_only=request.read_only_root,
            mark=self._mark,
            **self._sharing(running),
            group=self._group(running.id),
            memory=_memory_limit(request.resources),
            **self._program(running, request.argv, request.tty),
        )
        return int(pid)

    async def launch_exec(
        self, id: str, running: Running, command: Sequence[str], descriptors: Sequence[int], tty: bool
    ) -> int:
        program = self._program(running, command, tty)
        if self.rootless:
            # The user namespace knows one user: root in it cannot give files to others, as tar does for `kubectl cp`.
            program["env"].setdefault("TAR_OPTIONS", "--no-same-owner")
        pid = await self.spawner.ask(
            f"{_RECIPES}:start_exec",
            descriptors,
            id=id,
            container=running.pid,
            **self._sharing(running),
            **program,
        )
        return int(pid)

    def _sharing(self, running: Running) -> dict[str, Any]:
        request = self._pods[running.sandbox].request
        shared = {"processes": request.processes, "host_ipc": request.host_ipc}
        if running.request.target and request.processes == "own":
            return {**shared, "processes": "container", "target": self._target(running)}
        return shared

    def _target(self, running: Running) -> int:
        """The first process of the container whose processes this one sees."""
        name = running.request.target
        for other in self.containers.values():
            if other.sandbox == running.sandbox and other.request.name == name and not other.exit.done():
                return other.pid
        raise RuntimeFailure("CreateContainerConfigError", f"unable to find target container {name}")

    async def signal_container(self, container: str, number: int) -> None:
        running = self.containers.get(container)
        if running is not None and number == signal.SIGKILL and running.sandbox in self._pods:
            own = self._pods[running.sandbox].request.processes == "own" and not running.request.target
            number = number if own else END_ALL
        await super().signal_container(container, number)

    def _program(self, running: Running, argv: Sequence[str], tty: bool) -> dict[str, Any]:
        request = running.request
        env = self.environment(request.env)
        if tty:
            env.setdefault("TERM", "xterm")
        env.setdefault("HOME", "/root" if not request.user else "/")
        return {
            "argv": list(argv),
            "env": env,
            "tty": tty,
            "cwd": request.working_dir or "/",
            "make_cwd": True,
            "uid": request.user,
            "gid": request.group,
            "groups": list(request.groups),
            "privileged": request.privileged,
            "dropped": list(request.dropped),
            "added": list(request.added),
            "escalates": request.escalates,
            "rootless": self.rootless,
        }

    async def resize(self, container: str, resources: Mapping[str, Any]) -> None:
        running, limit = self.containers.get(container), _memory_limit(resources)
        if running is None or not limit:
            return
        try:
            await self.spawner.ask(f"{_RECIPES}:resize", group=self._group(container), memory=limit)
        except SpawnError as error:
            raise RuntimeFailure("ResizeError", f"the memory limit cannot be changed: {error}") from None

    def _group(self, container: str) -> str:
        return f"{self._alias}-{container[:12]}"

    async def written(self, container: str) -> int:
        """What the memory in which a container's root is kept holds."""
        running = self.containers.get(container)
        if running is None:
            return 0
        try:
            root = os.statvfs(f"/proc/{running.pid}/root/")
        except OSError:  # it has just ended
            return 0
        return (root.f_blocks - root.f_bfree) * root.f_frsize

    async def pod_socket(self, sandbox: str) -> tuple[socket.socket, str]:
        made = await self.spawner.ask_socket(f"{_RECIPES}:make_socket", sandbox=self._pods[sandbox].pid)
        return made, "127.0.0.1"

    async def reach_node(self, node: str, port: int) -> Duplex:
        if not self.rootless:
            return await super().reach_node(node, port)
        made = await self.cluster_socket()
        try:
            await asyncio.get_running_loop().sock_connect(made, (self.node_address(node), port))
        except BaseException:
            made.close()
            raise
        return SocketDuplex(*await asyncio.open_connection(sock=made))

    async def cluster_socket(self, address: str = "", port: int = 0, *, udp: bool = False) -> socket.socket:
        """A socket in the cluster's network: bound to an address of it, or for a connection from there."""
        try:
            return await self.spawner.ask_socket(
                f"{_RECIPES}:make_socket", sandbox=0, address=address, port=port, udp=udp
            )
        except SpawnError as error:
            raise OSError(error.errno, str(error)) from None


def _in_memory(request: SandboxRequest) -> list[dict[str, Any]]:
    """The pod's volumes that lie in memory, and its /dev/shm; their folders are made."""
    rows = [*request.in_memory]
    if not request.host_ipc:
        rows.append(InMemory(request.folder / "shm", _SHM, 0o1777))
    for row in rows:
        row.path.mkdir(parents=True, exist_ok=True)
    return [{"path": str(row.path), "size": row.size, "mode": row.mode, "gid": row.group} for row in rows]


def _memory_limit(resources: Mapping[str, Any]) -> int:
    """Bytes; 0 for none."""
    limit = (resources.get("limits") or {}).get("memory")
    return whole(limit) if limit is not None else 0


def _write_files(request: SandboxRequest, address: str) -> None:
    folder = request.folder / "etc"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "hostname").write_text(f"{request.hostname}\n")
    own = "\t".join((address, *request.own_names)) + "\n"
    hosts = _hosts_of_node() + own if request.host_network else _HOSTS + own
    if request.hosts:
        hosts += "\n# Entries added by HostAliases.\n"
        hosts += "".join(f"{ip}\t" + "\t".join(names) + "\n" for ip, names in request.hosts)
    (folder / "hosts").write_text(hosts)
    lines = []
    if request.searches:
        lines.append(f"search {' '.join(request.searches)}")
    lines += [f"nameserver {server}" for server in request.nameservers]
    if request.dns_options:
        lines.append(f"options {' '.join(request.dns_options)}")
    text = "\n".join(lines) + "\n" if request.nameservers else _host_resolver()
    (folder / "resolv.conf").write_text(text)


def _hosts_of_node() -> str:
    try:
        text = Path("/etc/hosts").read_text()
    except OSError:
        text = ""
    return f"# Kubernetes-managed hosts file (host network).\n{text.rstrip()}\n"


def _host_resolver() -> str:
    try:
        return Path("/etc/resolv.conf").read_text()
    except OSError:
        return ""
