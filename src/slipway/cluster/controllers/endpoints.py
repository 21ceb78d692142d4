"""Endpoints, the older form of EndpointSlices: one object a Service, addresses grouped by ports."""

from __future__ import annotations

import ipaddress
from typing import Any, ClassVar

from slipway.cluster.client.objects import (
    Key,
    Object,
    clone,
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
)
from slipway.cluster.client.resources import ENDPOINTS, PODS, SERVICES
from slipway.cluster.controllers import service_backends as behind
from slipway.cluster.controllers.controller import Controller
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.endpointslices import wake_services_of
from slipway.cluster.controllers.service_backends import Backend
from slipway.cluster.controllers.writes import Create, Delete, Plan, Update

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
_CAPACITY = 1000


def subsets_of(service: Object, pods: list[Object]) -> list[dict[str, Any]]:
    """The subsets in canonical order; terminating pods only if the Service publishes not-ready addresses."""
    publish = bool(service["spec"].get("publishNotReadyAddresses"))
    family = behind.families(service)[0]
    groups: dict[Any, dict[str, list[dict[str, Any]]]] = {}
    for backend in behind.backends(service, pods)[:_CAPACITY]:
        if backend.terminating and not publish:
            continue
        addresses = backend.addresses(family)
        if not addresses or (not backend.ports and not behind.is_headless(service)):
            continue
        field = "addresses" if backend.ready else "notReadyAddresses"
        group = groups.setdefault(backend.ports, {})
        group.setdefault(field, []).append(_address(service, backend, addresses[0]))
    subsets = []
    for ports, group in groups.items():
        subset: dict[str, Any] = {
            field: sorted(group[field], key=lambda address: ipaddress.ip_address(address["ip"]).packed)
            for field in ("addresses", "notReadyAddresses")
            if field in group
        }
        if ports:
            shown = [{key: value for key, value in port if value != ""} for port in ports]
            subset["ports"] = sorted(shown, key=lambda port: (port.get("name", ""), port["port"]))
        subsets.append(subset)
    return sorted(subsets, key=lambda subset: str(subset.get("ports")))


def _address(service: Object, backend: Backend, ip: str) -> dict[str, Any]:
    address: dict[str, Any] = {"ip": ip, "targetRef": backend.target}
    name = behind.hostname(service, backend.pod)
    if name:
        address["hostname"] = name
    if backend.node:
        address["nodeName"] = backend.node
    return address


def step(service: Object, pods: list[Object], current: Object | None) -> Plan:
    wanted: Object = (
        clone(current)
        if current
        else {"metadata": {"name": name_of(service), "namespace": namespace_of(service)}}
    )
    subsets = subsets_of(service, pods)
    if subsets:
        wanted["subsets"] = subsets
    else:
        wanted.pop("subsets", None)
    labels = {**labels_of(service), MANAGED_BY: MANAGER}
    labels.pop(behind.HEADLESS_LABEL, None)
    if behind.is_headless(service):
        labels[behind.HEADLESS_LABEL] = ""
    wanted["metadata"]["labels"] = labels
    if current is None:
        return Plan([Create(ENDPOINTS, wanted)])
    return Plan([Update(ENDPOINTS, wanted)] if wanted != current else [])


class EndpointsController(Controller):
    workers: ClassVar[int] = 5

    def watch(self) -> None:
        self.services = self.own_changes(SERVICES)
        self.pods = self.informer(PODS)
        self.endpoints = self.own_changes(ENDPOINTS)
        self.handle(
            self.pods,
            lambda old, new: wake_services_of(
                self, self.services.list(namespace_of(new or old or {})), old, new
            ),
        )

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        service, current = self.services.get(*key), self.endpoints.get(*key)
        if service is None:
            if current is not None and MANAGED_BY in labels_of(current):
                await effects.do(Delete(ENDPOINTS, current))
            return None
        if is_deleting(service) or not behind.selects(service):
            return None
        await effects.carry_out(step(service, self.pods.list(key[0]), current))
        return None
