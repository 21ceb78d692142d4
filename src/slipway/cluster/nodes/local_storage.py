"""How much of the node's disk a pod uses, and whether that is more than it may: kubelet then evicts it.

Volumes in memory are not looked at: their own limit holds them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.cluster.client.quantities import whole

Object = dict[str, Any]
_RESOURCE = "ephemeral-storage"


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes: of each emptyDir by its name, of each container what it wrote to its own root and to its log."""

    volumes: Mapping[str, int]
    containers: Mapping[str, int]


def is_limited(pod: Object) -> bool:
    """Whether there is anything to be looked at."""
    return bool(_volume_limits(pod) or _container_limits(pod))


def excess(pod: Object, usage: Usage) -> str:
    """Why the pod is to be evicted, in kubelet's words and order; empty while it uses no more than it may."""
    for name, limit in _volume_limits(pod).items():
        if usage.volumes.get(name, 0) > whole(limit):
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". '
    limits = _container_limits(pod)
    if not limits:
        return ""
    total = sum(whole(limit) for limit in limits.values())
    if sum(usage.volumes.values()) + sum(usage.containers.values()) > total:
        shown = next(iter(limits.values())) if len(limits) == 1 else _quantity(total)
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {shown}. "
    for name, limit in limits.items():
        if usage.containers.get(name, 0) > whole(limit):
            return f'Container {name} exceeded its local ephemeral storage limit "{limit}". '
    return ""


async def measure(
    pod: Object,
    roots: Mapping[str, Path],
    logs: Path,
    running: Mapping[str, str],
    written: Callable[[str], Awaitable[int]],
) -> Usage:
    """What the pod uses now: `roots` are the folders of its volumes, `running` the ids of its containers by name,
    `written` tells what a container has written to its own root."""
    volumes = {
        name: await asyncio.to_thread(size_of, roots[name]) for name in disk_volumes(pod) if name in roots
    }
    containers = {
        name: await asyncio.to_thread(size_of, logs / name) + await written(id)
        for name, id in running.items()
    }
    return Usage(volumes, containers)


def size_of(folder: Path) -> int:
    """Bytes on disk of everything below it; what disappears meanwhile does not count."""
    total = 0
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except OSError:
                continue
    return total


def disk_volumes(pod: Object) -> list[str]:
    """The names of the emptyDirs that lie on disk."""
    rows = pod["spec"].get("volumes") or ()
    return [row["name"] for row in rows if "emptyDir" in row]


def _volume_limits(pod: Object) -> dict[str, str]:
    limits = {}
    for row in pod["spec"].get("volumes") or ():
        limit = (row.get("emptyDir") or {}).get("sizeLimit")
        if limit is not None and whole(limit) > 0:
            limits[str(row["name"])] = str(limit)
    return limits


def _container_limits(pod: Object) -> dict[str, str]:
    limits = {}
    for row in pod["spec"]["containers"]:
        limit = ((row.get("resources") or {}).get("limits") or {}).get(_RESOURCE)
        if limit is not None:
            limits[str(row["name"])] = str(limit)
    return limits


def _quantity(size: int) -> str:
    """As a Quantity with binary suffixes is written."""
    for number, suffix in ((3, "Gi"), (2, "Mi"), (1, "Ki")):
        if size % 1024**number == 0:
            return f"{size // 1024**number}{suffix}"
    return str(size)
