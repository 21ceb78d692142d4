"""EndpointSlices of Services with a selector: at most a hundred endpoints each, changed as little as can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from slipway.cluster.client.objects import (
    Key,
    Object,
    annotations_of,
    clone,
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
)
from slipway.cluster.client.resources import ENDPOINT_SLICES, NODES, PODS, SERVICES
from slipway.cluster.controllers import service_backends as behind
from slipway.cluster.controllers.controller import Controller
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.service_backends import Backend
from slipway.cluster.controllers.writes import Create, Delete, Plan, Update

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
SERVICE_NAME = "kubernetes.io/service-name"
_PER_SLICE = 100
_NOT_COPIED = {SERVICE_NAME, MANAGED_BY, behind.HEADLESS_LABEL}

Ports = tuple[tuple[tuple[str, Any], ...], ...]


def step(service: Object, pods: list[Object], slices: list[Object], zones: Mapping[str, str]) -> Plan:
    """`slices` are ours of this Service; `zones` gives each node's topology zone."""
    plan = Plan()
    unused = [item for item in slices if item["addressType"] not in behind.families(service)]
    found = behind.backends(service, pods)
    for family in behind.families(service):
        groups: dict[Ports, list[dict[str, Any]]] = {}
        for backend in found:
            addresses = backend.addresses(family)
            if addresses:
                endpoint = _endpoint(service, backend, addresses, zones)
                groups.setdefault(backend.ports, []).append(endpoint)
        mine = [item for item in slices if item["addressType"] == family]
        used = _fit(service, family, groups, mine, plan)
        unused += [item for item in mine if name_of(item) not in used]
    plan.writes += [Delete(ENDPOINT_SLICES, item) for item in unused]
    return plan


def _fit(
    service: Object, family: str, groups: dict[Ports, list[dict[str, Any]]], slices: list[Object], plan: Plan
) -> set[str]:
    """Put the endpoints into the slices that hold them already, then into free places, then into new slices.

    The names of the slices that stay.
    """
    by_ports: dict[Ports, list[Object]] = {}
    for item in slices:
        by_ports.setdefault(_ports_of(item), []).append(item)
    if not groups:
        # A Service without endpoints keeps one empty slice, so that readers know it was looked at.
        return _keep_placeholder(service, family, slices, plan)
    used: set[str] = set()
    for ports, endpoints in groups.items():
        places = by_ports.get(ports, [])
        left = {_identity(endpoint): endpoint for endpoint in endpoints}
        filled: list[tuple[Object, list[dict[str, Any]]]] = []
        for item in places:
            kept = [left.pop(_identity(e)) for e in item.get("endpoints") or () if _identity(e) in left]
            filled.append((item, kept))
        waiting = list(left.values())
        for item, kept in filled:
            room = _PER_SLICE - len(kept)
            if kept or waiting:
                kept += waiting[:room]
                waiting = waiting[room:]
            if kept:
                used.add(name_of(item))
                _update(service, item, kept, ports, plan)
        while waiting:
            plan.writes.append(_creation(service, family, waiting[:_PER_SLICE], ports))
            waiting = waiting[_PER_SLICE:]
    return used


def _keep_placeholder(service: Object, family: str, slices: list[Object], plan: Plan) -> set[str]:
    if not slices:
        plan.writes.append(_creation(service, family, [], ()))
        return set()
    _update(service, slices[0], [], (), plan)
    return {name_of(slices[0])}


def _update(service: Object, item: Object, endpoints: list[dict[str, Any]], ports: Ports, plan: Plan) -> None:
    wanted = clone(item)
    wanted |= _content(endpoints, ports)
    _label(service, wanted)
    # An absent list and an empty one are the same to a reader.
    before = {**item, "endpoints": item.get("endpoints") or None, "ports": item.get("ports") or None}
    if wanted != before:
        plan.writes.append(Update(ENDPOINT_SLICES, wanted))


def _creation(service: Object, family: str, endpoints: list[dict[str, Any]], ports: Ports) -> Create:
    item: Object = {
        "apiVersion": ENDPOINT_SLICES.api_version,
        "kind": ENDPOINT_SLICES.kind,
        "metadata": {
            "generateName": f"{name_of(service)}-",
            "namespace": namespace_of(service),
            "ownerReferences": [owner_reference(service)],
        },
        "addressType": family,
        **_content(endpoints, ports),
    }
    _label(service, item)
    return Create(ENDPOINT_SLICES, item)


def _content(endpoints: list[dict[str, Any]], ports: Ports) -> Object:
    """Empty lists are null: upstream stores protobuf, which does not tell one from the other, and readers see null."""
    return {"endpoints": endpoints or None, "ports": [dict(port) for port in ports] or None}


def _label(service: Object, item: Object) -> None:
    labels = {key: value for key, value in labels_of(service).items() if key not in _NOT_COPIED}
    if behind.is_headless(service):
        labels[behind.HEADLESS_LABEL] = ""
    item["metadata"]["labels"] = {**labels, MANAGED_BY: MANAGER, SERVICE_NAME: name_of(service)}


def _endpoint(
    service: Object, backend: Backend, addresses: list[str], zones: Mapping[str, str]
) -> dict[str, Any]:
    endpoint: dict[str, Any] = {
        "addresses": addresses,
        "conditions": {
            "ready": backend.ready,
            "serving": backend.serving,
            "terminating": backend.terminating,
        },
        "targetRef": backend.target,
    }
    name = behind.hostname(service, backend.pod)
    if name:
        endpoint["hostname"] = name
    if backend.node:
        endpoint["nodeName"] = backend.node
        if zones.get(backend.node):
            endpoint["zone"] = zones[backend.node]
    return endpoint


def _identity(endpoint: Mapping[str, Any]) -> tuple[str, ...]:
    return ((endpoint.get("targetRef") or {}).get("uid", ""), *endpoint["addresses"])


def _ports_of(item: Object) -> Ports:
    return tuple(tuple(sorted(port.items())) for port in item.get("ports") or ())


class EndpointSliceController(Controller):
    workers: ClassVar[int] = 5

    def watch(self) -> None:
        self.services = self.own_changes(SERVICES)
        self.pods = self.informer(PODS)
        self.nodes = self.informer(NODES)
        self.slices = self.informer(ENDPOINT_SLICES)
        self.slices.add_index(
            "service", lambda item: (f"{namespace_of(item)}/{labels_of(item).get(SERVICE_NAME, '')}",)
        )
        self.handle(self.pods, self._pod_changed)
        self.handle(self.slices, self._slice_changed)

    def _pod_changed(self, old: Object | None, new: Object | None) -> None:
        wake_services_of(self, self.services.list(namespace_of(new or old or {})), old, new)

    def _slice_changed(self, old: Object | None, new: Object | None) -> None:
        item = new or old or {}
        if labels_of(item).get(MANAGED_BY) == MANAGER:
            self.queue.add((namespace_of(item), labels_of(item).get(SERVICE_NAME, "")))

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        service = self.services.get(*key)
        if service is None or is_deleting(service) or not behind.selects(service):
            return None
        mine = [
            item
            for item in self.slices.indexed("service", f"{key[0]}/{key[1]}")
            if labels_of(item).get(MANAGED_BY) == MANAGER and not is_deleting(item)
        ]
        zones = {
            name_of(node): labels_of(node).get("topology.kubernetes.io/zone", "")
            for node in self.nodes.list()
        }
        await effects.carry_out(step(service, self.pods.list(key[0]), mine, zones))
        return None


def wake_services_of(
    controller: Controller, services: list[Object], old: Object | None, new: Object | None
) -> None:
    """Wake every Service that selects the pod as it was or as it is, if anything they show has changed."""
    if old is not None and new is not None and _seen(old) == _seen(new):
        return
    for service in services:
        selector = service["spec"].get("selector")
        if selector and any(
            all(labels_of(pod).get(key) == value for key, value in selector.items())
            for pod in (old, new)
            if pod is not None
        ):
            controller.enqueue(service)


def _seen(pod: Object) -> tuple[Any, ...]:
    status = pod.get("status") or {}
    ready = next((c.get("status") for c in status.get("conditions") or () if c["type"] == "Ready"), None)
    return (
        labels_of(pod),
        annotations_of(pod).get("endpoints.kubernetes.io/hostname"),
        is_deleting(pod),
        pod["spec"].get("nodeName"),
        pod["spec"].get("hostname"),
        pod["spec"].get("subdomain"),
        status.get("podIP"),
        status.get("podIPs"),
        status.get("phase") in ("Succeeded", "Failed"),
        ready,
    )
