"""What killed clusters left behind: processes and interfaces (mounts and network namespaces end with those)."""

from __future__ import annotations

from slipway.cluster.nodes import leftovers


def find(cluster: str | None = None) -> list[str]:
    """Leftovers of one cluster, or of every cluster that does not run any more, one line each."""
    return [str(item) for item in leftovers.find(cluster)]


def remove(cluster: str | None = None) -> list[str]:
    """Remove them; what was removed, one line each."""
    return [str(item) for item in leftovers.remove(cluster)]
