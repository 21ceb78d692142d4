"""The Node object and its lease: what the agent says of its node, and that it is alive."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from slipway.cluster.client.client import Client
from slipway.cluster.client.resources import LEASES, NODES
from slipway.cluster.status import StatusError

Object = dict[str, Any]
LEASE_NAMESPACE = "kube-node-lease"
LEASE_SECONDS = 40
MAX_PODS = 110


def host_capacity() -> dict[str, str]:
    """CPU and memory of this machine, as a Node's capacity."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{memory}Ki",
        "pods": str(MAX_PODS),
        "ephemeral-storage": "100Gi",
    }


def _os_image() -> str:
    try:
        for line in Path("/etc/os-release").read_text().splitlines():
            if line.startswith("PRETTY_NAME="):
                return line.partition("=")[2].strip('"')
    except OSError:
        pass
    return platform.platform()


def conditions(now: str, old: list[Object]) -> list[Object]:
    """Four conditions, all well; transition times are kept where nothing changed."""
    before = {one["type"]: one for one in old}
    rows = (
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    )
    return [
        {
            "type": kind,
            "status": status,
            "lastHeartbeatTime": now,
            "lastTransitionTime": before[kind]["lastTransitionTime"]
            if before.get(kind, {}).get("status") == status
            else now,
            "reason": reason,
            "message": message,
        }
        for kind, status, reason, message in rows
    ]


def node_object(name: str, runtime: str, version: str, zone: str = "") -> Object:
    """The Node to create; its status is written by the first heartbeat."""
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    system = platform.system().lower()
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": system,
        "kubernetes.io/arch": machine,
        "beta.kubernetes.io/os": system,
        "beta.kubernetes.io/arch": machine,
    }
    if zone:
        labels["topology.kubernetes.io/zone"] = zone
    return {"metadata": {"name": name, "labels": labels}, "spec": {}}


def node_info(runtime: str, version: str) -> Object:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    return {
        "machineID": "",
        "systemUUID": "",
        "bootID": "",
        "kernelVersion": platform.release(),
        "osImage": _os_image(),
        "containerRuntimeVersion": runtime,
        "kubeletVersion": f"v{version}.0",
        "kubeProxyVersion": "",
        "operatingSystem": platform.system().lower(),
        "architecture": machine,
    }


class Registration:
    """Creates the Node where it is missing, and keeps its status and lease fresh."""

    def __init__(
        self, client: Client, name: str, address: str, capacity: dict[str, str], runtime: str, version: str
    ) -> None:
        self._client = client
        self._name = name
        self._address = address
        self._capacity = capacity
        self._runtime = runtime
        self._version = version

    async def register(self) -> None:
        try:
            await self._client.create(NODES, node_object(self._name, self._runtime, self._version))
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
        await self.heartbeat()

    async def heartbeat(self) -> None:
        """The status, whole; a patch, so that what others write stays."""
        node = await self._client.get(NODES, self._name)
        old = (node.get("status") or {}).get("conditions") or []
        status = {
            "capacity": self._capacity,
            "allocatable": self._capacity,
            "conditions": conditions(self._client.clock.timestamp(), old),
            "addresses": [
                {"type": "InternalIP", "address": self._address},
                {"type": "Hostname", "address": self._name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "nodeInfo": node_info(self._runtime, self._version),
        }
        await self._client.patch(NODES, self._name, "", {"status": status}, subresource="status")

    async def renew_lease(self) -> None:
        now = self._client.clock.micro_timestamp()
        spec = {
            "holderIdentity": self._name,
            "leaseDurationSeconds": LEASE_SECONDS,
            "renewTime": now,
        }
        try:
            await self._client.patch(LEASES, self._name, LEASE_NAMESPACE, {"spec": spec})
        except StatusError as error:
            if error.code != 404:
                raise
            metadata = {"name": self._name, "namespace": LEASE_NAMESPACE}
            await self._client.create(LEASES, {"metadata": metadata, "spec": spec})
