"""Paths of the API server that are not resources: health, version, discovery, OpenAPI, OIDC keys."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from slipway.cluster.exchange import Identity, Request, Response

Document = Callable[[Request, Identity], Awaitable[Response | None]]
_TEXT = {"content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff"}


@dataclass(slots=True)
class Documents:
    """Answers by the longest registered prefix of the path; None when nobody knows it.

    `ready` says whether the cluster has been set up; /readyz fails until then.
    """

    ready: Callable[[], bool]
    by_prefix: dict[str, Document] = field(default_factory=dict)

    async def __call__(self, request: Request, identity: Identity) -> Response | None:
        asked = unquote(request.path)
        path = asked.rstrip("/") or "/"
        name = path.split("/")[1]
        if name in {"healthz", "livez", "readyz"} and asked == path:
            return self._health(request, name, path)
        for prefix in sorted(self.by_prefix, key=len, reverse=True):
            if path == prefix or path.startswith(prefix.rstrip("/") + "/"):
                answer = await self.by_prefix[prefix](request, identity)
                if answer is not None:
                    return answer
        return None

    def _health(self, request: Request, name: str, path: str) -> Response | None:
        checks = {"ping": True, "log": True, "etcd": True}
        if name == "readyz":
            checks["poststarthook/bootstrap"] = self.ready()
        _, _, single = path.removeprefix(f"/{name}").partition("/")
        if single:
            if single not in checks:
                return None
            checks = {single: checks[single]}
        healthy = all(checks.values())
        if not healthy or "verbose" in request.query:
            lines = [
                f"[{'+' if ok else '-'}]{check} {'ok' if ok else 'failed'}" for check, ok in checks.items()
            ]
            verdict = "passed" if healthy else "failed"
            text = "\n".join([*lines, f"{name} check {verdict}", ""])
        else:
            text = "ok"
        return Response(200 if healthy else 500, dict(_TEXT), text.encode())
