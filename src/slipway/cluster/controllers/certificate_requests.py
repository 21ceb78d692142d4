"""CertificateSigningRequests: approved ones get their certificate, old ones go."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from slipway.cluster.client.objects import Key, Object, condition_of, metadata
from slipway.cluster.client.resources import CERTIFICATE_SIGNING_REQUESTS
from slipway.cluster.clock import parse_timestamp
from slipway.cluster.controllers import conditions as conds
from slipway.cluster.controllers.controller import Context, Controller
from slipway.cluster.controllers.effects import Effects
from slipway.cluster.controllers.writes import Delete, Update

# The request in PEM, its usages and the wished lifetime in seconds in; a certificate in PEM out.
# ValueError says what is wrong with the request.
SignCertificate = Callable[[bytes, list[str], int | None], bytes]

_SIGNERS = {
    "kubernetes.io/kube-apiserver-client",
    "kubernetes.io/kube-apiserver-client-kubelet",
    "kubernetes.io/kubelet-serving",
    "kubernetes.io/legacy-unknown",
}
_LIFETIMES = {"issued": 3600.0, "Approved": 3600.0, "Denied": 3600.0, "Failed": 3600.0, "pending": 86400.0}


class CertificateSigner(Controller):
    def __init__(self, sign: SignCertificate, context: Context) -> None:
        self._sign = sign
        super().__init__(context)

    def watch(self) -> None:
        self.requests = self.own_changes(CERTIFICATE_SIGNING_REQUESTS)

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        request = self.requests.get(*key)
        if request is None:
            return None
        status = request.get("status") or {}
        if (
            request["spec"]["signerName"] not in _SIGNERS
            or status.get("certificate")
            or condition_of(request, "Approved") is None
            or condition_of(request, "Denied") is not None
            or condition_of(request, "Failed") is not None
        ):
            return None
        lifetime = request["spec"].get("expirationSeconds")
        try:
            certificate = self._sign(
                base64.b64decode(request["spec"]["request"]),
                list(request["spec"].get("usages") or ()),
                None if lifetime is None else int(lifetime),
            )
        except ValueError as error:
            failed = conds.condition(
                "Failed", "True", "SignerValidationFailure", str(error), self.clock.timestamp(), updated=True
            )
            changed = {**status, "conditions": [*(status.get("conditions") or ()), failed]}
        else:
            changed = {**status, "certificate": base64.b64encode(certificate).decode()}
        await effects.do(Update(CERTIFICATE_SIGNING_REQUESTS, {**request, "status": changed}, "status"))
        return None


class CertificateCleaner(Controller):
    """Deletes requests an hour after they were decided, and a day after they were made if they never are."""

    def watch(self) -> None:
        self.requests = self.own_changes(CERTIFICATE_SIGNING_REQUESTS)

    async def reconcile(self, key: Key, effects: Effects) -> float | None:
        request = self.requests.get(*key)
        if request is None:
            return None
        left = _time_left(request, self.clock.now())
        if left > 0:
            return left
        await effects.do(Delete(CERTIFICATE_SIGNING_REQUESTS, request))
        return None


def _time_left(request: Object, now: float) -> float:
    for kind in ("Denied", "Failed", "Approved"):
        condition: Mapping[str, Any] | None = condition_of(request, kind)
        if condition is not None:
            stamp = condition.get("lastUpdateTime") or condition.get("lastTransitionTime")
            since = parse_timestamp(stamp or metadata(request)["creationTimestamp"])
            return since + _LIFETIMES[kind] - now
    return parse_timestamp(metadata(request)["creationTimestamp"]) + _LIFETIMES["pending"] - now


def certificate_signer(sign: SignCertificate) -> Callable[[Context], Controller]:
    return partial(CertificateSigner, sign)
