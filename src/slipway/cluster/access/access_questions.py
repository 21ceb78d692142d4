"""What a SubjectAccessReview asks: checked, and understood as attributes of a request.

Facts: k8s.io/kubernetes pkg/apis/authorization/validation.
"""

from __future__ import annotations

from typing import Any

import orjson

from slipway.cluster.access.authorization import Attributes
from slipway.cluster.status import FieldError, invalid

Object = dict[str, Any]
GROUP = "authorization.k8s.io"


def check_question(review: Object) -> None:
    """422 when the spec is not one question, or when the metadata says more than it may."""
    spec, metadata = review.get("spec") or {}, review["metadata"]
    errors = _attributes(spec)
    if review["kind"] != "SelfSubjectAccessReview" and not spec.get("user") and not spec.get("groups"):
        why = "at least one of user or group must be specified"
        errors.append(FieldError("FieldValueInvalid", "spec.user", "", why))
    for name in ("fieldSelector", "labelSelector"):
        errors += _selector(name, (spec.get("resourceAttributes") or {}).get(name))
    local = review["kind"] == "LocalSubjectAccessReview"
    allowed = {"managedFields", "namespace"} if local else {"managedFields"}
    if any(metadata.get(name) for name in metadata if name not in allowed):
        why = "must be empty except for namespace" if local else "must be empty"
        shown = orjson.dumps(metadata).decode()
        errors.append(FieldError("FieldValueInvalid", "metadata", None, why, shown=shown))
    if local:
        errors += _local(spec, metadata)
    if errors:
        raise invalid("", GROUP, "", errors)


def _attributes(spec: Object) -> list[FieldError]:
    if (spec.get("resourceAttributes") is None) != (spec.get("nonResourceAttributes") is None):
        return []
    why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
    return [FieldError("FieldValueInvalid", "spec", None, why, shown=_path_shown(spec))]


def _path_shown(spec: Object) -> str:
    said = spec.get("nonResourceAttributes")
    if said is None:
        return "null"
    return orjson.dumps({"Path": said.get("path", ""), "Verb": said.get("verb", "")}).decode()


def _selector(name: str, selector: Object | None) -> list[FieldError]:
    if selector is None:
        return []
    path = f"spec.resourceAttributes.{name}"
    raw, requirements = selector.get("rawSelector"), selector.get("requirements")
    if raw and requirements:
        why = "may not specified at the same time as requirements"
        return [FieldError("FieldValueInvalid", f"{path}.rawSelector", raw, why)]
    if not raw and not requirements:
        why = f"when {path} is specified, requirements or rawSelector is required"
        return [FieldError("FieldValueRequired", f"{path}.requirements", detail=why)]
    return []


def _local(spec: Object, metadata: Object) -> list[FieldError]:
    errors = []
    resource = spec.get("resourceAttributes")
    if resource is not None and (resource.get("namespace") or "") != metadata.get("namespace"):
        where, said = "spec.resourceAttributes.namespace", resource.get("namespace") or ""
        errors.append(FieldError("FieldValueInvalid", where, said, "must match metadata.namespace"))
    if spec.get("nonResourceAttributes") is not None:
        why = "disallowed on this kind of request"
        shown = _path_shown(spec)
        errors.append(FieldError("FieldValueInvalid", "spec.nonResourceAttributes", None, why, shown=shown))
    return errors


def attributes_of(spec: Object) -> Attributes:
    """The request that a checked spec asks about."""
    path = spec.get("nonResourceAttributes")
    if path is not None:
        return Attributes(path.get("verb") or "", path=path.get("path") or "")
    resource = spec["resourceAttributes"]
    names = ("verb", "group", "version", "resource", "subresource", "namespace", "name")
    return Attributes(*(resource.get(name) or "" for name in names))
