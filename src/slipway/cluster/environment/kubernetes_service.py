"""The `kubernetes` Service in `default`: how pods find the API server."""

from __future__ import annotations

import ipaddress
from typing import Any

from slipway.cluster.access.bootstrap import ensure
from slipway.cluster.environment.listening import ListeningHost
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.registry.pod_operations import change_stored
from slipway.cluster.registry.registry import Registry

_LABELS = {"component": "apiserver", "provider": "kubernetes"}


def service_address(service_range: str) -> str:
    """The address of the `kubernetes` Service: the first of the range."""
    return str(ipaddress.ip_network(service_range)[1])


async def ensure_kubernetes_service(
    registry: Registry, options: ClusterOptions, host: ListeningHost, port: int
) -> None:
    """Create the Service where it is missing, and point its endpoints at where we listen now."""
    scheme = "https" if options.tls else "http"
    service_port = 443 if options.tls else 80
    port_row: dict[str, Any] = {"name": scheme, "port": service_port, "protocol": "TCP", "targetPort": port}
    metadata = {"name": "kubernetes", "namespace": "default", "labels": dict(_LABELS)}
    await ensure(
        registry,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {"clusterIP": service_address(options.service_range), "ports": [port_row]},
        },
    )

    def retarget(service: dict[str, Any]) -> None:
        service["spec"]["ports"] = [port_row]

    change_stored(registry, "services", "", "default", "kubernetes", retarget)
    endpoint_port = {"name": scheme, "port": port, "protocol": "TCP"}
    await ensure(
        registry,
        {
            "apiVersion": "v1",
            "kind": "Endpoints",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"endpointslice.kubernetes.io/skip-mirror": "true"},
            },
            "subsets": [{"addresses": [{"ip": host.advertised}], "ports": [endpoint_port]}],
        },
    )
    await ensure(
        registry,
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "kubernetes",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "kubernetes"},
            },
            "addressType": host.address_type,
            "endpoints": [{"addresses": [host.advertised], "conditions": {"ready": True}}],
            "ports": [endpoint_port],
        },
    )

    def relisten(endpoints: dict[str, Any]) -> None:
        endpoints["subsets"] = [{"addresses": [{"ip": host.advertised}], "ports": [endpoint_port]}]

    def reslice(piece: dict[str, Any]) -> None:
        piece["addressType"] = host.address_type
        piece["endpoints"] = [{"addresses": [host.advertised], "conditions": {"ready": True}}]
        piece["ports"] = [endpoint_port]

    change_stored(registry, "endpoints", "", "default", "kubernetes", relisten)
    change_stored(registry, "endpointslices", "discovery.k8s.io", "default", "kubernetes", reslice)
