"""Where a Service's ready pods listen, for calls that the API server itself makes (webhooks, aggregated APIs)."""

from __future__ import annotations

from slipway.cluster.registry.registry import Registry

SERVICE_LABEL = "kubernetes.io/service-name"


class NoAddress(Exception):
    """Nobody listens behind that Service and port now; the text says why."""


class ServiceAddresses:
    """Looks at EndpointSlices directly: the API server needs no proxy to reach pods."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def resolve(self, namespace: str, name: str, port: int) -> tuple[str, int]:
        """Address and port of one ready endpoint behind that port of the Service; NoAddress while there is none."""
        record = self._registry.record("", "v1", "services", namespace, name)
        if record is None:
            raise NoAddress(f'service "{name}" not found')
        spec = record.value.get("spec") or {}
        wanted = next((p for p in spec.get("ports") or [] if p.get("port") == port), None)
        if wanted is None:
            raise NoAddress(f'no service port {port} found for service "{name}"')
        if spec.get("type") == "ExternalName":
            return spec["externalName"], port
        for piece in self._registry.objects("discovery.k8s.io", "v1", "endpointslices", namespace):
            if (piece["metadata"].get("labels") or {}).get(SERVICE_LABEL) != name:
                continue
            target = next(
                (p for p in piece.get("ports") or [] if (p.get("name") or "") == (wanted.get("name") or "")),
                None,
            )
            if target is None:
                continue
            for endpoint in piece.get("endpoints") or []:
                if (endpoint.get("conditions") or {}).get("ready", True) and endpoint.get("addresses"):
                    return endpoint["addresses"][0], int(target["port"])
        raise NoAddress(f'no endpoints available for service "{name}"')
