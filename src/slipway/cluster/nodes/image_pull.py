"""A container's image before it starts: had or not, and what a kubelet says about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from slipway.cluster.nodes.images import Image, ImageError
from slipway.cluster.nodes.pod_state import ContainerState, Object, Phase

if TYPE_CHECKING:
    from slipway.cluster.nodes.pod_worker import PodWorker

_PULL_SHOWN = 2.0  # seconds that ErrImagePull stands before it becomes ImagePullBackOff


async def image_of(worker: PodWorker, container: ContainerState, spec: Object) -> Image:
    """The image by the container's pull policy; ImageError when it cannot be had."""
    name = spec.get("image") or ""
    policy = spec.get("imagePullPolicy") or "IfNotPresent"
    images, clock = worker.around.images, worker.around.clock
    present = images.present(name) and policy != "Always"
    if not present and policy != "Never":
        worker.event("Normal", "Pulling", f'Pulling image "{name}"', container)
    began = clock.now()
    image = await images.resolve(name, policy)
    if present or policy == "Never":
        message = f'Container image "{name}" already present on machine and can be accessed by the pod'
    else:
        took = f"{(clock.now() - began) * 1000:.0f}ms"
        message = (
            f'Successfully pulled image "{name}" in {took} ({took} including waiting). Image size: 0 bytes.'
        )
    worker.event("Normal", "Pulled", message, container)
    return image


def no_image(worker: PodWorker, container: ContainerState, spec: Object, error: ImageError) -> None:
    """Say so, and try again later."""
    name = spec.get("image") or ""
    if error.reason == "ErrImagePull":
        message = f'Failed to pull image "{name}": {error.message}'
        worker.event("Warning", "Failed", message, container)
    elif error.reason == "InvalidImageName":
        worker.event("Warning", "InspectFailed", error.message, container)
    else:
        worker.event("Warning", error.reason, error.message, container)
    worker.event("Warning", "Failed", f"Error: {error.reason}", container)
    worker.wait_for(container, error.reason, error.message)
    if error.reason == "ErrImagePull":
        worker.begin(_back_off, worker, container, name, error)


async def _back_off(worker: PodWorker, container: ContainerState, name: str, error: ImageError) -> None:
    await worker.around.clock.sleep(_PULL_SHOWN)
    if container.phase is Phase.WAITING and container.waiting[0] == "ErrImagePull":
        message = f'Back-off pulling image "{name}"'
        container.waiting = ("ImagePullBackOff", f"{message}: ErrImagePull: {error.message}")
        worker.event("Normal", "BackOff", message, container)
        worker.event("Warning", "Failed", "Error: ImagePullBackOff", container)
