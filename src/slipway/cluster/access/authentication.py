"""Who is calling: bearer tokens, client certificates, or nobody (system:anonymous)."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Protocol

from cryptography import x509
from cryptography.x509.oid import NameOID

from slipway.cluster.exchange import Identity, Request
from slipway.cluster.registry.call import ANONYMOUS
from slipway.cluster.status import unauthorized

AUTHENTICATED = "system:authenticated"
MASTERS = "system:masters"
_CERTIFICATES = 1000  # whose subjects are kept at hand


class TokenReviewer(Protocol):
    """Understands one kind of bearer token; None when it is not of that kind or not valid."""

    def __call__(self, token: str) -> Identity | None: ...


def with_authenticated(identity: Identity) -> Identity:
    if AUTHENTICATED in identity.groups or identity.name == ANONYMOUS.name:
        return identity
    return Identity(identity.name, (*identity.groups, AUTHENTICATED), identity.uid, identity.extra)


@dataclass(slots=True)
class StaticTokens:
    """Tokens given at start: the administrator's and those of tests."""

    identities: dict[str, Identity] = field(default_factory=dict)

    def __call__(self, token: str) -> Identity | None:
        return self.identities.get(token)


@dataclass(slots=True)
class Authenticator:
    """Asks each reviewer in turn. `anonymous` False refuses callers without credentials (401)."""

    reviewers: list[TokenReviewer]
    anonymous: bool = True
    _certificates: dict[bytes, Identity] = field(default_factory=dict)

    def identify(self, request: Request) -> Identity:
        """The caller; StatusError 401 for a wrong token."""
        if request.peer.identity is not None:
            return with_authenticated(request.peer.identity)
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and token.strip():
            return self._by_token(token.strip())
        if "websocket" in request.headers.get("upgrade", "").lower():
            token = _token_of_protocols(request.headers.get("sec-websocket-protocol", ""))
            if token:
                return self._by_token(token)
        if request.peer.certificate is not None:
            return with_authenticated(self._by_certificate(request.peer.certificate))
        if not self.anonymous:
            raise unauthorized()
        return ANONYMOUS

    def _by_token(self, token: str) -> Identity:
        for review in self.reviewers:
            identity = review(token)
            if identity is not None:
                return with_authenticated(identity)
        raise unauthorized()

    def _by_certificate(self, der: bytes) -> Identity:
        found = self._certificates.get(der)
        if found is None:
            subject = x509.load_der_x509_certificate(der).subject
            names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
            groups = subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
            if not names:
                raise unauthorized()
            found = Identity(str(names[0].value), tuple(str(group.value) for group in groups))
            if len(self._certificates) >= _CERTIFICATES:
                self._certificates.clear()
            self._certificates[der] = found
        return found


def _token_of_protocols(protocols: str) -> str:
    # Browsers cannot set headers on WebSockets: base64url.bearer.authorization.k8s.io.<token>
    prefix = "base64url.bearer.authorization.k8s.io."
    for protocol in protocols.split(","):
        name = protocol.strip()
        if name.startswith(prefix):
            encoded = name.removeprefix(prefix)
            try:
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
            except (binascii.Error, UnicodeDecodeError):
                return ""
    return ""
