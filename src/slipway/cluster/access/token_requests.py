"""POST serviceaccounts/{name}/token: a TokenRequest answered with a bound token."""

from __future__ import annotations

from typing import Any

from slipway.cluster.access.service_accounts import DEFAULT_SECONDS, MAX_SECONDS, MIN_SECONDS, TokenSigner
from slipway.cluster.clock import format_timestamp
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.reading import missing
from slipway.cluster.registry.registry import Registry
from slipway.cluster.status import FieldError, conflict, invalid, not_found

Object = dict[str, Any]
_BINDABLE = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}


def request_token(registry: Registry, signer: TokenSigner, call: Call, request: Object) -> Object:
    """The TokenRequest with its status; 404 without the account, 422 for an expiry out of range."""
    spec = request.get("spec") or {}
    seconds = spec.get("expirationSeconds")
    seconds = DEFAULT_SECONDS if seconds is None else int(seconds)
    errors = []
    if seconds < MIN_SECONDS:
        why = "may not specify a duration less than 10 minutes"
        errors.append(FieldError("FieldValueInvalid", "spec.expirationSeconds", seconds, why))
    elif seconds > MAX_SECONDS:
        why = "may not specify a duration larger than 2^32 seconds"
        errors.append(FieldError("FieldValueInvalid", "spec.expirationSeconds", seconds, why))
    if errors:
        raise invalid("TokenRequest", "authentication.k8s.io", "", errors)
    account = registry.record("", "v1", "serviceaccounts", call.namespace, call.name)
    if account is None:
        raise missing(call)
    bound = _bound_object(registry, call, spec.get("boundObjectRef"))
    audiences = list(spec.get("audiences") or [signer.issuer])
    token, expires = signer.issue(account.value, audiences, seconds, bound)
    answered_spec: Object = {
        "audiences": audiences,
        "expirationSeconds": seconds,
        "boundObjectRef": spec.get("boundObjectRef"),
    }
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {
            "name": call.name,
            "namespace": call.namespace,
            "creationTimestamp": registry.clock.timestamp(),
        },
        "spec": answered_spec,
        "status": {"token": token, "expirationTimestamp": format_timestamp(expires)},
    }


def _bound_object(registry: Registry, call: Call, reference: Object | None) -> Object | None:
    if not reference:
        return None
    kind, name = str(reference.get("kind")), str(reference.get("name") or "")
    plural = _BINDABLE.get(kind)
    if plural is None:
        raise invalid(
            "TokenRequest",
            "authentication.k8s.io",
            "",
            [
                FieldError(
                    "FieldValueInvalid",
                    "spec.boundObjectRef",
                    reference,
                    f"cannot bind token to object of type {reference.get('apiVersion', '')}, Kind={kind}",
                )
            ],
        )
    found = registry.record("", "v1", plural, "" if kind == "Node" else call.namespace, name)
    if found is None:
        raise not_found(plural, "", name)
    uid = found.value["metadata"]["uid"]
    if reference.get("uid") and reference["uid"] != uid:
        raise conflict(
            plural,
            "",
            name,
            f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record."
            " The object might have been deleted and then recreated",
        )
    return {"kind": kind, "name": name, "uid": uid}
