"""PersistentVolumes, PersistentVolumeClaims, StorageClasses, CSI drivers, volume attachments.

Facts: `pkg/apis/core/validation`, `pkg/apis/storage/validation` of Kubernetes 1.37.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from slipway.cluster.registry.validation.findings import Findings, difference, each
from slipway.cluster.registry.validation.pods import affinity_errors
from slipway.cluster.registry.validation.selectors import label_selector_errors, node_selector_errors
from slipway.cluster.registry.validation.volumes import HOST_PATH_TYPES, no_backsteps
from slipway.cluster.schema import names
from slipway.cluster.schema.quantity import canonical, parse_quantity

Object = dict[str, Any]
ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
MODES = ("Block", "Filesystem")
# Fields of a volume's spec that are no source.
_NOT_SOURCES = frozenset(
    {
        "capacity",
        "accessModes",
        "claimRef",
        "persistentVolumeReclaimPolicy",
        "storageClassName",
        "mountOptions",
        "volumeMode",
        "nodeAffinity",
        "volumeAttributesClassName",
    }
)


def claim_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    claim_spec_errors(found, spec, "spec")
    if old is None:
        return
    before = old.get("spec") or {}
    if _fixed(spec, before, old) != _fixed(before, before, old):
        found.forbidden(
            "spec",
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims\n"
            + difference(before, spec),
        )
    requested, was = _storage(spec), _storage(before)
    capacity = parse_quantity(((old.get("status") or {}).get("capacity") or {}).get("storage", "0"))
    if requested < was and requested <= capacity:
        found.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
    found.same("volumeMode", spec.get("volumeMode"), before.get("volumeMode"))


def _storage(spec: Object) -> Decimal:
    return parse_quantity(((spec.get("resources") or {}).get("requests") or {}).get("storage", "0"))


def _fixed(spec: Object, old: Object, claim: Object) -> Object:
    """A spec without what may change."""
    result = {**spec}
    if (claim.get("status") or {}).get("phase") == "Bound":
        result.pop("resources", None)
        result.pop("volumeAttributesClassName", None)
    if not old.get("volumeName"):
        result.pop("volumeName", None)
    return result


def claim_spec_errors(found: Findings, spec: Object, path: str) -> None:
    modes = spec.get("accessModes") or []
    if not modes:
        found.required(f"{path}.accessModes", "at least 1 access mode is required")
    label_selector_errors(found, f"{path}.selector", spec.get("selector"))
    _access_modes(found, modes, path)
    requests = (spec.get("resources") or {}).get("requests") or {}
    if "storage" not in requests:
        found.required(f"{path}.resources[storage]")
    elif parse_quantity(requests["storage"]) <= 0:
        found.invalid(
            f"{path}.resources[storage]", canonical(requests["storage"]), "must be greater than zero"
        )
    if spec.get("storageClassName"):
        found.named(f"{path}.storageClassName", spec["storageClassName"], names.dns1123_subdomain)
    if spec.get("volumeMode") is not None:
        found.one_of(f"{path}.volumeMode", spec["volumeMode"], MODES)


def _access_modes(found: Findings, modes: list[str], path: str) -> None:
    for mode in modes:
        if mode not in ACCESS_MODES:
            found.unsupported(f"{path}.accessModes", mode, ACCESS_MODES)
    if "ReadWriteOncePod" in modes and len(modes) > 1:
        found.forbidden(f"{path}.accessModes", "may not use ReadWriteOncePod with other access modes")


def volume_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    modes = spec.get("accessModes") or []
    if not modes:
        found.required("spec.accessModes")
    _access_modes(found, modes, "spec")
    capacity = spec.get("capacity")
    if not capacity:
        found.required("spec.capacity")
    if "storage" not in (capacity or {}) or len(capacity or {}) > 1:
        found.unsupported("spec.capacity", capacity, ("storage",))
        error = found.errors.pop()
        shown = "null" if capacity is None else None
        found.errors.append(type(error)(error.reason, error.field, capacity, error.detail, shown))
    for name, amount in (capacity or {}).items():
        if parse_quantity(amount) <= 0:
            found.invalid(f"spec.capacity[{name}]", canonical(amount), "must be greater than zero")
    policy = spec.get("persistentVolumeReclaimPolicy")
    if policy:
        found.one_of("spec.persistentVolumeReclaimPolicy", policy, ("Delete", "Recycle", "Retain"))
    _node_affinity(found, spec)
    _volume_source(found, spec)
    if spec.get("storageClassName"):
        found.named("spec.storageClassName", spec["storageClassName"], names.dns1123_subdomain)
    if spec.get("volumeMode") is not None:
        found.one_of("spec.volumeMode", spec["volumeMode"], MODES)
    if old is not None:
        _volume_update(found, spec, old.get("spec") or {})


def _node_affinity(found: Findings, spec: Object) -> None:
    affinity = spec.get("nodeAffinity")
    if affinity is None:
        return
    if affinity.get("required") is None:
        found.required("spec.nodeAffinity.required", "must specify required node constraints")
        return
    before = len(found.errors)
    node_selector_errors(found, "spec.nodeAffinity.required", affinity["required"])
    trial = Findings()
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    affinity_errors(trial, {"nodeAffinity": {required: affinity["required"]}}, "")
    place = f".nodeAffinity.{required}"
    known = {(error.field, error.body) for error in found.errors[before:]}
    for error in trial.errors:
        path = error.field.replace(place, "spec.nodeAffinity.required")
        if (path, error.body) not in known:
            found.errors.append(type(error)(error.reason, path, error.value, error.detail, error.shown))


def _sources(spec: Object) -> dict[str, Any]:
    return {name: value for name, value in spec.items() if name not in _NOT_SOURCES}


def _volume_source(found: Findings, spec: Object) -> None:
    sources = _sources(spec)
    for name in list(sources)[1:]:
        found.forbidden(f"spec.{name}", "may not specify more than 1 volume type")
    if not sources:
        found.required("spec", "must specify a volume type")
        return
    name, source = next(iter(sources.items()))
    if name == "hostPath":
        if found.needs("spec.hostPath.path", source.get("path")):
            no_backsteps(found, "spec.hostPath.path", source["path"])
        if source.get("type") is not None:
            found.one_of("spec.hostPath.type", source["type"], HOST_PATH_TYPES)
        if source.get("path") == "/" and spec.get("persistentVolumeReclaimPolicy") == "Recycle":
            found.forbidden(
                "spec.persistentVolumeReclaimPolicy", "may not be 'recycle' for a hostPath mount of '/'"
            )
    elif name == "nfs":
        found.needs("spec.nfs.server", source.get("server"))
        if found.needs("spec.nfs.path", source.get("path")) and not source["path"].startswith("/"):
            found.invalid("spec.nfs.path", source["path"], "must be an absolute path")
    elif name == "local":
        if found.needs("spec.local.path", source.get("path")):
            no_backsteps(found, "spec.local.path", source["path"])
        if spec.get("nodeAffinity") is None:
            found.required("spec.nodeAffinity", "Local volume requires node affinity")
    elif name == "csi":
        found.needs("spec.csi.driver", source.get("driver"))
        found.needs("spec.csi.volumeHandle", source.get("volumeHandle"))


def _volume_update(found: Findings, spec: Object, old: Object) -> None:
    if _sources(spec) != _sources(old):
        found.forbidden(
            "spec.persistentvolumesource",
            "spec.persistentvolumesource is immutable after creation\n"
            + difference(_sources(old), _sources(spec)),
        )
    found.same("volumeMode", spec.get("volumeMode"), old.get("volumeMode"))
    if old.get("nodeAffinity") is not None and spec.get("nodeAffinity") != old.get("nodeAffinity"):
        found.invalid(
            "nodeAffinity",
            spec.get("nodeAffinity"),
            "field is immutable, except for updating from beta label to GA",
        )


# Classes, drivers, attachments


def storage_class_errors(found: Findings, obj: Object, old: Object | None) -> None:
    provisioner = obj.get("provisioner", "")
    if found.needs("provisioner", provisioner):
        for text in names.label_key(provisioner.lower()):
            found.invalid(
                "provisioner", provisioner.lower(), text.replace("a valid label key", "a qualified name")
            )
    size = sum(len(key) + len(value) for key, value in (obj.get("parameters") or {}).items())
    if any(not key for key in obj.get("parameters") or {}):
        found.invalid("parameters", "", "field can not be empty.")
    if size > 256 * 1024:
        found.too_long("parameters", 256 * 1024)
    if obj.get("reclaimPolicy"):
        found.one_of("reclaimPolicy", obj["reclaimPolicy"], ("Delete", "Retain"))
    if obj.get("volumeBindingMode") is None:
        found.required("volumeBindingMode")
    else:
        found.one_of("volumeBindingMode", obj["volumeBindingMode"], ("Immediate", "WaitForFirstConsumer"))
    _topologies(found, obj)
    if old is not None:
        for name in ("parameters", "provisioner", "reclaimPolicy", "volumeBindingMode"):
            if obj.get(name) != old.get(name):
                found.invalid(name, None, "field is immutable")  # upstream never shows the value here


def _topologies(found: Findings, obj: Object) -> None:
    seen: list[Any] = []
    for place, term in each(obj, "", "allowedTopologies"):
        expressions = {
            e.get("key", ""): sorted(e.get("values") or ()) for e in term.get("matchLabelExpressions") or ()
        }
        keys: set[str] = set()
        for where, expression in each(term, place, "matchLabelExpressions"):
            key, values = expression.get("key", ""), expression.get("values") or []
            if not values:
                found.required(f"{where}.values")
            for index, value in enumerate(values):
                if value in values[:index]:
                    found.duplicate(f"{where}.values[{index}]", value)
            if key in keys:
                found.duplicate(f"{where}.key", key)
            keys.add(key)
            found.named(f"{where}.key", key, names.label_key)
        if not expressions or expressions in seen:
            found.duplicate(f"{place}.matchLabelExpressions", "")
        seen.append(expressions)


def csi_driver_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    for name in ("attachRequired", "podInfoOnMount", "storageCapacity"):
        if spec.get(name) is None:
            found.required(f"spec.{'attachedRequired' if name == 'attachRequired' else name}")
    if spec.get("fsGroupPolicy") is not None:
        found.one_of("spec.fsGroupPolicy", spec["fsGroupPolicy"], ("File", "None", "ReadWriteOnceWithFSType"))
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in ("Persistent", "Ephemeral"):
            found.unsupported("spec.volumeLifecycleModes", mode, ("Persistent", "Ephemeral"))
    if old is not None:
        before = old.get("spec") or {}
        found.same("spec.attachedRequired", spec.get("attachRequired"), before.get("attachRequired"))
        found.same(
            "spec.volumeLifecycleModes", spec.get("volumeLifecycleModes"), before.get("volumeLifecycleModes")
        )


def volume_attachment_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    attacher = spec.get("attacher", "")
    if found.needs("spec.attacher", attacher):
        found.named("spec.attacher", attacher.lower(), names.dns1123_subdomain)
        if len(attacher) > 63:
            found.too_long("spec.attacher", 63)
    source = spec.get("source") or {}
    if (source.get("inlineVolumeSpec") is None) == (source.get("persistentVolumeName") is None):
        found.required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName")
    if source.get("persistentVolumeName") is not None:
        if not source["persistentVolumeName"]:
            found.required("spec.source.persistentVolumeName", "must specify non empty persistentVolumeName")
        found.named(
            "spec.source.persistentVolumeName", source["persistentVolumeName"], names.dns1123_subdomain
        )
    found.named("spec.nodeName", spec.get("nodeName", ""), names.dns1123_subdomain)
    if old is not None and obj.get("spec") != old.get("spec"):
        found.invalid("spec", None, "field is immutable")
