"""Host ports: which doors of a node lead to which pod. Pure."""

from __future__ import annotations

from typing import Any

from slipway.cluster.client.placement import host_ports_of
from slipway.cluster.nodes.doors import Door, Room

Object = dict[str, Any]


def has_host_ports(pod: Object) -> bool:
    """Whether doors are opened for it: a pod of the host's network is on its ports by itself."""
    return not pod["spec"].get("hostNetwork") and bool(host_ports_of(pod["spec"]))


def host_doors(pod: Object) -> dict[Door, Room]:
    """From the node's address (or the one that the port asks for) to the pod, while it runs and has an address."""
    status, meta = pod.get("status") or {}, pod["metadata"]
    address, node = status.get("podIP"), status.get("hostIP")
    if status.get("phase") != "Running" or not address or not node or not has_host_ports(pod):
        return {}
    found = {}
    for container in (*(pod["spec"].get("containers") or ()), *(pod["spec"].get("initContainers") or ())):
        for port in container.get("ports") or ():
            asked = port.get("hostIP") or ""
            protocol = port.get("protocol") or "TCP"
            if port.get("hostPort") and protocol in ("TCP", "UDP") and ":" not in asked:
                door = Door(node if asked in ("", "0.0.0.0") else asked, port["hostPort"], protocol)
                found[door] = Room(
                    meta["namespace"], meta["name"], "", sticky=False, only=(address, port["containerPort"])
                )
    return found
