"""Endpoints that somebody wrote by hand for a Service without selector, mirrored into EndpointSlices."""

from __future__ import annotations

import ipaddress
from typing import Any

from slipway.cluster.client.objects import (
    Key,
    Object,
    annotations_of,
    is_deleting,
    labels_of,
    name_of,
    namespace_of,
    owner_reference,
)
from slipway.cluster.client.resources import ENDPOINT_SLICES, ENDPOINTS, SERVICES
from slipway.cluster.controllers.controller import Controller
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.endpoints import MANAGED_BY as ENDPOINTS_MANAGED_BY
from slipway.cluster.controllers.endpointslices import MANAGED_BY, SERVICE_NAME
from slipway.cluster.controllers.writes import Create, Delete, Plan, Update

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
_LEADER = "control-plane.alpha.kubernetes.io/leader"
_MOST = 1000  # addresses mirrored of one subset


def wanted_slices(endpoints: Object) -> list[Object]:
    """A slice for each subset and address family; addresses that are not ready are in it, and say so."""
    made = []
    for subset in endpoints.get("subsets") or ():
        by_family: dict[str, list[dict[str, Any]]] = {}
        for field, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in (subset.get(field) or ())[:_MOST]:
                family = f"IPv{ipaddress.ip_address(address['ip']).version}"
                endpoint: dict[str, Any] = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
                for source in ("hostname", "nodeName", "targetRef"):
                    if address.get(source):
                        endpoint[source] = address[source]
                by_family.setdefault(family, []).append(endpoint)
        ports = [
            {"name": port.get("name", ""), "port": port["port"], "protocol": port.get("protocol", "TCP")}
            | ({"appProtocol": port["appProtocol"]} if port.get("appProtocol") else {})
            for port in subset.get("ports") or ()
        ]
        labels: dict[str, str] = {
            **labels_of(endpoints),
            MANAGED_BY: MANAGER,
            SERVICE_NAME: name_of(endpoints),
        }
        made += [
            {
                "metadata": {
                    "generateName": f"{name_of(endpoints)}-",
                    "namespace": namespace_of(endpoints),
                    "labels": labels,
                    "ownerReferences": [owner_reference(ENDPOINTS.typed(endpoints))],
                },
                "addressType": family,
                "endpoints": members,
                "ports": ports,
            }
            for family, members in by_family.items()
        ]
    return made


def step(endpoints: Object | None, slices: list[Object]) -> Plan:
    """Slices of the same family are changed, missing ones made, the rest deleted."""
    plan, left = Plan(), list(slices)
    for wanted in wanted_slices(endpoints) if endpoints else []:
        known = next((item for item in left if item["addressType"] == wanted["addressType"]), None)
        if known is None:
            plan.writes.append(Create(ENDPOINT_SLICES, wanted))
            continue
        left.remove(known)
        changed = {**known, "endpoints": wanted["endpoints"], "ports": wanted["ports"]}
        changed["metadata"] = {**known["metadata"], "labels": wanted["metadata"]["labels"]}
        if changed != {**known, "ports": known.get("ports") or []}:
            plan.writes.append(Update(ENDPOINT_SLICES, changed))
    plan.writes += [Delete(ENDPOINT_SLICES, item) for item in left]
    return plan


class EndpointSliceMirroringController(Controller):
    def watch(self) -> None:
        self.endpoints = self.own_changes(ENDPOINTS)
        self.services = self.own_changes(SERVICES)
        self.slices = self.informer(ENDPOINT_SLICES)
        self.slices.add_index(
            "service", lambda item: (f"{namespace_of(item)}/{labels_of(item).get(SERVICE_NAME, '')}",)
        )

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        mirrored = [
            item
            for item in self.slices.indexed("service", f"{key[0]}/{key[1]}")
            if labels_of(item).get(MANAGED_BY) == MANAGER and not is_deleting(item)
        ]
        endpoints = self.endpoints.get(*key)
        await effects.carry_out(step(endpoints if self._mirrors(key, endpoints) else None, mirrored))
        return None

    def _mirrors(self, key: Key, endpoints: Object | None) -> bool:
        service = self.services.get(*key)
        if endpoints is None or service is None or is_deleting(endpoints):
            return False
        return not (
            service["spec"].get("selector")
            or labels_of(endpoints).get(SKIP) == "true"
            or ENDPOINTS_MANAGED_BY in labels_of(endpoints)
            or _LEADER in annotations_of(endpoints)
        )
