"""Services, Endpoints, EndpointSlices.

Facts: `ValidateService` and `ValidateEndpoints` in `pkg/apis/core/validation`, `pkg/apis/discovery/validation` of
Kubernetes 1.37.
"""

from __future__ import annotations

from typing import Any

from slipway.cluster.registry.validation.addresses import (
    NOT_AN_ADDRESS,
    address_errors,
    network_errors,
    parse_address,
)
from slipway.cluster.registry.validation.containers import PROTOCOLS
from slipway.cluster.registry.validation.findings import Findings, each
from slipway.cluster.registry.validation.metadata import labels_errors
from slipway.cluster.schema import names

Object = dict[str, Any]
TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_EXTERNAL = ("LoadBalancer", "NodePort")


def service_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    kind = spec.get("type", "")
    headless = spec.get("clusterIP") == "None"
    if not spec.get("ports") and not headless and kind != "ExternalName":
        found.required("spec.ports")
    if kind == "LoadBalancer":
        for place, port in each(spec, "spec", "ports"):
            if port.get("port") == 10250:
                found.invalid(
                    f"{place}.port", 10250, "may not expose port 10250 externally since it is used by kubelet"
                )
        if headless:
            found.invalid("spec.clusterIP", "None", "may not be set to 'None' for LoadBalancer services")
    if kind == "NodePort" and headless:
        found.invalid("spec.clusterIP", "None", "may not be set to 'None' for NodePort services")
    if kind == "ExternalName":
        if spec.get("clusterIP"):
            found.forbidden("spec.clusterIP", "may not be set when `type` is 'ExternalName'")
        name = spec.get("externalName", "").removesuffix(".")
        if found.needs("spec.externalName", name):
            found.named("spec.externalName", name, names.dns1123_subdomain)
    _ports(found, spec)
    labels_errors(found, "spec.selector", spec.get("selector") or {})
    if found.needs("spec.sessionAffinity", spec.get("sessionAffinity")):
        found.one_of("spec.sessionAffinity", spec["sessionAffinity"], ("ClientIP", "None"))
    _affinity(found, spec)
    _cluster_addresses(found, spec)
    for place, address in each(spec, "spec", "externalIPs"):
        address_errors(found, place, address)
    if not kind:
        found.required("spec.type")
    else:
        found.one_of("spec.type", kind, TYPES)
    _load_balancer(found, spec, kind)
    _traffic(found, spec, kind)
    if old is not None:
        _update(found, spec, old.get("spec") or {})


def _ports(found: Findings, spec: Object) -> None:
    ports = spec.get("ports") or []
    taken: set[str] = set()
    for place, port in each(spec, "spec", "ports"):
        name = port.get("name", "")
        if not name:
            if len(ports) > 1:
                found.required(f"{place}.name")
        else:
            found.named(f"{place}.name", name, names.dns1123_label)
            if name in taken:
                found.duplicate(f"{place}.name", name)
            taken.add(name)
        found.port(f"{place}.port", port.get("port", 0))
        if not port.get("protocol"):
            found.required(f"{place}.protocol")
        else:
            found.one_of(f"{place}.protocol", port["protocol"], PROTOCOLS)
        found.port_or_name(f"{place}.targetPort", port.get("targetPort", 0))
        if port.get("appProtocol") is not None:
            _qualified(found, f"{place}.appProtocol", port["appProtocol"])
        if port.get("nodePort") and spec.get("type") == "ClusterIP":
            found.forbidden(f"{place}.nodePort", "may not be used when `type` is 'ClusterIP'")
    _distinct_ports(found, ports)


def _distinct_ports(found: Findings, ports: list[Object]) -> None:
    nodes: set[tuple[Any, Any]] = set()
    seen: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        node = (port.get("protocol"), port.get("nodePort"))
        if port.get("nodePort"):
            if node in nodes:
                found.duplicate(f"spec.ports[{index}].nodePort", port["nodePort"])
            nodes.add(node)
        key = (port.get("protocol"), port.get("port"))
        if key in seen:
            protocol, number = port.get("protocol", ""), port.get("port", 0)
            shown = (
                f'{{"Name":"","Protocol":"{protocol}","AppProtocol":null,"Port":{number},'
                '"TargetPort":0,"NodePort":0}'
            )
            found.duplicate(f"spec.ports[{index}]", None, shown=shown)
        seen.add(key)


def _qualified(found: Findings, path: str, value: str) -> None:
    for text in names.label_key(value):
        found.invalid(path, value, text.replace("a valid label key", "a qualified name"))


def _affinity(found: Findings, spec: Object) -> None:
    config = spec.get("sessionAffinityConfig")
    if spec.get("sessionAffinity") == "ClientIP" and config is not None:
        seconds = (config.get("clientIP") or {}).get("timeoutSeconds")
        if seconds is not None and not 0 < seconds <= 86400:
            found.invalid(
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                seconds,
                "must be greater than 0 and less than 86400",
            )
    elif spec.get("sessionAffinity") == "None" and config is not None:
        found.forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None")


def _cluster_addresses(found: Findings, spec: Object) -> None:
    addresses = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    first = spec.get("clusterIP", "")
    if spec.get("type") == "ExternalName":
        return
    if spec.get("clusterIPs") and addresses[0] != first:
        found.invalid("spec.clusterIPs", addresses, "first value must match `clusterIP`")
    if "None" in addresses:
        if len(addresses) > 1:
            found.invalid("spec.clusterIPs", addresses, "'None' must be the first and only value")
    else:
        for index, address in enumerate(addresses):
            if parse_address(address) is None:
                found.invalid(f"spec.clusterIPs[{index}]", address, NOT_AN_ADDRESS)
        parsed = [parse_address(address) for address in addresses]
        versions = [address.version for address in parsed if address is not None]
        if len(addresses) > 2:
            found.invalid("spec.clusterIPs", addresses, "may only hold up to 2 values")
        if len(set(versions)) < len(versions):
            found.invalid("spec.clusterIPs", addresses, "may specify no more than one IP for each IP family")
    families = spec.get("ipFamilies") or []
    for index, family in enumerate(families):
        if family not in ("IPv4", "IPv6"):
            found.unsupported(f"spec.ipFamilies[{index}]", family, ("IPv4", "IPv6"))
        if family in families[:index]:
            found.duplicate(f"spec.ipFamilies[{index}]", family)
    if spec.get("ipFamilyPolicy") is not None:
        found.one_of(
            "spec.ipFamilyPolicy",
            spec["ipFamilyPolicy"],
            ("PreferDualStack", "RequireDualStack", "SingleStack"),
        )


def _load_balancer(found: Findings, spec: Object, kind: str) -> None:
    ranges = spec.get("loadBalancerSourceRanges") or []
    if ranges:
        if kind != "LoadBalancer":
            found.forbidden("spec.LoadBalancerSourceRanges", "may only be used when `type` is 'LoadBalancer'")
        for index, network in enumerate(ranges):
            network_errors(found, f"spec.LoadBalancerSourceRanges[{index}]", network.strip())
    if spec.get("allocateLoadBalancerNodePorts") is not None and kind != "LoadBalancer":
        found.forbidden(
            "spec.allocateLoadBalancerNodePorts", "may only be used when `type` is 'LoadBalancer'"
        )
    if spec.get("loadBalancerClass") is not None:
        if kind != "LoadBalancer":
            found.forbidden("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'")
        else:
            _qualified(found, "spec.loadBalancerClass", spec["loadBalancerClass"])


def _traffic(found: Findings, spec: Object, kind: str) -> None:
    external = spec.get("externalTrafficPolicy", "")
    reachable = kind in _EXTERNAL or (kind == "ClusterIP" and bool(spec.get("externalIPs")))
    if external:
        if not reachable:
            found.invalid(
                "spec.externalTrafficPolicy", external, "may only be set for externally-accessible services"
            )
        else:
            found.one_of("spec.externalTrafficPolicy", external, ("Cluster", "Local"))
    elif reachable:
        found.required("spec.externalTrafficPolicy")
    health = spec.get("healthCheckNodePort", 0)
    if kind == "LoadBalancer" and external == "Local":
        if health:
            found.port("spec.healthCheckNodePort", health)
    elif health:
        found.invalid(
            "spec.healthCheckNodePort",
            health,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        )
    internal = spec.get("internalTrafficPolicy")
    if internal is not None:
        found.one_of("spec.internalTrafficPolicy", internal, ("Cluster", "Local"))


def _update(found: Findings, spec: Object, old: Object) -> None:
    kept = spec.get("type") == old.get("type") or "ExternalName" not in (spec.get("type"), old.get("type"))
    before, after = old.get("clusterIP", ""), spec.get("clusterIP", "")
    if kept and before and after != before and (spec.get("type") != "ExternalName"):
        found.invalid("spec.clusterIPs[0]", [after] if after else None, "primary clusterIP can not be unset")
        if after:
            found.errors.pop()
            found.invalid("spec.clusterIPs[0]", spec.get("clusterIPs") or [after], "may not change once set")
    if spec.get("type") == old.get("type") == "LoadBalancer":
        was, now = old.get("loadBalancerClass"), spec.get("loadBalancerClass")
        if was != now:
            found.invalid("spec.loadBalancerClass", now, "may not change once set")
        if (
            old.get("externalTrafficPolicy") == spec.get("externalTrafficPolicy") == "Local"
            and old.get("healthCheckNodePort")
            and spec.get("healthCheckNodePort", 0) != old["healthCheckNodePort"]
        ):
            found.forbidden("spec.healthCheckNodePort", "field is immutable")


# Endpoints


def endpoints_errors(found: Findings, obj: Object, old: Object | None) -> None:
    for place, subset in each(obj, "", "subsets"):
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            found.required(place, "must specify `addresses` or `notReadyAddresses`")
        for group in ("addresses", "notReadyAddresses"):
            for where, address in each(subset, place, group):
                _endpoint_address(found, where, address)
        for where, port in each(subset, place, "ports"):
            name = port.get("name", "")
            if not name and len(subset["ports"]) > 1:
                found.required(f"{where}.name")
            elif name:
                found.named(f"{where}.name", name, names.dns1123_label)
            found.port(f"{where}.port", port.get("port", 0))
            found.chosen(f"{where}.protocol", port.get("protocol"), PROTOCOLS)


def _endpoint_address(found: Findings, path: str, address: Object) -> None:
    """An embedded cluster lives on loopback addresses, so unlike upstream these are taken."""
    text = address.get("ip", "")
    parsed = parse_address(text)
    if parsed is None:
        found.invalid(f"{path}.ip", text, NOT_AN_ADDRESS)
        found.invalid(f"{path}.ip", text, "must be a valid IP address")
    elif parsed.is_unspecified:
        found.invalid(f"{path}.ip", text, f"may not be unspecified ({parsed})")
    elif parsed.is_link_local:
        found.invalid(f"{path}.ip", text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)")
    if address.get("hostname"):
        found.named(f"{path}.hostname", address["hostname"], names.dns1123_label)
    if address.get("nodeName") is not None:
        found.named(f"{path}.nodeName", address["nodeName"], names.dns1123_subdomain)


def endpoint_slice_errors(found: Findings, obj: Object, old: Object | None) -> None:
    kind = obj.get("addressType", "")
    if not kind:
        found.required("addressType")
    else:
        found.one_of("addressType", kind, ("FQDN", "IPv4", "IPv6"))
    if old is not None and kind != old.get("addressType"):
        found.invalid("addressType", None, "field is immutable")  # upstream never shows the value here
    if len(obj.get("endpoints") or ()) > 1000:
        found.too_many("endpoints", len(obj["endpoints"]), 1000)
    for place, endpoint in each(obj, "", "endpoints"):
        addresses = endpoint.get("addresses") or []
        if not addresses:
            found.required(f"{place}.addresses")
        if len(addresses) > 100:
            found.too_many(f"{place}.addresses", len(addresses), 100)
        for where, address in each(endpoint, place, "addresses"):
            if kind == "FQDN":
                found.named(where, address, names.dns1123_subdomain)
            elif kind in ("IPv4", "IPv6"):
                address_errors(found, where, address)
        if endpoint.get("nodeName") is not None:
            found.named(f"{place}.nodeName", endpoint["nodeName"], names.dns1123_subdomain)
        if endpoint.get("hostname") is not None:
            found.named(f"{place}.hostname", endpoint["hostname"], names.dns1123_label)
    _slice_ports(found, obj)


def _slice_ports(found: Findings, obj: Object) -> None:
    taken: set[str] = set()
    for place, port in each(obj, "", "ports"):
        name = port.get("name") or ""
        if name:
            found.named(f"{place}.name", name, names.dns1123_label)
        if name in taken:
            found.duplicate(f"{place}.name", name)
        taken.add(name)
        found.one_of(f"{place}.protocol", port.get("protocol"), PROTOCOLS)
        if port.get("appProtocol") is not None:
            _qualified(found, f"{place}.appProtocol", port["appProtocol"])
