"""Service-account tokens: signed JWTs, bound to an account and perhaps a pod; issued, verified, published as keys.

Claims as Kubernetes writes them (KEP-1205 bound service account tokens); RFC 7519 with ES256.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from slipway.cluster.exchange import Identity
from slipway.cluster.registry.registry import Registry

ISSUER = "https://kubernetes.default.svc.cluster.local"
DEFAULT_SECONDS = 3600
MIN_SECONDS, MAX_SECONDS = 600, 2**32
Object = dict[str, Any]
# The claims of which the first one says to what a token is bound; the plural, and whether it is of a namespace.
_BOUND = (("pod", "pods", True), ("secret", "secrets", True), ("node", "nodes", False))


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class TokenSigner:
    """Signs and checks with one EC P-256 key, given as PEM so that it can outlive the process."""

    def __init__(self, key_pem: bytes, registry: Registry, issuer: str = ISSUER) -> None:
        key = serialization.load_pem_private_key(key_pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key
        self._registry = registry
        self.issuer = issuer
        public = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.key_id = _encode(hashlib.sha256(public).digest())

    @staticmethod
    def new_key() -> bytes:
        return ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def issue(
        self, account: Object, audiences: Sequence[str], seconds: int, bound: Object | None = None
    ) -> tuple[str, float]:
        """A token for a ServiceAccount object and when it ends (seconds since 1970). `bound` is a reference
        with kind, name and uid of the Pod, Secret or Node whose end ends the token; one for a Pod names its node
        too."""
        now = int(self._registry.clock.now())
        metadata = account["metadata"]
        kubernetes: Object = {
            "namespace": metadata["namespace"],
            "serviceaccount": {"name": metadata["name"], "uid": metadata["uid"]},
        }
        if bound:
            kubernetes[str(bound["kind"]).lower()] = {"name": bound["name"], "uid": bound["uid"]}
            if bound["kind"] == "Pod":
                kubernetes |= self._node_of(metadata["namespace"], bound["name"])
        claims = {
            "aud": list(audiences) or [self.issuer],
            "exp": now + seconds,
            "iat": now,
            "iss": self.issuer,
            "jti": self._registry.new_uid(),
            "kubernetes.io": kubernetes,
            "nbf": now,
            "sub": f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}",
        }
        return self._sign(claims), float(now + seconds)

    def _node_of(self, namespace: str, pod: str) -> Object:
        """The claim that names the pod's node, if it is on one; without a uid where that is not there."""
        found = self._registry.record("", "v1", "pods", namespace, pod)
        name = found.value["spec"].get("nodeName") if found else None
        if not name:
            return {}
        node = self._registry.record("", "v1", "nodes", "", name)
        return {"node": {"name": name, **({"uid": node.value["metadata"]["uid"]} if node else {})}}

    def issue_legacy(self, account: Object, secret_name: str) -> str:
        """The token of a `kubernetes.io/service-account-token` Secret: no expiry."""
        metadata = account["metadata"]
        prefix = "kubernetes.io/serviceaccount/"
        return self._sign(
            {
                "iss": "kubernetes/serviceaccount",
                f"{prefix}namespace": metadata["namespace"],
                f"{prefix}secret.name": secret_name,
                f"{prefix}service-account.name": metadata["name"],
                f"{prefix}service-account.uid": metadata["uid"],
                "sub": f"system:serviceaccount:{metadata['namespace']}:{metadata['name']}",
            }
        )

    def _sign(self, claims: Object) -> str:
        header = {"alg": "ES256", "kid": self.key_id}
        signed = ".".join(
            _encode(json.dumps(part, separators=(",", ":")).encode()) for part in (header, claims)
        )
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{signed}.{_encode(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def claims(self, token: str) -> Object | None:
        """The claims of a token that this cluster signed; None for anything else."""
        parts = token.split(".")
        if len(parts) != 3:
            return None
        try:
            signature = _decode(parts[2])
            encoded = encode_dss_signature(
                int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
            )
            self._key.public_key().verify(
                encoded, f"{parts[0]}.{parts[1]}".encode(), ec.ECDSA(hashes.SHA256())
            )
            claims = json.loads(_decode(parts[1]))
        except (InvalidSignature, binascii.Error, ValueError):
            return None
        return claims if isinstance(claims, dict) else None

    def review(self, token: str, audiences: Sequence[str] = ()) -> Identity | None:
        """Whose token it is, if it is valid now and its account and what it is bound to still exist."""
        claims = self.claims(token)
        if claims is None:
            return None
        now = self._registry.clock.now()
        if "exp" in claims and not claims["nbf"] <= now + 1 <= claims["exp"] + 1:
            return None
        if "aud" in claims and not set(audiences or [self.issuer]) & set(claims["aud"]):
            return None
        _, _, namespace, name = str(claims["sub"]).split(":")
        account = self._registry.record("", "v1", "serviceaccounts", namespace, name)
        if account is None or not self._same(claims, account.value["metadata"]["uid"]):
            return None
        kubernetes = claims.get("kubernetes.io") or {}
        if not self._bound_to_what_is_there(kubernetes, namespace):
            return None
        extra: dict[str, tuple[str, ...]] = {}
        if "jti" in claims:
            extra["authentication.kubernetes.io/credential-id"] = (f"JTI={claims['jti']}",)
        for kind in ("pod", "node"):
            for part, value in (kubernetes.get(kind) or {}).items():
                extra[f"authentication.kubernetes.io/{kind}-{part}"] = (value,)
        return account_identity(namespace, name, account.value["metadata"]["uid"], extra)

    def _bound_to_what_is_there(self, kubernetes: Object, namespace: str) -> bool:
        """Whether the Pod, Secret or Node to which a token is bound still exists. A node beside a pod is only said."""
        bound = next((row for row in _BOUND if kubernetes.get(row[0])), None)
        if bound is None:
            return True
        kind, plural, namespaced = bound
        claim = kubernetes[kind]
        found = self._registry.record("", "v1", plural, namespace if namespaced else "", claim["name"])
        return found is not None and bool(found.value["metadata"]["uid"] == claim["uid"])

    @staticmethod
    def _same(claims: Object, uid: str) -> bool:
        said = (claims.get("kubernetes.io") or {}).get("serviceaccount", {}).get("uid") or claims.get(
            "kubernetes.io/serviceaccount/service-account.uid"
        )
        return bool(said == uid)

    def __call__(self, token: str) -> Identity | None:
        return self.review(token)

    def key_set(self) -> Object:
        """The public key as a JSON Web Key Set (/openid/v1/jwks)."""
        numbers = self._key.public_key().public_numbers()
        return {
            "keys": [
                {
                    "use": "sig",
                    "kty": "EC",
                    "kid": self.key_id,
                    "crv": "P-256",
                    "alg": "ES256",
                    "x": _encode(numbers.x.to_bytes(32, "big")),
                    "y": _encode(numbers.y.to_bytes(32, "big")),
                }
            ]
        }

    def discovery(self, url: str) -> Object:
        """/.well-known/openid-configuration."""
        return {
            "issuer": self.issuer,
            "jwks_uri": f"{url}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }


def account_identity(
    namespace: str, name: str, uid: str = "", extra: dict[str, tuple[str, ...]] | None = None
) -> Identity:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")
    return Identity(f"system:serviceaccount:{namespace}:{name}", groups, uid, extra or {})
