"""POST serviceaccounts/{name}/token: a TokenRequest answered with a bound token."""

from __future__ import annotations

from typing import Any

from slipway.cluster.access.service_accounts import DEFAULT_SECONDS, MAX_SECONDS, MIN_SECONDS, TokenSigner
from slipway.cluster.clock import format_timestamp
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.questions import understand
from slipway.cluster.registry.reading import missing
from slipway.cluster.registry.registry import Registry
from slipway.cluster.status import FieldError, bad_request, conflict, invalid, not_found

Object = dict[str, Any]
_BINDABLE = {"Pod": "pods", "Secret": "secrets", "Node": "nodes"}


async def request_token(registry: Registry, signer: TokenSigner, call: Call, body: Object) -> Object:
    """The TokenRequest with its status; 404 without the account, 422 for an expiry out of range."""
    request = await understand(registry, call, body)
    metadata, spec = request["metadata"], request.setdefault("spec", {})
    if metadata.get("name") not in (None, "", call.name):
        why = "must match the service account name if specified"
        wrong = FieldError("FieldValueInvalid", "metadata.name", metadata["name"], why)
        raise invalid("TokenRequest", "authentication.k8s.io", call.name, [wrong])
    account = registry.record("", "v1", "serviceaccounts", call.namespace, call.name)
    if account is None:
        raise missing(call)
    seconds = int(spec.get("expirationSeconds", DEFAULT_SECONDS))
    _check_seconds(seconds)
    bound = _bound_object(registry, call, spec.get("boundObjectRef"))
    audiences = list(spec.get("audiences") or [signer.issuer])
    token, expires = signer.issue(account.value, audiences, seconds, bound)
    metadata |= {
        "name": call.name,
        "namespace": call.namespace,
        "uid": metadata.get("uid") or account.value["metadata"]["uid"],
        "creationTimestamp": registry.clock.timestamp(),
    }
    request["spec"] = {
        "audiences": audiences,
        "expirationSeconds": seconds,
        "boundObjectRef": spec.get("boundObjectRef"),
    }
    request["status"] = {"token": token, "expirationTimestamp": format_timestamp(expires)}
    return request


def _check_seconds(seconds: int) -> None:
    if MIN_SECONDS <= seconds <= MAX_SECONDS:
        return
    bound = "less than 10 minutes" if seconds < MIN_SECONDS else "larger than 2^32 seconds"
    why = f"may not specify a duration {bound}"
    wrong = FieldError("FieldValueInvalid", "spec.expirationSeconds", seconds, why)
    raise invalid("TokenRequest", "authentication.k8s.io", "", [wrong])


def _bound_object(registry: Registry, call: Call, reference: Object | None) -> Object | None:
    if not reference:
        return None
    kind, name = str(reference.get("kind")), str(reference.get("name") or "")
    plural = _BINDABLE.get(kind)
    if plural is None or reference.get("apiVersion") != "v1":
        group, _, version = str(reference.get("apiVersion") or "").rpartition("/")
        raise bad_request(f"cannot bind token to object of type {group}/{version}, Kind={kind}")
    found = registry.record("", "v1", plural, "" if kind == "Node" else call.namespace, name)
    if found is None:
        raise not_found(plural, "", name)
    if kind == "Pod" and found.value["spec"].get("serviceAccountName", "") != call.name:
        raise bad_request(
            f'cannot bind token for serviceaccount "{call.name}" to pod running with different serviceaccount name.'
        )
    uid = found.value["metadata"]["uid"]
    if reference.get("uid") and reference["uid"] != uid:
        raise conflict(
            kind,
            "",
            name,
            f"the UID in the bound object reference ({reference['uid']}) does not match the UID in record."
            " The object might have been deleted and then recreated",
        )
    return {"kind": kind, "name": name, "uid": uid}
