"""CustomResourceDefinitions: their defaults, their status, and the resources that they define.

A CRD meets `set_defaults`, then `status_on_create` or `status_on_update`, then `crd_validation`; once stored,
`accept_names` decides its conditions, and `resources_of` and `version_of` say what to serve. Behaviour follows
k8s.io/apiextensions-apiserver at 1.37.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from slipway.cluster.schema.crd_approval import CONDITION, Approval, approval_of
from slipway.cluster.schema.resource import Resource, Subresource
from slipway.cluster.schema.shape import Shape
from slipway.cluster.schema.structural import shape_of_schema

Crd = dict[str, Any]

_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_VERBS_WHILE_TERMINATING = ("delete", "deletecollection", "get", "list", "watch")
_SUBRESOURCE_VERBS = ("get", "patch", "update")


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where the scale sub-resource finds its numbers: JSON paths like `.spec.replicas`."""

    spec_replicas: str
    status_replicas: str
    label_selector: str | None


@dataclass(frozen=True, slots=True)
class CustomVersion:
    """One version of a CRD, ready to apply to objects."""

    name: str
    shape: Shape
    has_status: bool
    scale: ScalePaths | None
    selectable_fields: tuple[str, ...]  # as field selectors name them: `spec.color`
    deprecation_warning: str  # sent with every answer of a deprecated version; "" otherwise


def set_defaults(crd: Crd) -> None:
    """Fill in what v1 defaults: singular, listKind, conversion, the webhook's port."""
    spec = crd.get("spec")
    if not isinstance(spec, dict):
        return
    names = spec.get("names")
    if isinstance(names, dict):
        kind = names.get("kind") or ""
        if not names.get("singular"):
            names["singular"] = kind.lower()
        if not names.get("listKind") and kind:
            names["listKind"] = kind + "List"
    if spec.get("conversion") is None:
        spec["conversion"] = {"strategy": "None"}
    service = ((spec["conversion"].get("webhook") or {}).get("clientConfig") or {}).get("service")
    if service is not None and service.get("port") is None:
        service["port"] = 443


def status_on_create(crd: Crd) -> dict[str, Any]:
    """The status of a new CRD, whatever its author sent."""
    storage = _storage_version(crd)
    status: dict[str, Any] = {"conditions": None, "acceptedNames": {"plural": "", "kind": ""}}
    status["storedVersions"] = None if storage is None else [storage]
    return status


def status_on_update(crd: Crd, old: Crd) -> dict[str, Any]:
    """The status of an updated CRD: the old one, with a new storage version remembered."""
    status = dict(old.get("status") or {})
    storage = _storage_version(crd)
    stored = list(status.get("storedVersions") or [])
    if storage is not None and storage not in stored:
        status["storedVersions"] = [*stored, storage]
    return status


def _storage_version(crd: Crd) -> str | None:
    versions = crd["spec"].get("versions") or []
    return next((str(version.get("name", "")) for version in versions if version.get("storage")), None)


def accept_names(crd: Crd, others: Iterable[Crd], now: str) -> dict[str, Any]:
    """The status of a stored CRD after its names were compared with those of `others`.

    `now` is the time of a condition that changes (RFC 3339). A CRD whose names are free is established at
    once; one that was established before stays so.
    """
    status = dict(crd.get("status") or {})
    wanted = crd["spec"]["names"]
    accepted = dict(status.get("acceptedNames") or {})
    resources, kinds = _names_in_use(crd, others)
    conflict: tuple[str, str] | None = None
    for key, used in (("plural", resources), ("singular", resources), ("kind", kinds), ("listKind", kinds)):
        if key == "kind":
            conflict = _accept_short_names(wanted, accepted, resources) or conflict
        name = wanted.get(key) or ""
        if name != (accepted.get(key) or "") and name in used:
            conflict = (key[0].upper() + key[1:] + "Conflict", f'"{name}" is already in use')
        else:
            accepted[key] = name
    accepted.pop("categories", None)
    if wanted.get("categories"):
        accepted["categories"] = list(wanted["categories"])
    status["acceptedNames"] = {
        key: value for key, value in accepted.items() if value or key in ("plural", "kind")
    }
    status["conditions"] = _conditions(status.get("conditions") or [], conflict, approval_of(crd), now)
    return status


def _names_in_use(crd: Crd, others: Iterable[Crd]) -> tuple[set[str], set[str]]:
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        if (
            other["spec"]["group"] != crd["spec"]["group"]
            or other["metadata"]["name"] == crd["metadata"]["name"]
        ):
            continue
        taken = (other.get("status") or {}).get("acceptedNames") or {}
        resources |= {
            taken.get("plural") or "",
            taken.get("singular") or "",
            *(taken.get("shortNames") or ()),
        }
        kinds |= {taken.get("kind") or "", taken.get("listKind") or ""}
    return resources - {""}, kinds - {""}


def _accept_short_names(
    wanted: dict[str, Any], accepted: dict[str, Any], used: set[str]
) -> tuple[str, str] | None:
    ours = accepted.get("shortNames") or []
    short = wanted.get("shortNames") or []
    texts = [f'"{name}" is already in use' for name in short if name not in ours and name in used]
    if not texts:
        accepted.pop("shortNames", None)
        if short:
            accepted["shortNames"] = list(short)
        return None
    unique = list(dict.fromkeys(texts))
    return "ShortNamesConflict", unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]"


def _conditions(
    old: list[dict[str, Any]], conflict: tuple[str, str] | None, approval: Approval | None, now: str
) -> list[dict[str, Any]]:
    reason, message = conflict or ("NoConflicts", "no conflicts found")
    by_type = {condition["type"]: dict(condition) for condition in old}
    _set(by_type, "NamesAccepted", "False" if conflict else "True", reason, message, now)
    established = by_type.get("Established")
    if established is None or established["status"] != "True":
        if conflict:
            if established is None:
                _set(by_type, "Established", "False", "NotAccepted", "not all names are accepted", now)
        else:
            text = "the initial names have been accepted"
            _set(by_type, "Established", "True", "InitialNamesAccepted", text, now)
    if approval is not None:
        _set(by_type, CONDITION, str(approval.conformant), approval.reason, approval.message, now)
    return list(by_type.values())


def _set(
    conditions: dict[str, dict[str, Any]], kind: str, status: str, reason: str, message: str, now: str
) -> None:
    old = conditions.get(kind)
    since = now if old is None or old["status"] != status else old.get("lastTransitionTime", now)
    conditions[kind] = {
        "type": kind,
        "status": status,
        "lastTransitionTime": since,
        "reason": reason,
        "message": message,
    }


def mark_terminating(crd: Crd, now: str) -> dict[str, Any]:
    """The status of a CRD whose deletion has begun: its objects are to go first."""
    status = dict(crd.get("status") or {})
    by_type = {condition["type"]: dict(condition) for condition in status.get("conditions") or []}
    message = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    _set(by_type, "Terminating", "True", "InstanceDeletionPending", message, now)
    return {**status, "conditions": list(by_type.values())}


def status_ownership(status: dict[str, Any], now: str) -> dict[str, Any]:
    """The managedFields entry of the API server, which writes accepted names and conditions itself."""
    names: dict[str, Any] = {f"f:{key}": {} for key in sorted(status["acceptedNames"])}
    facts = ("lastTransitionTime", "message", "reason", "status", "type")
    conditions: dict[str, Any] = {
        f'k:{{"type":"{condition["type"]}"}}': {".": {}, **{f"f:{fact}": {} for fact in facts}}
        for condition in sorted(status["conditions"], key=lambda one: str(one["type"]))
    }
    return {
        "manager": "kube-apiserver",
        "operation": "Update",
        "apiVersion": "apiextensions.k8s.io/v1",
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:status": {"f:acceptedNames": names, "f:conditions": conditions}},
        "subresource": "status",
    }


def is_established(crd: Crd) -> bool:
    conditions = (crd.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Established" and one["status"] == "True" for one in conditions)


def resources_of(crd: Crd) -> list[Resource]:
    """What an established CRD serves: a Resource for each served version, the preferred version first."""
    spec = crd["spec"]
    names = (crd.get("status") or {}).get("acceptedNames") or spec["names"]
    verbs = _VERBS_WHILE_TERMINATING if crd["metadata"].get("deletionTimestamp") else _VERBS
    served = [version for version in spec["versions"] if version.get("served")]
    served.sort(key=lambda version: version_priority(version["name"]))
    return [
        Resource(
            group=spec["group"],
            version=version["name"],
            plural=names["plural"],
            singular=names.get("singular", ""),
            kind=names["kind"],
            namespaced=spec["scope"] == "Namespaced",
            verbs=verbs,
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            subresources=tuple(_subresources(spec["group"], version, names["kind"])),
            custom=True,
        )
        for version in served
    ]


def _subresources(group: str, version: dict[str, Any], kind: str) -> Iterable[Subresource]:
    declared = version.get("subresources") or {}
    if declared.get("status") is not None:
        yield Subresource("status", group, version["name"], kind, _SUBRESOURCE_VERBS)
    if declared.get("scale") is not None:
        yield Subresource("scale", "autoscaling", "v1", "Scale", _SUBRESOURCE_VERBS)


def version_of(crd: Crd, name: str) -> CustomVersion:
    """The named version, which must exist, with its schema understood."""
    version = next(version for version in crd["spec"]["versions"] if version["name"] == name)
    declared = version.get("subresources") or {}
    scale = declared.get("scale")
    warning = ""
    if version.get("deprecated"):
        group, kind = crd["spec"]["group"], crd["spec"]["names"]["kind"]
        warning = version.get("deprecationWarning") or f"{group}/{name} {kind} is deprecated"
        newer = _newer_version(crd, name)
        if not version.get("deprecationWarning") and newer:
            warning += f"; use {group}/{newer} {kind}"
    shape = shape_of_schema((version.get("schema") or {}).get("openAPIV3Schema") or {})
    return CustomVersion(
        name=name,
        shape=shape,
        has_status=declared.get("status") is not None,
        scale=None
        if scale is None
        else ScalePaths(
            scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath")
        ),
        selectable_fields=tuple(
            field["jsonPath"].removeprefix(".") for field in version.get("selectableFields") or ()
        ),
        deprecation_warning=warning,
    )


def storage_version(crd: Crd) -> str:
    """The version in which objects are stored."""
    return _storage_version(crd) or ""


def _newer_version(crd: Crd, name: str) -> str:
    """A served version that is not deprecated and more stable than the named one."""
    candidates = [v for v in crd["spec"]["versions"] if v.get("served") and not v.get("deprecated")]
    best = min(candidates, key=lambda version: version_priority(version["name"]), default=None)
    if best is None or version_priority(best["name"]) >= version_priority(name):
        return ""
    return str(best["name"])


_VERSION = re.compile(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?")


def version_priority(name: str) -> tuple[int, int, int, str]:
    """Sort key that puts the preferred version first: v2, v1, v2beta1, v1beta2, v1alpha1, then others by name."""
    found = _VERSION.fullmatch(name)
    if found is None:
        return (3, 0, 0, name)
    stability = {None: 0, "beta": 1, "alpha": 2}[found[2]]
    return (stability, -int(found[1]), -int(found[3] or 0), "")
