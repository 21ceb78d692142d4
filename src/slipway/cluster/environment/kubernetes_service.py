"""The `kubernetes` Service in `default`: how pods find the API server."""

from __future__ import annotations

import copy
import ipaddress
from collections.abc import Mapping
from typing import Any

from slipway.cluster.access.bootstrap import ensure
from slipway.cluster.environment.listening import ListeningHost
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.registry.pod_operations import change_stored
from slipway.cluster.registry.registry import Registry

Object = dict[str, Any]
_LABELS = {"component": "apiserver", "provider": "kubernetes"}


def service_address(service_range: str) -> str:
    """The address of the `kubernetes` Service: the first of the range."""
    return str(ipaddress.ip_network(service_range)[1])


async def ensure_kubernetes_service(
    registry: Registry, options: ClusterOptions, host: ListeningHost, port: int
) -> None:
    """Create the Service where it is missing, and point its endpoints at where we listen now."""
    scheme, service_port = ("https", 443) if options.tls else ("http", 80)
    exposed = {"name": scheme, "port": service_port, "protocol": "TCP", "targetPort": port}
    target = {"name": scheme, "port": port, "protocol": "TCP"}
    service = {"clusterIP": service_address(options.service_range), "ports": [exposed]}
    await ensure(registry, _object("v1", "Service", _LABELS, spec=service))

    def retarget(stored: Object) -> None:
        stored["spec"]["ports"] = [exposed]

    change_stored(registry, "services", "", "default", "kubernetes", retarget)
    subsets: Object = {"subsets": [{"addresses": [{"ip": host.advertised}], "ports": [target]}]}
    pieces: Object = {
        "addressType": host.address_type,
        "endpoints": [{"addresses": [host.advertised], "conditions": {"ready": True}}],
        "ports": [target],
    }
    unmirrored = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    of_service = {"kubernetes.io/service-name": "kubernetes"}
    await ensure(registry, _object("v1", "Endpoints", unmirrored, **subsets))
    await ensure(registry, _object("discovery.k8s.io/v1", "EndpointSlice", of_service, **pieces))
    change_stored(registry, "endpoints", "", "default", "kubernetes", lambda stored: stored.update(subsets))
    change_stored(
        registry,
        "endpointslices",
        "discovery.k8s.io",
        "default",
        "kubernetes",
        lambda stored: stored.update(pieces),
    )


def _object(version: str, kind: str, labels: Mapping[str, str], **content: Any) -> Object:
    metadata = {"name": "kubernetes", "namespace": "default", "labels": dict(labels)}
    return copy.deepcopy({"apiVersion": version, "kind": kind, "metadata": metadata, **content})
