"""The ServiceCIDR `kubernetes`: says which range the cluster's Services have their addresses from."""

from __future__ import annotations

from typing import Any

from slipway.cluster.access.bootstrap import ensure
from slipway.cluster.registry.pod_operations import change_stored
from slipway.cluster.registry.registry import Registry

Object = dict[str, Any]
_NAME = "kubernetes"


async def ensure_service_range(registry: Registry, service_range: str) -> None:
    """Create it where it is missing, and say that it is ready."""
    wanted = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": _NAME},
        "spec": {"cidrs": [service_range]},
    }
    await ensure(registry, wanted)

    def ready(stored: Object) -> None:
        row = {
            "type": "Ready",
            "status": "True",
            "lastTransitionTime": registry.clock.timestamp(),
            "reason": "",
            "message": "Kubernetes default Service CIDR is ready",
        }
        stored["status"] = {"conditions": [row]}

    definition = registry.definitions.find("networking.k8s.io", "v1", "servicecidrs")
    record = registry.store.get(definition.bucket, definition.key("", _NAME))
    if record is not None and not (record.value.get("status") or {}).get("conditions"):
        change_stored(registry, "servicecidrs", "networking.k8s.io", "", _NAME, ready)
