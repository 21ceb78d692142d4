"""Nodes that a state file has from an earlier start, and that this cluster does not run: they go, and their pods too.

What was bound to such a node would wait for it for ever. Controllers make their pods anew on the nodes that there are.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection
from typing import Any

from slipway.cluster.client.client import Client, PatchType
from slipway.cluster.client.resources import NODES, PODS
from slipway.cluster.status import StatusError

logger = logging.getLogger(__name__)

Object = dict[str, Any]
_RUNTIMES = ("slipway://", "simulated://")
_GONE = {
    "type": "DisruptionTarget",
    "status": "True",
    "reason": "DeletionByPodGC",
    "message": "PodGC: node no longer exists",
}


async def remove_former(client: Client, present: Collection[str]) -> None:
    """Nodes that somebody else has registered stay."""
    for node in (await client.list(NODES))["items"]:
        name = str(node["metadata"]["name"])
        if name in present or not _is_ours(node):
            continue
        pods = (await client.list(PODS, field_selector=f"spec.nodeName={name}"))["items"]
        for pod in pods:
            await _end(client, pod)
        with contextlib.suppress(StatusError):
            await client.delete(NODES, name)
        logger.warning(
            "node %s is no more: this cluster has %d nodes; %d pods removed", name, len(present), len(pods)
        )


def _is_ours(node: Object) -> bool:
    info = (node.get("status") or {}).get("nodeInfo") or {}
    return str(info.get("containerRuntimeVersion", "")).startswith(_RUNTIMES)


async def _end(client: Client, pod: Object) -> None:
    """As the controller that collects orphaned pods does it."""
    meta, status = pod["metadata"], pod.get("status") or {}
    with contextlib.suppress(StatusError):  # somebody else has deleted it
        if status.get("phase") not in ("Succeeded", "Failed"):
            body = {"status": {"phase": "Failed", "conditions": [_GONE]}}
            await client.patch(
                PODS, meta["name"], meta["namespace"], body, PatchType.STRATEGIC, subresource="status"
            )
        await client.delete(PODS, meta["name"], meta["namespace"], grace_period=0, uid=meta["uid"])
