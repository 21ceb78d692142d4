"""Metadata, which all kinds share: names, labels, annotations, owners, finalizers, and what never changes.

Facts: k8s.io/apimachinery `pkg/api/validation/objectmeta.go` at 1.37.
"""

from __future__ import annotations

import json
from typing import Any

from slipway.cluster.registry.validation.addresses import strict_address
from slipway.cluster.registry.validation.findings import Check, Findings
from slipway.cluster.schema import names

Object = dict[str, Any]
MAXIMUM_ANNOTATIONS = 256 * 1024  # bytes, keys and values together
_STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
_MAXIMUM_MANAGER = 128

# Kinds whose names are not DNS-1123 subdomains.
_NAME_FORMS: dict[str, Check] = {
    "namespaces": names.dns1123_label,
    "services": names.dns1123_label,
    "statefulsets.apps": names.dns1123_label,
    "apiservices.apiregistration.k8s.io": names.path_segment,
    "ipaddresses.networking.k8s.io": strict_address,
    "clustertrustbundles.certificates.k8s.io": names.path_segment,  # more is asked of them by their own rules
    "events": names.path_segment,
    "events.events.k8s.io": names.path_segment,
    "poddisruptionbudgets.policy": names.path_segment,
    "roles.rbac.authorization.k8s.io": names.path_segment,
    "rolebindings.rbac.authorization.k8s.io": names.path_segment,
    "clusterroles.rbac.authorization.k8s.io": names.path_segment,
    "clusterrolebindings.rbac.authorization.k8s.io": names.path_segment,
}


def name_form(resource: str) -> Check:
    """How a name of this resource ("roles.rbac.authorization.k8s.io") is checked."""
    return _NAME_FORMS.get(resource, names.dns1123_subdomain)


def metadata_errors(
    found: Findings,
    obj: Object,
    old: Object | None,
    *,
    namespaced: bool,
    form: Check,
    any_finalizer: bool = False,
) -> None:
    """What is wrong with the metadata of an object that is created, or updated from `old`.

    `any_finalizer` takes names without a domain too, as custom objects and their definitions may have them.
    """
    meta = obj.get("metadata") or {}
    if old is None:
        _names(found, meta, form)
    _place(found, meta, namespaced)
    if meta.get("generation", 0) < 0:
        found.invalid("metadata.generation", meta["generation"], "must be greater than or equal to 0")
    labels_errors(found, "metadata.labels", meta.get("labels") or {})
    annotations_errors(found, "metadata.annotations", meta.get("annotations") or {})
    _owners(found, meta.get("ownerReferences") or [])
    for index, finalizer in enumerate(meta.get("finalizers") or ()):
        own_path = "" if any_finalizer else f"metadata.finalizers[{index}]"
        finalizer_errors(found, "metadata.finalizers", own_path, finalizer)
    _exclusive_finalizers(found, meta.get("finalizers") or [])
    _managers(found, meta.get("managedFields") or [])
    if old is not None:
        _unchanged(found, meta, old.get("metadata") or {})


def _names(found: Findings, meta: Object, form: Check) -> None:
    base, name = meta.get("generateName"), meta.get("name")
    if base:
        trimmed = base[:-1] + "a" if base.endswith("-") else base
        for text in form(trimmed):
            found.invalid("metadata.generateName", base, text)
    if name:
        found.named("metadata.name", name, form)
    else:
        found.required("metadata.name", "name or generateName is required")


def _place(found: Findings, meta: Object, namespaced: bool) -> None:
    namespace = meta.get("namespace")
    if not namespaced:
        if namespace:
            found.forbidden("metadata.namespace", "not allowed on this type")
    elif not namespace:
        found.required("metadata.namespace")
    else:
        found.named("metadata.namespace", namespace, names.dns1123_label)


def labels_errors(found: Findings, path: str, labels: Object, *, any_value: bool = False) -> None:
    for key, value in labels.items():
        found.named(path, key, names.label_key)
        if not any_value:
            found.named(path, value, names.label_value)


def annotations_errors(found: Findings, path: str, annotations: Object) -> None:
    size = 0
    for key, value in annotations.items():
        for text in names.label_key(key.lower()):
            found.invalid(path, key, text.replace("a valid label key", "a valid annotation key"))
        size += len(key.encode()) + len(value.encode())
    if size > MAXIMUM_ANNOTATIONS:
        found.too_long(path, MAXIMUM_ANNOTATIONS)


def _owners(found: Findings, owners: list[Object]) -> None:
    controllers: list[str] = []
    for index, owner in enumerate(owners):
        path = f"metadata.ownerReferences[{index}]"
        for name in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(name):
                found.required(f"{path}.{name}", "must not be empty")
        version = owner.get("apiVersion", "").rpartition("/")[2]
        if owner.get("apiVersion") and not version:
            found.invalid(f"{path}.apiVersion", owner["apiVersion"], "version must not be empty")
        if owner.get("apiVersion") == "v1" and owner.get("kind") == "Event":
            found.invalid(path, owner, "/v1, Kind=Event is disallowed from being an owner")
        if owner.get("controller"):
            controllers.append(owner.get("name", ""))
    distinct = {json.dumps(owner, sort_keys=True) for owner in owners if owner.get("controller")}
    if len(controllers) > 1 and len(distinct) > 1:  # the same reference twice is dropped, not refused
        found.invalid(
            "metadata.ownerReferences",
            owners,
            "Only one reference can have Controller set to true. Found "
            f'"true" in references for {controllers[0]} and {controllers[1]}',
        )


def finalizer_errors(found: Findings, path: str, own_path: str, finalizer: str) -> None:
    """The form of a finalizer, and (with `own_path`) that it has a domain or is one of the standard ones."""
    for text in names.label_key(finalizer):
        found.invalid(path, finalizer, text.replace("a valid label key", "a qualified name"))
    if own_path and "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
        found.invalid(
            own_path, finalizer, "name is neither a standard finalizer name nor is it fully qualified"
        )


def _exclusive_finalizers(found: Findings, finalizers: list[str]) -> None:
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        why = "finalizer orphan and foregroundDeletion cannot be both set"
        found.invalid("metadata.finalizers", finalizers, why)


def _managers(found: Findings, entries: list[Object]) -> None:
    for index, entry in enumerate(entries):
        path = f"metadata.managedFields[{index}]"
        if entry.get("operation") not in ("Apply", "Update"):
            found.invalid(f"{path}.operation", entry.get("operation", ""), "must be `Apply` or `Update`")
        if entry.get("fieldsType") not in (None, "", "FieldsV1"):
            found.invalid(f"{path}.fieldsType", entry["fieldsType"], "must be `FieldsV1`")
        if len(entry.get("manager", "").encode()) > _MAXIMUM_MANAGER:
            found.too_long(f"{path}.manager", _MAXIMUM_MANAGER)
        if len(entry.get("subresource", "")) > 256:
            found.too_long(f"{path}.subresource", 256)


def _unchanged(found: Findings, meta: Object, old: Object) -> None:
    if old.get("deletionTimestamp"):
        added = sorted(set(meta.get("finalizers") or ()) - set(old.get("finalizers") or ()))
        if added:
            shown = ", ".join(f'"{name}"' for name in added)
            found.forbidden(
                "metadata.finalizers",
                "no new finalizers can be added if the object is being deleted, found new finalizers "
                f"[]string{{{shown}}}",
            )
    if not meta.get("resourceVersion"):
        found.invalid(
            "metadata.resourceVersion",
            meta.get("resourceVersion", ""),
            "must be specified for an update",
            None if meta.get("resourceVersion") else "0x0",
        )
    if meta.get("generation", 0) < old.get("generation", 0):
        found.invalid("metadata.generation", meta.get("generation", 0), "must not be decremented")
    for name in (
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ):
        if meta.get(name) != old.get(name):
            found.invalid(f"metadata.{name}", meta.get(name, ""), "field is immutable")
