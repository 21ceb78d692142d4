"""Which upgrade a request asks for, and the words with which the API server refuses one."""

from __future__ import annotations

from collections.abc import Sequence

from slipway.cluster.exchange import Request, Response
from slipway.cluster.server.streams.websocket import choose_protocol
from slipway.cluster.status import StatusError, bad_request


def refuse(text: str, status: int = 403, *, ending: str = "\n") -> Response:
    """A refusal in plain text, as Go's http.Error writes it."""
    return Response(status, {"Content-Type": "text/plain; charset=utf-8"}, f"{text}{ending}".encode())


def upgraded_by_websocket(request: Request, served: Sequence[str]) -> str:
    """The sub-protocol to speak; StatusError when there is none in common."""
    protocol = choose_protocol(request, served)
    if protocol is None:
        offered = request.headers.get("sec-websocket-protocol", "").replace(",", "")
        known = " ".join(name for name in served if name)
        raise StatusError(
            403,
            "Forbidden",
            f"requested protocol(s) are not supported: [{offered}]; supports [{known}]",
        )
    return protocol


def spdy_headers(request: Request, served: Sequence[str]) -> dict[str, str]:
    """The headers of the 101 to SPDY/3.1; StatusError when the request is no such upgrade."""
    if "upgrade" not in request.headers.get("connection", "").lower():
        raise bad_request("Upgrade request required")
    if request.headers.get("upgrade", "").lower() != "spdy/3.1":
        raise bad_request(
            "unable to upgrade: missing upgrade headers in request: Upgrade must be websocket or SPDY/3.1,"
            f" not {request.headers.get('upgrade', '')!r}"
        )
    offered = request.headers.get("x-stream-protocol-version")
    if offered is None:
        raise bad_request("unable to upgrade: X-Stream-Protocol-Version is required")
    names = [name.strip() for name in offered.split(",")]
    chosen = next((name for name in names if name in served), None)
    if chosen is None:
        raise StatusError(
            403,
            "Forbidden",
            f"unable to upgrade: unable to negotiate protocol: client supports [{' '.join(names)}],"
            f" server accepts [{' '.join(served)}]",
        )
    return {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": chosen}
