"""Which pods stand behind a Service, and at which ports: what Endpoints and EndpointSlices are made from. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from slipway.cluster.client import selectors
from slipway.cluster.client.objects import Object, is_deleting, labels_of, metadata, name_of, namespace_of
from slipway.cluster.controllers import pods as podlist

HEADLESS_LABEL = "service.kubernetes.io/headless"


def selects(service: Object) -> bool:
    """Whether this Service's endpoints are ours to keep."""
    return bool(service["spec"].get("selector")) and service["spec"].get("type") != "ExternalName"


def is_headless(service: Object) -> bool:
    return bool(service["spec"].get("clusterIP") == "None")


@dataclass(frozen=True, slots=True)
class Backend:
    """One pod behind a Service."""

    pod: Object
    ports: tuple[
        tuple[tuple[str, Any], ...], ...
    ]  # each port as its sorted items, so that pods group by them
    ready: bool
    serving: bool
    terminating: bool

    def addresses(self, family: str) -> list[str]:
        """The pod's addresses of `IPv4` or `IPv6`."""
        version = 6 if family == "IPv6" else 4
        return [text for text in _pod_ips(self.pod) if ipaddress.ip_address(text).version == version]

    @property
    def target(self) -> dict[str, str]:
        meta = metadata(self.pod)
        return {"kind": "Pod", "namespace": meta["namespace"], "name": meta["name"], "uid": meta["uid"]}

    @property
    def node(self) -> str:
        return str(self.pod["spec"].get("nodeName") or "")


def backends(service: Object, pods: Iterable[Object]) -> list[Backend]:
    """The pods that count, by name. Finished ones and ones without an address do not."""
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    found = []
    for pod in pods:
        if not selectors.matches_map(service["spec"]["selector"], labels_of(pod)):
            continue
        if podlist.is_finished(pod) or not _pod_ips(pod):
            continue
        serving, terminating = podlist.is_ready(pod), is_deleting(pod)
        ready = publish or (serving and not terminating)
        found.append(Backend(pod, _ports(service, pod), ready, serving, terminating))
    return sorted(found, key=lambda backend: name_of(backend.pod))


def hostname(service: Object, pod: Object) -> str:
    """The pod's own DNS name under the Service, if it has one."""
    spec = pod["spec"]
    if spec.get("hostname") and spec.get("subdomain") == name_of(service):
        return str(spec["hostname"]) if namespace_of(pod) == namespace_of(service) else ""
    return ""


def families(service: Object) -> list[str]:
    """`IPv4`, `IPv6`: as the Service says, IPv4 when it does not."""
    return list(service["spec"].get("ipFamilies") or ("IPv4",))


def _pod_ips(pod: Object) -> list[str]:
    status = pod.get("status") or {}
    ips = [entry["ip"] for entry in status.get("podIPs") or () if entry.get("ip")]
    return ips or ([status["podIP"]] if status.get("podIP") else [])


def _ports(service: Object, pod: Object) -> tuple[tuple[tuple[str, Any], ...], ...]:
    found = []
    for port in service["spec"].get("ports") or ():
        number = _port_number(port, pod)
        if number is None:
            continue
        made = {
            "name": port.get("name", ""),
            "port": number,
            "protocol": port.get("protocol", "TCP"),
        }
        if port.get("appProtocol"):
            made["appProtocol"] = port["appProtocol"]
        found.append(tuple(sorted(made.items())))
    return tuple(found)


def _port_number(port: Mapping[str, Any], pod: Object) -> int | None:
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target or int(port["port"])
    restartable = [
        container
        for container in pod["spec"].get("initContainers") or ()
        if container.get("restartPolicy") == "Always"
    ]
    for container in [*(pod["spec"].get("containers") or ()), *restartable]:
        for offered in container.get("ports") or ():
            same_protocol = offered.get("protocol", "TCP") == port.get("protocol", "TCP")
            if offered.get("name") == target and same_protocol:
                return int(offered["containerPort"])
    return None
