"""The paths under /openapi: the v3 index and its documents, and v2.

Headers as kube-apiserver sends them: an address with a document's hash may be kept for a year, an address with
an old hash leads to the new one.
"""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, unquote

from slipway.cluster.clock import Clock
from slipway.cluster.exchange import Identity, Request, Response
from slipway.cluster.schema.openapi import Document, OpenApi
from slipway.cluster.schema.openapi_v2_protobuf import ACCEPTED_AS, MEDIA_TYPE
from slipway.cluster.server.negotiation import MediaType, parse_accept

_INDEX_TYPE = "text/plain; charset=utf-8"  # not JSON: so the original has it
_JSON = "application/json"


class OpenApiDocuments:
    """Answers GET of /openapi/v2, /openapi/v3 and /openapi/v3/…; None for what it does not know."""

    def __init__(self, open_api: OpenApi, clock: Clock) -> None:
        self._open_api = open_api
        self._clock = clock

    async def __call__(self, request: Request, identity: Identity) -> Response | None:
        match unquote(request.path).split("/", 3):
            case ["", "openapi", "v3"]:
                return _answer(request, self._open_api.index(), _INDEX_TYPE)
            case ["", "openapi", "v3", name]:
                return self._document(request, name)
            case ["", "openapi", "v2"]:
                return self._v2(request)
        return None

    def _v2(self, request: Request) -> Response:
        """In the first form that the client names and we have; JSON when it names none."""
        for media in parse_accept(request.headers.get("accept", "")) or [MediaType("*/*")]:
            if media.name in (MEDIA_TYPE, ACCEPTED_AS):
                return _answer(request, self._open_api.v2(protobuf=True), MEDIA_TYPE)
            if media.name in (_JSON, "application/*", "*/*"):
                return _answer(request, self._open_api.v2(), _JSON)
        return Response(406, {"vary": "Accept"})

    def _document(self, request: Request, name: str) -> Response | None:
        document = self._open_api.document(name)
        if document is None:
            return Response(404)
        asked = parse_qs(request.query).get("hash", [""])[0]
        if asked and asked != document.hash:
            address = f"/openapi/v3/{name}?hash={document.hash}"
            return Response(301, {"location": address, "etag": f'"{document.hash}"', "vary": "Accept"})
        answer = _answer(request, document, _JSON)
        if asked:
            year = self._clock.datetime() + timedelta(days=365)
            answer.headers["cache-control"] = "public, immutable"
            answer.headers["expires"] = year.strftime("%a, %d %b %Y %H:%M:%S UTC")
        return answer


def _answer(request: Request, document: Document, media_type: str) -> Response:
    etag = f'"{document.hash}"'
    headers = {
        "content-type": media_type,
        "etag": etag,
        "vary": "Accept",
        "cache-control": "no-cache, private",
    }
    known = [tag.strip() for tag in request.headers.get("if-none-match", "").split(",")]
    if etag in known or "*" in known:
        return Response(304, headers)
    return Response(200, headers, document.content)
