"""What a pod's spec asks of a node: tolerations, node selector, node affinity, resources, ports. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from slipway.cluster.client import selectors
from slipway.cluster.client.objects import Object
from slipway.cluster.client.quantities import amounts

HostPort = tuple[str, str, int]  # address, protocol, port


def node_matches(spec: Mapping[str, Any], labels: Mapping[str, str], name: str) -> bool:
    """nodeSelector and required node affinity of a pod's spec."""
    if not selectors.matches_map(spec.get("nodeSelector") or {}, labels):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return selectors.matches_terms(required.get("nodeSelectorTerms") or (), labels, name)


def tolerated(taint: Mapping[str, Any], tolerations: Iterable[Mapping[str, Any]]) -> bool:
    return any(tolerates(toleration, taint) for toleration in tolerations)


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def host_ports_of(spec: Mapping[str, Any]) -> frozenset[HostPort]:
    """The ports of the node that a pod's containers want."""
    containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
    return frozenset(
        (port.get("hostIP") or "0.0.0.0", port.get("protocol", "TCP"), int(port["hostPort"]))
        for container in containers
        for port in container.get("ports") or ()
        if port.get("hostPort")
    )


def ports_clash(wanted: Iterable[HostPort], taken: Iterable[HostPort]) -> bool:
    """Whether one of the wanted ports is taken: 0.0.0.0 is every address."""
    return any(
        protocol == other_protocol
        and port == other_port
        and (address == other_address or "0.0.0.0" in (address, other_address))
        for address, protocol, port in wanted
        for other_address, other_protocol, other_port in taken
    )


def requests_of(pod: Object) -> dict[str, int]:
    """CPU in thousandths, the rest in units: what must be free on a node for this pod.

    The larger of what its containers need together and what any init container needs beside the sidecars
    started before it; plus overhead. Requests of the pod itself win over those of its containers.
    """
    spec = pod["spec"]
    total = _sum(_requests(container) for container in spec.get("containers") or ())
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in spec.get("initContainers") or ():
        wanted = _requests(container)
        if container.get("restartPolicy") == "Always":
            sidecars = _sum([sidecars, wanted])
            wanted = sidecars
        else:
            wanted = _sum([sidecars, wanted])
        peak = _largest(peak, wanted)
    total = _largest(_sum([total, sidecars]), peak)
    total |= amounts((spec.get("resources") or {}).get("requests") or {})
    return _sum([total, amounts(spec.get("overhead") or {})])


def _requests(container: Mapping[str, Any]) -> dict[str, int]:
    resources = container.get("resources") or {}
    return amounts({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _sum(parts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total


def _largest(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in {**one, **other}}
