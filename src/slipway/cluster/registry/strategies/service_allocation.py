"""What Services get out of limited ranges: cluster addresses, node ports; and which IP families they have.

A wish that cannot be met is refused alone, before validation looks at the rest, as upstream's allocators do.
Facts: k8s.io/kubernetes pkg/registry/core/service/storage/alloc.go, ipallocator, portallocator.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from slipway.cluster.status import FieldError, StatusError, internal_error, invalid

if TYPE_CHECKING:
    from slipway.cluster.registry.registry import Registry

Object = dict[str, Any]
NODE_PORTS = range(30000, 32768)
_RANGE = f"{NODE_PORTS.start}-{NODE_PORTS.stop - 1}"


def _refused(obj: Object, *errors: FieldError) -> StatusError:
    return invalid("Service", "", obj["metadata"].get("name", ""), errors)


def choose_families(registry: Registry, obj: Object, before: Object) -> None:
    """One family, that of the cluster; headless Services without a selector are open to both."""
    spec = obj["spec"]
    own = f"IPv{ipaddress.ip_network(registry.service_range).version}"
    open_to_both = spec.get("clusterIP") == "None" and not spec.get("selector")
    policy = before.get("ipFamilyPolicy") or ("RequireDualStack" if open_to_both else "SingleStack")
    policy = spec.setdefault("ipFamilyPolicy", policy)
    families = spec.get("ipFamilies") or []
    errors = []
    if policy == "SingleStack":
        for count, what in (
            (len(spec.get("clusterIPs") or []), "cluster IPs"),
            (len(families), "IP families"),
        ):
            if count == 2:
                why = f"must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
                errors.append(FieldError("FieldValueInvalid", "spec.ipFamilyPolicy", policy, why))
    addresses = [address for address in spec.get("clusterIPs") or [spec.get("clusterIP")] if address]
    for index, address in enumerate(addresses):
        if address == "None" or index < len(families):
            continue
        family = _family(address)
        if family and family != own:
            shown = "[" + ",".join(f'"{one}"' for one in addresses) + "]"
            why = f"{family} is not configured on this cluster"
            errors.append(
                FieldError("FieldValueInvalid", f"spec.clusterIPs[{index}]", None, why, shown=shown)
            )
    if errors:
        raise _refused(obj, *errors)
    if open_to_both:
        spec["ipFamilies"] = families = families or [own]
        if len(families) < 2 and policy != "SingleStack":
            families.append("IPv6" if families[0] == "IPv4" else "IPv4")
        return
    if policy == "RequireDualStack":
        why = "this cluster is not configured for dual-stack services"
        errors.append(FieldError("FieldValueInvalid", "spec.ipFamilyPolicy", policy, why))
    for index, family in enumerate(families):
        if family != own:
            why = "not configured on this cluster"
            errors.append(FieldError("FieldValueInvalid", f"spec.ipFamilies[{index}]", family, why))
    if errors:
        raise _refused(obj, *errors)
    spec["ipFamilies"] = families or [own]


def _family(address: str) -> str:
    try:
        return f"IPv{ipaddress.ip_address(address).version}"
    except ValueError:
        return ""  # validation says that it is not an address


def allocate_address(registry: Registry, obj: Object, before: Object) -> None:
    spec = obj["spec"]
    wanted = spec.get("clusterIP") or ""
    if not wanted:
        spec["clusterIP"] = free_address(registry)
    elif wanted not in {"None", before.get("clusterIP")} and (
        not before or before.get("type") == "ExternalName"
    ):
        _check_address(registry, obj, wanted)
    if not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]


def _check_address(registry: Registry, obj: Object, wanted: str) -> None:
    network = ipaddress.ip_network(registry.service_range)
    if not _family(wanted):
        return
    if ipaddress.ip_address(wanted) not in network:
        why = "the provided network does not match the current range"
    elif wanted in _used_addresses(registry):
        why = "provided IP is already allocated"
    else:
        return
    text = f"failed to allocate IP {wanted}: {why}"
    raise _refused(obj, FieldError("FieldValueInvalid", "spec.clusterIPs", [wanted], text))


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
    raise internal_error("failed to allocate a serviceIP: range is full")


def allocate_node_ports(registry: Registry, obj: Object, before: Object) -> None:
    """A port of the nodes for each port; ports of one number share theirs, whatever their protocols."""
    spec = obj["spec"]
    ports = spec.get("ports") or []
    automatic = spec["type"] == "NodePort" or spec.get("allocateLoadBalancerNodePorts", True)
    own = {port["nodePort"] for port in before.get("ports") or [] if port.get("nodePort")}
    taken = _used_node_ports(registry) - own
    chosen: dict[int, int] = {}
    kept = set(own)
    for index, port in enumerate(ports):
        if not port.get("nodePort") and not automatic:
            continue
        number = int(port.get("port") or 0)
        shared = chosen.get(number)
        wanted = port.get("nodePort") or (0 if shared else _asked_for(number, ports))
        if wanted and wanted != shared and wanted not in kept:
            _check_node_port(obj, index, wanted, taken)
        port["nodePort"] = wanted or shared or _free_node_port(registry, taken | kept)
        chosen.setdefault(number, port["nodePort"])
        taken.add(port["nodePort"])
        kept.discard(port["nodePort"])


def _asked_for(number: int, ports: list[Object]) -> int:
    return next((p["nodePort"] for p in ports if p.get("port") == number and p.get("nodePort")), 0)


def _check_node_port(obj: Object, index: int, wanted: int, taken: set[int]) -> None:
    why = _port_problem(wanted, taken)
    if why:
        raise _refused(obj, FieldError("FieldValueInvalid", f"spec.ports[{index}].nodePort", wanted, why))


def _port_problem(wanted: int, taken: set[int]) -> str:
    if wanted not in NODE_PORTS:
        return f"provided port is not in the valid range. The range of valid ports is {_RANGE}"
    return "provided port is already allocated" if wanted in taken else ""


def _used_node_ports(registry: Registry) -> set[int]:
    numbers: set[int] = set()
    for service in registry.objects("", "v1", "services"):
        spec = service["spec"]
        numbers.update(int(port["nodePort"]) for port in spec.get("ports") or [] if port.get("nodePort"))
        if spec.get("healthCheckNodePort"):
            numbers.add(int(spec["healthCheckNodePort"]))
    return numbers


def _free_node_port(registry: Registry, taken: set[int]) -> int:
    free = [number for number in NODE_PORTS if number not in taken]
    if not free:
        raise internal_error("failed to allocate a nodePort: range is full")
    return registry.randomness.choice(free)


def needs_health_port(spec: Object) -> bool:
    """Only load balancers that keep the client's address ask nodes about their health."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def allocate_health_port(registry: Registry, obj: Object) -> None:
    spec = obj["spec"]
    taken = _used_node_ports(registry) | {port.get("nodePort") or 0 for port in spec.get("ports") or []}
    wanted = spec.get("healthCheckNodePort")
    if not wanted:
        spec["healthCheckNodePort"] = _free_node_port(registry, taken)
        return
    why = _port_problem(wanted, taken)
    if why:
        raise internal_error(f"failed to allocate requested HealthCheck NodePort {wanted}: {why}")
