"""The `proxy` sub-resources of pods, services and nodes: HTTP to what listens behind them, through the API server.

A request enters at `subresource`, which finds out in `backends` where it goes, sends it by `conversation` (inside
`tls` for `https:`) and passes the answer on; `links` turns redirects and pages to the address under which the client
knows the backend. `kubelet_documents` are what a node answers itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from slipway.cluster.exchange import Request, Response
from slipway.cluster.kubelet import Kubelet
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.registry import Registry

if TYPE_CHECKING:
    from slipway.cluster.server.proxying.subresource import Proxy


def handlers(
    registry: Registry, kubelets: Mapping[str, Kubelet]
) -> dict[tuple[str, str], Callable[[Call, Request], Awaitable[Response]]]:
    """By (qualified plural, sub-resource), for the API."""
    made: list[Proxy] = []

    async def proxied(call: Call, request: Request) -> Response:
        if not made:
            # Imported here: few clusters proxy anything, and all start faster without it.
            from slipway.cluster.server.proxying.subresource import Proxy

            made.append(Proxy(registry, kubelets))
        return await made[0](call, request)

    return {(plural, "proxy"): proxied for plural in ("pods", "services", "nodes")}
