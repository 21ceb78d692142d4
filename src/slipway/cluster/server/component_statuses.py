"""GET componentstatuses: the old list of the control plane's parts, which all live in this process here."""

from __future__ import annotations

from slipway.cluster.exchange import Request, Response
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.reading import Listing
from slipway.cluster.registry.registry import Registry
from slipway.cluster.server.presentation import Presentation
from slipway.cluster.status import not_found
from slipway.cluster.store import Record

_PARTS = ("scheduler", "controller-manager", "etcd-0")


class ComponentStatuses:
    """Whoever can ask is answered by the process that runs the parts, so what answers at all is healthy."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def __call__(self, call: Call, request: Request) -> Response:
        definition = self._registry.definitions.of(call.resource)
        shown = Presentation(request, definition, call.verb, self._registry.clock)
        if not call.name:
            return shown.listing(Listing([_part(name) for name in _PARTS], 0))
        if call.name not in _PARTS:
            raise not_found("componentstatus", "", call.name)
        return shown.object(_part(call.name))


def _part(name: str) -> Record:
    healthy = {"type": "Healthy", "status": "True", "message": "ok"}
    return Record(name, {"metadata": {"name": name}, "conditions": [healthy]}, 0, 0)
