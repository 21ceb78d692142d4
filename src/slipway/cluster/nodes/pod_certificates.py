"""Certificates of a pod: a key made on the node, and the chain that a signer issues for it.

For each projected `podCertificate` a PodCertificateRequest is made and awaited; a new one follows, with a new key,
when the signer says that it is time. A request that is denied or has failed is not made again.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from slipway.cluster.client.client import Client
from slipway.cluster.client.resources import NODES, POD_CERTIFICATE_REQUESTS, SERVICE_ACCOUNTS
from slipway.cluster.clock import Clock, parse_timestamp
from slipway.cluster.schema import pem
from slipway.cluster.status import StatusError

Object = dict[str, Any]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
_FIRST_LOOKS = (0.05, 0.1, 0.2, 0.4, 0.8)  # seconds between looks at a new request: signers are fast
_LOOKS_APART = 60.0  # seconds between looks at what may have to be renewed, as kubelet's

_MAKERS: dict[str, Callable[[], PrivateKey]] = {
    "RSA3072": lambda: rsa.generate_private_key(65537, 3072),
    "RSA4096": lambda: rsa.generate_private_key(65537, 4096),
    "ECDSAP256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ECDSAP384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ECDSAP521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "ED25519": ed25519.Ed25519PrivateKey.generate,
}


class NotIssued(Exception):
    """There is no certificate yet, or there will never be one; the text says which request and why."""


@dataclass(slots=True)
class _Credential:
    """`request` and `pending_key` are of what is asked for now, `key` and `chain` of what was issued last."""

    request: str = ""
    pending_key: bytes = b""
    key: bytes = b""
    chain: bytes = b""
    renew_at: float = 0.0
    refused: str = ""


class PodCertificates:
    """Those of one pod, by volume and the place of the source in it."""

    def __init__(self, client: Client, clock: Clock, node: str) -> None:
        self._client = client
        self._clock = clock
        self._node = node
        self._credentials: dict[tuple[str, int], _Credential] = {}

    def next_look(self) -> float | None:
        """In how many seconds the pod's files should be looked at again; None when it has no certificates."""
        return _LOOKS_APART if self._credentials else None

    async def files(self, pod: Object, volume: str, index: int, source: Object) -> dict[str, bytes]:
        """What the source's files hold, by their paths. NotIssued while there is nothing."""
        held = self._credentials.setdefault((volume, index), _Credential())
        if not held.refused and not held.request and (not held.key or self._clock.now() >= held.renew_at):
            await self._ask(held, pod, source)
        if held.request:
            await self._await(held, pod["metadata"]["namespace"])
        if not held.key:
            request = f"{pod['metadata']['namespace']}/{held.request}"
            raise NotIssued(held.refused or f"PodCertificateRequest {request} is not issued yet")
        parts = {
            "credentialBundlePath": held.key + held.chain,
            "keyPath": held.key,
            "certificateChainPath": held.chain,
        }
        return {source[name]: data for name, data in parts.items() if source.get(name)}

    async def _ask(self, held: _Credential, pod: Object, source: Object) -> None:
        meta, account = pod["metadata"], pod["spec"].get("serviceAccountName") or "default"
        owner = {"apiVersion": "v1", "kind": "Pod", "name": meta["name"], "uid": meta["uid"]}
        found = await self._client.get(SERVICE_ACCOUNTS, account, meta["namespace"])
        node = await self._client.get(NODES, self._node)
        key = await asyncio.to_thread(_MAKERS[source["keyType"]])
        spec = {
            "signerName": source["signerName"],
            "podName": meta["name"],
            "podUID": meta["uid"],
            "serviceAccountName": account,
            "serviceAccountUID": found["metadata"]["uid"],
            "nodeName": self._node,
            "nodeUID": node["metadata"]["uid"],
            "stubPKCS10Request": base64.b64encode(_stub_request(key)).decode(),
        }
        wishes = {
            "maxExpirationSeconds": source.get("maxExpirationSeconds"),
            "unverifiedUserAnnotations": source.get("userAnnotations"),
        }
        spec |= {name: given for name, given in wishes.items() if given is not None}
        place = {"namespace": meta["namespace"], "generateName": "req-", "ownerReferences": [owner]}
        made = await self._client.create(POD_CERTIFICATE_REQUESTS, {"metadata": place, "spec": spec})
        held.request, held.pending_key = made["metadata"]["name"], _key_text(key)

    async def _await(self, held: _Credential, namespace: str) -> None:
        """Look at the request a few times; what is issued later is found at the next look at the pod's files."""
        for pause in (*_FIRST_LOOKS, 0.0):
            try:
                request = await self._client.get(POD_CERTIFICATE_REQUESTS, held.request, namespace)
            except StatusError as error:
                if error.code != 404:
                    raise
                held.request = ""  # somebody has deleted it: it is made anew
                return
            self._take(held, request)
            if not held.request:
                return
            if pause:
                await self._clock.sleep(pause)

    def _take(self, held: _Credential, request: Object) -> None:
        status, name = request.get("status") or {}, held.request
        for condition in status.get("conditions") or ():
            match condition["type"]:
                case "Issued":
                    held.key = held.pending_key
                    held.chain = _clean(status.get("certificateChain") or "")
                    held.renew_at = parse_timestamp(status["beginRefreshAt"])
                    held.request = ""
                case "Denied" | "Failed" as kind:
                    said = f'reason="{condition.get("reason", "")}", message="{condition.get("message", "")}"'
                    held.refused = f"PodCertificateRequest {name} {_REFUSED[kind]}, {said}"
                    held.request = ""


_REFUSED = {"Denied": "was denied", "Failed": "failed"}


def _stub_request(key: PrivateKey) -> bytes:
    """An empty PKCS#10 request: nothing but the public key, and the proof that its owner has the private one."""
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.DER)


def _key_text(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _clean(chain: str) -> bytes:
    """The chain without what stands between its blocks."""
    return "".join(pem.encoded("CERTIFICATE", block.data) for block in pem.blocks(chain)).encode()
