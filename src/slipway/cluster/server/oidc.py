"""The documents by which others check service-account tokens: OpenID Connect discovery and the key set."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

import orjson

from slipway.cluster.access.service_accounts import TokenSigner
from slipway.cluster.exchange import Identity, Request, Response
from slipway.cluster.status import resource_not_found

CONFIGURATION = "/.well-known/openid-configuration"
KEYS = "/openid/v1/jwks"


class TokenDocuments:
    """`address` is the host and port under which the keys are found from outside the cluster. Who asks the issuer by
    its name, as pods do, finds them there."""

    def __init__(self, signer: TokenSigner, address: Callable[[], str]) -> None:
        self._signer = signer
        self._address = address

    async def __call__(self, request: Request, identity: Identity) -> Response | None:
        path = request.path.rstrip("/")
        if path == CONFIGURATION:
            issuer = self._signer.issuer
            inside = request.headers.get("host", "") == urlsplit(issuer).netloc
            url = issuer if inside else f"https://{self._address()}"
            document, media_type = self._signer.discovery(url), "application/json"
        elif path == KEYS:
            document, media_type = self._signer.key_set(), "application/jwk-set+json"
        else:
            raise resource_not_found()
        headers = {"content-type": media_type, "cache-control": "public, max-age=3600"}
        return Response(200, headers, orjson.dumps(document))
