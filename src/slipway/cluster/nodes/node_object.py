"""The Node object of an agent: its labels, capacity, addresses and conditions. Pure."""

from __future__ import annotations

import ipaddress
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "AMD64": "amd64"}
_HEALTHY = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)
_READY = ("Ready", "True", "KubeletReady", "kubelet is posting ready status")


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """`capacity` as a ResourceList."""

    name: str
    address: str
    pod_range: str
    runtime: str
    capacity: dict[str, str]
    version: str = "v1.37.0"


def node_ranges(pod_range: str, nodes: int) -> Iterator[str]:
    """The ranges of the nodes' pods within that of the cluster: /24 each, smaller when there are many nodes."""
    network = ipaddress.ip_network(pod_range)
    bits = max(nodes, 1).bit_length()
    prefix = max(24, network.prefixlen + bits)
    return (str(subnet) for subnet in network.subnets(new_prefix=min(prefix, 30)))


def host_capacity(pods: int = 110) -> dict[str, str]:
    """What this machine has."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        memory = 8 << 30
    return {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{memory // 1024}Ki",
        "ephemeral-storage": "100Gi",
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "0",
        "pods": str(pods),
    }


def architecture() -> str:
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME") or platform.platform()
    except OSError:
        return platform.platform()


def node_object(facts: NodeFacts) -> Object:
    """A Node to register, without status."""
    labels = {
        "beta.kubernetes.io/arch": architecture(),
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": architecture(),
        "kubernetes.io/hostname": facts.name,
        "kubernetes.io/os": "linux",
    }
    node: Object = {
        "metadata": {
            "name": facts.name,
            "labels": labels,
            "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
        },
        "spec": {},
    }
    if facts.pod_range:
        node["spec"] = {"podCIDR": facts.pod_range, "podCIDRs": [facts.pod_range]}
    return node


def node_status(facts: NodeFacts, now: str, before: Object, images: list[str], trouble: str = "") -> Object:
    """The status to report at `now`; conditions keep their transition times.

    `trouble` says why nothing can run here; the node is not ready then.
    """
    known = {row["type"]: row for row in before.get("conditions") or ()}
    conditions = []
    ready = (
        ("Ready", "False", "KubeletNotReady", f"container runtime is down: {trouble}") if trouble else _READY
    )
    for kind, status, reason, message in (*_HEALTHY, ready):
        old = known.get(kind)
        since = old["lastTransitionTime"] if old and old.get("status") == status else now
        conditions.append(
            {
                "type": kind,
                "status": status,
                "lastHeartbeatTime": now,
                "lastTransitionTime": since,
                "reason": reason,
                "message": message,
            }
        )
    return {
        "capacity": facts.capacity,
        "allocatable": facts.capacity,
        "conditions": conditions,
        "addresses": [
            {"type": "InternalIP", "address": facts.address},
            {"type": "Hostname", "address": facts.name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "nodeInfo": {
            "architecture": architecture(),
            "bootID": "",
            "containerRuntimeVersion": f"{facts.runtime}://1.0.0",
            "kernelVersion": platform.release(),
            "kubeProxyVersion": "",
            "kubeletVersion": facts.version,
            "machineID": "",
            "operatingSystem": platform.system().lower(),
            "osImage": _os_name(),
            "systemUUID": "",
        },
        "images": [{"names": [name], "sizeBytes": 0} for name in images],
    }
