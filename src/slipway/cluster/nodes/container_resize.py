"""A running container whose resources were changed: it gets them in place, or is restarted where it asks for that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from slipway.cluster.nodes.pod_state import ContainerState, Object
from slipway.cluster.nodes.runtime import RuntimeFailure

if TYPE_CHECKING:
    from slipway.cluster.nodes.pod_worker import PodWorker


def needs_restart(spec: Object, before: Object) -> bool:
    """Whether one of the resources that differ from those before may only be changed by a restart."""
    now = spec.get("resources") or {}
    changed = {
        name
        for kind in ("limits", "requests")
        for name in {*(now.get(kind) or {}), *(before.get(kind) or {})}
        if (now.get(kind) or {}).get(name) != (before.get(kind) or {}).get(name)
    }
    policies = {row["resourceName"]: row["restartPolicy"] for row in spec.get("resizePolicy") or ()}
    return any(policies.get(name) == "RestartContainer" for name in changed)


def resize(worker: PodWorker, container: ContainerState, spec: Object, before: Object) -> None:
    """Bring a container from the resources that it was given to those that it is to have."""
    if needs_restart(spec, before):
        container.unhealthy = f"Container {container.name} resize requires restart"
    else:
        worker.begin(_resize_in_place, worker, container, spec.get("resources") or {})


async def _resize_in_place(worker: PodWorker, container: ContainerState, resources: dict[str, Any]) -> None:
    try:
        await worker.around.runtime.resize(container.id, resources)
    except RuntimeFailure as error:
        worker.event("Warning", error.reason, error.message, container)
