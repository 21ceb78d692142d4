"""Where the API server reaches a node's kubelet."""

from __future__ import annotations

from typing import Any

from slipway.cluster.status import StatusError

_PREFERRED = ("InternalIP", "Hostname")


def kubelet_address(node: dict[str, Any]) -> str:
    """StatusError as a real server's when the Node says no address."""
    rows = (node.get("status") or {}).get("addresses") or []
    addresses = {row.get("type"): str(row.get("address") or "") for row in rows}
    for kind in (*_PREFERRED, *addresses):
        if addresses.get(kind):
            return addresses[kind]
    raise StatusError(500, "", "no preferred addresses found; known addresses: []")
