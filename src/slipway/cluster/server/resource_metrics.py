"""metrics.k8s.io: what nodes and pods use now, for `kubectl top`. Nothing of it is stored.

A real cluster has metrics-server for this, which asks the kubelets every fifteen seconds; here they are asked when a
client asks, at most once in SAMPLE_SECONDS, so that CPU is an average over at least as long.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from slipway.cluster.clock import format_timestamp
from slipway.cluster.exchange import Request, Response
from slipway.cluster.kubelet import Kubelet
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.custom_kinds import make_custom
from slipway.cluster.registry.reading import Listing, selection_of
from slipway.cluster.registry.registry import Registry
from slipway.cluster.schema.crd import resources_of
from slipway.cluster.server.presentation import Presentation
from slipway.cluster.status import not_found
from slipway.cluster.store import Record

Object = dict[str, Any]
GROUP = "metrics.k8s.io"
SAMPLE_SECONDS = 5.0


class ResourceMetrics:
    """Serves NodeMetrics and PodMetrics of the nodes whose kubelets are in `kubelets`."""

    def __init__(self, registry: Registry, kubelets: Mapping[str, Kubelet]) -> None:
        self._registry, self._kubelets = registry, kubelets
        self._sampled_at = float("-inf")
        self._sample: dict[str, list[Object]] = {"nodes": [], "pods": []}
        self._sampling = asyncio.Lock()
        for crd in _kinds():
            for resource in resources_of(crd):
                shown = dataclasses.replace(resource, verbs=("get", "list"), stored=False)
                registry.definitions.put_custom(make_custom(shown, crd))

    async def __call__(self, call: Call, request: Request) -> Response:
        definition = self._registry.definitions.of(call.resource)
        shown = Presentation(request, definition, call.verb, self._registry.clock)
        selection = selection_of(definition, call)
        records = [
            Record(definition.key(meta.get("namespace", ""), meta["name"]), found, 0, 0)
            for found in (await self._measured())[call.resource.plural]
            if (meta := found["metadata"]) and call.namespace in {"", meta.get("namespace")}
        ]
        if not call.name:
            chosen = [one for one in records if selection.matches(one.value)]
            return shown.listing(Listing(sorted(chosen, key=lambda one: one.key), 0))
        for record in records:
            if record.value["metadata"]["name"] == call.name:
                return shown.object(record)
        raise not_found(call.resource.kind.lower(), GROUP, definition.key(call.namespace, call.name))

    async def _measured(self) -> dict[str, list[Object]]:
        """NodeMetrics and PodMetrics, by plural."""
        async with self._sampling:  # a second question at once would measure over no time at all
            now = self._registry.clock.now()
            if now - self._sampled_at >= SAMPLE_SECONDS:
                told = [await kubelet.stats() for kubelet in list(self._kubelets.values())]
                self._sample = {
                    "nodes": [self._node(stats, now) for stats in told],
                    "pods": [self._pod(pod, now) for stats in told for pod in stats["pods"]],
                }
                self._sampled_at = now
            return self._sample

    def _node(self, stats: Object, now: float) -> Object:
        node = stats["node"]
        window = max((row["seconds"] for pod in stats["pods"] for row in pod["containers"]), default=0.0)
        return {**self._about("nodes", "", node["name"], now, window), "usage": _usage(node)}

    def _pod(self, pod: Object, now: float) -> Object:
        containers = [{"name": row["name"], "usage": _usage(row)} for row in pod["containers"]]
        window = max(row["seconds"] for row in pod["containers"])
        return {**self._about("pods", pod["namespace"], pod["name"], now, window), "containers": containers}

    def _about(self, plural: str, namespace: str, name: str, now: float, window: float) -> Object:
        """What both kinds begin with; the labels are those of the node or pod itself."""
        metadata: Object = {"name": name, "creationTimestamp": format_timestamp(now)}
        if namespace:
            metadata["namespace"] = namespace
        record = self._registry.record("", "v1", plural, namespace, name)
        labels = record.value["metadata"].get("labels") if record is not None else None
        if labels:
            metadata["labels"] = labels
        kind = "PodMetrics" if namespace else "NodeMetrics"
        return {
            "kind": kind,
            "apiVersion": f"{GROUP}/v1beta1",
            "metadata": metadata,
            "timestamp": format_timestamp(now),
            "window": f"{window:.3f}s",
        }


def _usage(row: Object) -> Object:
    """CPU in billionths of a core and memory in KiB, as metrics-server writes them."""
    return {"cpu": f"{round(row['cpu'] * 1e9)}n", "memory": f"{row['memory'] // 1024}Ki"}


@cache
def _kinds() -> Iterable[Object]:
    """As CRDs would have them: what metrics-server serves (k8s.io/metrics, metrics/v1beta1)."""
    return tuple(orjson.loads((Path(__file__).parent / "resource_metrics.json").read_bytes()))
