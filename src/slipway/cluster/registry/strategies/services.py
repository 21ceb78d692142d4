"""Services: cluster addresses and node ports are given out of their ranges, and kept once given.

Facts: k8s.io/kubernetes pkg/registry/core/service (allocation), pkg/apis/core/v1 defaults (types, families).
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from slipway.cluster.registry.call import Call
from slipway.cluster.registry.strategy import Strategy
from slipway.cluster.status import FieldError

if TYPE_CHECKING:
    from slipway.cluster.registry.registry import Registry

Object = dict[str, Any]
NODE_PORTS = range(30000, 32768)
_WITH_NODE_PORTS = {"NodePort", "LoadBalancer"}


class ServiceStrategy(Strategy):
    def prepare_create(self, registry: Registry, call: Call, obj: Object) -> None:
        obj["status"] = {"loadBalancer": {}}
        self._allocate(registry, obj, None)

    def prepare_update(self, registry: Registry, call: Call, obj: Object, old: Object) -> None:
        obj["status"] = old.get("status", {"loadBalancer": {}})
        self._allocate(registry, obj, old)

    def validate(self, registry: Registry, call: Call, obj: Object, old: Object | None) -> list[FieldError]:
        errors = []
        wanted = obj["spec"].get("clusterIP")
        if wanted and wanted != "None" and (old is None or old["spec"].get("clusterIP") != wanted):
            errors += _address_errors(registry, obj, wanted)
        return errors

    def _allocate(self, registry: Registry, obj: Object, old: Object | None) -> None:
        spec = obj.setdefault("spec", {})
        kind = spec.setdefault("type", "ClusterIP")
        spec.setdefault("sessionAffinity", "None")
        if kind == "ExternalName":
            for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
                spec.pop(name, None)
            return
        before = (old or {}).get("spec") or {}
        if not spec.get("clusterIP"):
            kept = before.get("clusterIP") if before.get("type") != "ExternalName" else ""
            given = (spec.get("clusterIPs") or [""])[0]
            spec["clusterIP"] = given or kept or free_address(registry)
        spec["clusterIPs"] = [spec["clusterIP"]]
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
        spec.setdefault("internalTrafficPolicy", "Cluster")
        self._node_ports(registry, spec, before)

    def _node_ports(self, registry: Registry, spec: Object, before: Object) -> None:
        kind = spec["type"]
        ports = spec.get("ports") or []
        if kind not in _WITH_NODE_PORTS:
            was = before.get("type") in _WITH_NODE_PORTS
            old_ports = {_port_key(port): port.get("nodePort") for port in before.get("ports") or []}
            for port in ports:
                if was and port.get("nodePort") == old_ports.get(_port_key(port)):
                    port.pop("nodePort", None)
            spec.pop("externalTrafficPolicy", None)
            spec.pop("allocateLoadBalancerNodePorts", None)
            return
        spec.setdefault("externalTrafficPolicy", "Cluster")
        if kind == "LoadBalancer":
            spec.setdefault("allocateLoadBalancerNodePorts", True)
            if not spec["allocateLoadBalancerNodePorts"]:
                return
        kept = {_port_key(port): port.get("nodePort") for port in before.get("ports") or []}
        used = used_node_ports(registry)
        for port in ports:
            if not port.get("nodePort"):
                port["nodePort"] = kept.get(_port_key(port)) or _free_node_port(registry, used)
            used.add(port["nodePort"])


def _port_key(port: Object) -> tuple[Any, Any]:
    return port.get("protocol") or "TCP", port.get("port")


def _used_addresses(registry: Registry) -> set[str]:
    return {
        str(service["spec"].get("clusterIP"))
        for service in registry.objects("", "v1", "services")
        if service["spec"].get("clusterIP")
    }


def free_address(registry: Registry) -> str:
    """An address of the service range that no Service has; the lowest sixteenth is left to explicit wishes."""
    network = ipaddress.ip_network(registry.service_range)
    used = _used_addresses(registry)
    reserved = min(max(16, network.num_addresses // 16), 256)
    for _ in range(64):
        number = registry.randomness.randrange(reserved, network.num_addresses - 1)
        if str(network[number]) not in used:
            return str(network[number])
    for number in range(1, network.num_addresses - 1):
        if str(network[number]) not in used:
            return str(network[number])
    return ""


def _address_errors(registry: Registry, obj: Object, wanted: str) -> list[FieldError]:
    network = ipaddress.ip_network(registry.service_range)
    try:
        inside = ipaddress.ip_address(wanted) in network
    except ValueError:
        return []  # validation says that it is not an address
    if not inside:
        why = (
            f"failed to allocate IP {wanted}: the provided IP ({wanted}) is not in the valid range. The range of"
            f" valid IPs is {network}"
        )
        return [
            FieldError("FieldValueInvalid", "spec.clusterIPs", [wanted], why, shown=f'[]string{{"{wanted}"}}')
        ]
    if wanted in _used_addresses(registry):
        why = f"failed to allocate IP {wanted}: provided IP is already allocated"
        return [
            FieldError("FieldValueInvalid", "spec.clusterIPs", [wanted], why, shown=f'[]string{{"{wanted}"}}')
        ]
    return []


def used_node_ports(registry: Registry) -> set[int]:
    return {
        int(port["nodePort"])
        for service in registry.objects("", "v1", "services")
        for port in service["spec"].get("ports") or []
        if port.get("nodePort")
    }


def _free_node_port(registry: Registry, used: set[int]) -> int:
    free = [number for number in NODE_PORTS if number not in used]
    return registry.randomness.choice(free)
