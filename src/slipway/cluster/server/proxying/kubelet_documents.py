"""What a node's kubelet answers to GET: health, its pods, their use of CPU and memory, their logs.

A real kubelet has an HTTPS server for this; here the API server says what that server would, for the few paths that
people ask for.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import orjson

from slipway.cluster.clock import format_timestamp
from slipway.cluster.exchange import Response
from slipway.cluster.kubelet import Kubelet, StreamError
from slipway.cluster.registry.registry import Registry
from slipway.cluster.server.pod_streams import log_options

Object = dict[str, Any]
_LOGS = re.compile(r"/containerLogs/([^/]+)/([^/]+)/([^/]+)")
_TEXT = {"content-type": "text/plain; charset=utf-8"}
_JSON = {"content-type": "application/json"}


async def kubelet_document(
    registry: Registry, kubelet: Kubelet, node: str, method: str, path: str, query: str
) -> Response:
    """The answer to a path of the kubelet's own server. StatusError for options that cannot be."""
    if method not in {"GET", "HEAD"}:
        return Response(405, dict(_TEXT), b"405: Method Not Allowed")
    if path in {"/healthz", "/healthz/ping", "/healthz/syncloop"}:
        return Response(200, dict(_TEXT), b"ok")
    if path in {"/pods", "/pods/", "/runningpods/"}:
        return Response(
            200, dict(_JSON), orjson.dumps(_pods(registry, node, running=path == "/runningpods/"))
        )
    if path == "/stats/summary":
        return Response(200, dict(_JSON), orjson.dumps(_summary(await kubelet.stats(), registry.clock.now())))
    found = _LOGS.fullmatch(path)
    if found is not None:
        _, options = log_options(query, found[2], registry.clock.now())
        chunks = kubelet.logs(found[1], found[2], found[3], options)
        try:
            first = await anext(chunks, b"")
        except StreamError as error:
            return Response(error.status, dict(_TEXT), error.message.encode())
        return Response(200, {"content-type": "text/plain"}, _from(first, chunks))
    return Response(404, dict(_TEXT), b"404 page not found\n")


async def _from(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk


def _pods(registry: Registry, node: str, *, running: bool) -> Object:
    pods = [pod for pod in registry.objects("", "v1", "pods") if pod["spec"].get("nodeName") == node]
    if running:
        pods = [pod for pod in pods if (pod.get("status") or {}).get("phase") == "Running"]
    return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}


def _summary(stats: Object, now: float) -> Object:
    """The stats/v1alpha1 Summary: CPU in billionths of a core, memory in bytes."""
    time = format_timestamp(now)
    node = stats["node"]
    return {
        "node": {"nodeName": node["name"], **_usage(node, time)},
        "pods": [
            {
                "podRef": {"name": pod["name"], "namespace": pod["namespace"]},
                "containers": [{"name": row["name"], **_usage(row, time)} for row in pod["containers"]],
                **_usage(
                    {key: sum(row[key] for row in pod["containers"]) for key in ("cpu", "memory")}, time
                ),
            }
            for pod in stats["pods"]
        ],
    }


def _usage(row: Object, time: str) -> Object:
    return {
        "cpu": {"time": time, "usageNanoCores": round(row["cpu"] * 1e9)},
        "memory": {"time": time, "usageBytes": int(row["memory"]), "workingSetBytes": int(row["memory"])},
    }
