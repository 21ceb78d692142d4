"""What killed clusters left behind: processes, mounts, interfaces, network namespaces."""

from __future__ import annotations


def find(cluster: str | None = None) -> list[str]:
    """Leftovers of one cluster, or of every cluster that does not run any more, one line each."""
    return []


def remove(cluster: str | None = None) -> list[str]:
    """Remove them; what was removed, one line each."""
    return []
