"""GET /slipway/roles: who has called, and with `?user=NAME` the smallest roles that allow what that caller did.

Not a path of Kubernetes'. Like every path that no role names it is for system:masters alone.
"""

from __future__ import annotations

from urllib.parse import parse_qs

import orjson

from slipway.cluster.access.usage import Usage
from slipway.cluster.exchange import Identity, Request, Response

PATH = "/slipway/roles"


class UsageDocuments:
    def __init__(self, usage: Usage) -> None:
        self._usage = usage

    async def __call__(self, request: Request, identity: Identity) -> Response | None:
        if request.path.rstrip("/") != PATH:
            return None
        user = parse_qs(request.query).get("user", [""])[0]
        answer = {"roles": self._usage.roles(user)} if user else {"users": self._usage.callers()}
        return Response(200, {"content-type": "application/json"}, orjson.dumps(answer) + b"\n")
