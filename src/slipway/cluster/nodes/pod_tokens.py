"""Tokens of a pod's service account, bound to the pod: asked of the API as kubelet does (TokenRequest)."""

from __future__ import annotations

from typing import Any

from slipway.cluster.client.client import Client
from slipway.cluster.client.resources import SERVICE_ACCOUNTS

Object = dict[str, Any]


async def pod_token(client: Client, pod: Object, audience: str, seconds: int) -> str:
    """A token that ends with the pod, or after so many seconds. Without an audience it is for the API server.

    StatusError where the API server does not give one.
    """
    meta = pod["metadata"]
    bound = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
    spec: Object = {"expirationSeconds": seconds, "boundObjectRef": bound}
    if audience:
        spec["audiences"] = [audience]
    answer = await client.create(
        SERVICE_ACCOUNTS,
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec},
        namespace=meta["namespace"],
        name=pod["spec"].get("serviceAccountName") or "default",
        subresource="token",
    )
    return str(answer["status"]["token"])
