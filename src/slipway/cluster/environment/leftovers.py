"""What killed clusters left behind: processes and interfaces (mounts and network namespaces end with those)."""

from __future__ import annotations

import time

from slipway.cluster.nodes import leftovers

_PATIENCE = 2.0  # seconds


def find(cluster: str | None = None) -> list[str]:
    """Leftovers of one cluster, or of every cluster that does not run any more, one line each."""
    return [str(item) for item in leftovers.find(cluster)]


def remove(cluster: str | None = None) -> list[str]:
    """Remove them; what was removed, one line each."""
    return [str(item) for item in leftovers.remove(cluster)]


def still_there() -> list[str]:
    """What was not removed: found again when what was killed has had a moment to end."""
    end = time.monotonic() + _PATIENCE
    while (found := find()) and time.monotonic() < end:
        time.sleep(0.05)
    return found
