"""What an admission webhook is asked: a call and its objects, as an AdmissionReview of admission/v1 says it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from slipway.cluster.access.reviews import user_info
from slipway.cluster.registry.call import Call
from slipway.cluster.schema.resource import Resource

Object = dict[str, Any]
OPERATIONS = {
    "create": "CREATE",
    "update": "UPDATE",
    "patch": "UPDATE",
    "delete": "DELETE",
    "connect": "CONNECT",
}
_OPTIONS = {"CREATE": "CreateOptions", "UPDATE": "UpdateOptions", "DELETE": "DeleteOptions"}


@dataclass(slots=True)
class Question:
    """One webhook's question about one call. `resource` is the one that its rules name, of which `obj` and `old` are;
    the call's own may be another version of it."""

    hook: Object
    call: Call
    resource: Resource
    obj: Object | None
    old: Object | None

    def review(self, uid: str) -> Object:
        """The AdmissionReview."""
        call, operation = self.call, OPERATIONS[self.call.verb]
        options = _OPTIONS.get(operation)  # a connection has none besides its object
        request: Object = {
            "uid": uid,
            "kind": self._kind(self.resource),
            "resource": _plural(self.resource),
            "requestKind": self._kind(call.resource),
            "requestResource": _plural(call.resource),
            "name": call.name,
            "operation": operation,
            "userInfo": user_info(call.identity),
            "object": self.obj,
            "oldObject": self.old,
            "dryRun": call.options.dry_run,
            "options": {"kind": options, "apiVersion": "meta.k8s.io/v1"} if options else None,
        }
        if call.namespace:
            request["namespace"] = call.namespace
        if call.subresource:
            request["subResource"] = request["requestSubResource"] = call.subresource
        return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}

    def _kind(self, resource: Resource) -> Object:
        shown = self.obj or self.old
        if self.call.subresource and shown and shown.get("kind") and shown["kind"] != resource.kind:
            group, _, version = shown["apiVersion"].rpartition("/")  # a Scale, an Eviction, …
            return {"group": group, "version": version, "kind": shown["kind"]}
        return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _plural(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}
