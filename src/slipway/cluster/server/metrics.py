"""GET /metrics: what the API server knows of itself, in Prometheus' text form and under the original's names."""

from __future__ import annotations

from slipway.cluster.clock import Clock
from slipway.cluster.exchange import Identity, Request, Response
from slipway.cluster.registry.definition import Definitions
from slipway.cluster.store import Store

_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Objects in the store by resource, the version that is served, and when this server started."""

    def __init__(self, store: Store, definitions: Definitions, minor: str, clock: Clock) -> None:
        self._store = store
        self._definitions = definitions
        self._minor = minor
        self._started = clock.now()

    async def __call__(self, request: Request, identity: Identity) -> Response | None:
        if request.path != "/metrics":
            return None
        major, _, minor = self._minor.partition(".")
        lines = [
            *_head("apiserver_resource_objects", "gauge", "Number of stored objects split by kind."),
            *sorted(self._objects()),
            *_head("kubernetes_build_info", "gauge", "The version that is served; always 1."),
            f'kubernetes_build_info{{git_version="v{self._minor}.0",major="{major}",minor="{minor}"}} 1',
            *_head("process_start_time_seconds", "gauge", "When this server started, in Unix time."),
            f"process_start_time_seconds {self._started:.3f}",
        ]
        return Response(200, {"content-type": _MEDIA_TYPE}, "\n".join([*lines, ""]).encode())

    def _objects(self) -> set[str]:
        """Each stored resource once, whatever the number of its versions."""
        return {
            f'apiserver_resource_objects{{group="{resource.group}",resource="{resource.plural}"}}'
            f" {self._store.count(self._definitions.of(resource).bucket)}"
            for resource in self._definitions.catalogue.resources.values()
            if resource.stored
        }


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
