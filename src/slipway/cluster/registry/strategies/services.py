"""Services: what a change of type drops, what an update keeps, and what the server gives.

Facts: k8s.io/kubernetes pkg/registry/core/service (strategy.go, storage), pkg/apis/core/v1 defaults.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slipway.cluster.registry.call import Call
from slipway.cluster.registry.strategies.service_allocation import (
    allocate_address,
    allocate_health_port,
    allocate_node_ports,
    choose_families,
    needs_health_port,
)
from slipway.cluster.registry.strategy import Strategy

if TYPE_CHECKING:
    from slipway.cluster.registry.registry import Registry

Object = dict[str, Any]


class ServiceStrategy(Strategy):
    def prepare_create(self, registry: Registry, call: Call, obj: Object) -> None:
        obj["status"] = {"loadBalancer": {}}
        _fill(obj["spec"])
        self._allocate(registry, obj, {})

    def prepare_update(self, registry: Registry, call: Call, obj: Object, old: Object) -> None:
        obj["status"] = old.get("status", {"loadBalancer": {}})
        spec, before = obj["spec"], old["spec"]
        _drop_what_the_type_has_not(spec, before)
        if spec.get("type") != "LoadBalancer":
            obj["status"] = {**obj["status"], "loadBalancer": {}}
        _follow_address(spec, before)
        _fill(spec)
        _keep_given(spec, before)
        self._allocate(registry, obj, old)

    def _allocate(self, registry: Registry, obj: Object, old: Object) -> None:
        spec, before = obj["spec"], old.get("spec") or {}
        if spec["type"] != "ExternalName":
            choose_families(registry, obj, before)
            allocate_address(registry, obj, before)
            spec.setdefault("internalTrafficPolicy", "Cluster")
        if _has_node_ports(spec):
            allocate_node_ports(registry, obj, before)
        if needs_health_port(spec) and not needs_health_port(before):
            allocate_health_port(registry, obj)


def _fill(spec: Object) -> None:
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    if _has_node_ports(spec):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    if spec["type"] != "ExternalName" and not spec.get("clusterIP") and spec.get("clusterIPs"):
        spec["clusterIP"] = spec["clusterIPs"][0]


def _has_node_ports(spec: Object) -> bool:
    return spec.get("type") in {"NodePort", "LoadBalancer"}


def _reachable(spec: Object) -> bool:
    return _has_node_ports(spec) or (spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs")))


def _node_ports(spec: Object) -> list[int]:
    return [port.get("nodePort") or 0 for port in spec.get("ports") or []]


def _drop_what_the_type_has_not(spec: Object, before: Object) -> None:
    """Fields that the new type does not know go, unless the same request changed them: then validation speaks."""

    def drop(*names: str) -> None:
        for name in names:
            if spec.get(name) == before.get(name):
                spec.pop(name, None)

    if before.get("type") != "ExternalName" and spec.get("type") == "ExternalName":
        if (spec.get("clusterIP"), spec.get("clusterIPs")) == (
            before.get("clusterIP"),
            before.get("clusterIPs"),
        ):
            drop("clusterIP", "clusterIPs")
        drop("ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy")
    if (
        _has_node_ports(before)
        and not _has_node_ports(spec)
        and set(_node_ports(spec)) == set(_node_ports(before))
    ):
        for port in spec.get("ports") or []:
            port.pop("nodePort", None)
    if needs_health_port(before) and not needs_health_port(spec):
        drop("healthCheckNodePort")
    if before.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        drop("allocateLoadBalancerNodePorts", "loadBalancerClass")
    if _reachable(before) and not _reachable(spec):
        drop("externalTrafficPolicy")


def _follow_address(spec: Object, before: Object) -> None:
    """Clients that know only `clusterIP` change it alone: the list goes with it."""
    address = spec.get("clusterIP") or ""
    if address == (before.get("clusterIP") or "") or spec.get("clusterIPs") != before.get("clusterIPs"):
        return
    spec.pop("clusterIPs", None)
    if address:
        spec["clusterIPs"] = [address]


def _keep_given(spec: Object, before: Object) -> None:
    """What the server once gave stays where a client leaves it out."""
    if "ExternalName" not in (spec["type"], before.get("type")):
        for name in ("clusterIP", "clusterIPs"):
            if not spec.get(name) and before.get(name):
                spec[name] = before[name]
    if _has_node_ports(spec) and _has_node_ports(before):
        used = set(_node_ports(spec)) & set(_node_ports(before))
        given = {port.get("name", ""): port.get("nodePort") for port in before.get("ports") or []}
        for port in spec.get("ports") or []:
            known = given.get(port.get("name", ""))
            if not port.get("nodePort") and known and known not in used:
                port["nodePort"] = known
    if needs_health_port(spec) and needs_health_port(before):
        spec.setdefault("healthCheckNodePort", before.get("healthCheckNodePort"))
