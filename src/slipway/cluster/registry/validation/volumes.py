"""Volumes of a pod: exactly one source each, and what each source needs.

Facts: `pkg/apis/core/validation/validation.go` of Kubernetes 1.37.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from typing import Any

from slipway.cluster.registry.validation.certificates import (
    projected_bundle_errors,
    projected_certificate_errors,
)
from slipway.cluster.registry.validation.findings import Findings, config_key, each
from slipway.cluster.schema import names
from slipway.cluster.schema.quantity import parse_quantity

Object = dict[str, Any]

# The fields that a source cannot do without, for the sources that need nothing else.
_REQUIRED: dict[str, tuple[str, ...]] = {
    "secret": ("secretName",),
    "persistentVolumeClaim": ("claimName",),
    "gitRepo": ("repository",),
    "gcePersistentDisk": ("pdName",),
    "awsElasticBlockStore": ("volumeID",),
    "glusterfs": ("endpoints", "path"),
    "flexVolume": ("driver",),
    "cephfs": ("monitors",),
    "cinder": ("volumeID",),
    "azureFile": ("secretName", "shareName"),
    "azureDisk": ("diskName", "diskURI"),
    "photonPersistentDisk": ("pdID",),
    "vsphereVolume": ("volumePath",),
    "portworxVolume": ("volumeID",),
    "storageos": ("volumeName",),
    "rbd": ("monitors", "image"),
    "iscsi": ("targetPortal", "iqn"),
    "csi": ("driver",),
    "scaleIO": ("gateway", "system", "volumeName"),
}
HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
_CERTIFICATE_PATHS = ("credentialBundlePath", "keyPath", "certificateChainPath")
_ANY_OF_THEM = "credentialBundlePath, keyPath, and certificateChainPath"
_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
FIELDS_FOR_VOLUMES = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)
RESOURCES = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
# Fields of a pod that the downward API knows at all.
_POD_FIELDS = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
)
_SUBSCRIPTED = re.compile(r"(metadata\.(?:annotations|labels))\['(.*)'\]")


def volumes_errors(found: Findings, spec: Object, path: str) -> dict[str, Object]:
    """Check `spec.volumes`; the volumes by name."""
    volumes: dict[str, Object] = {}
    for place, volume in each(spec, path, "volumes"):
        name = volume.get("name", "")
        if found.needs(f"{place}.name", name):
            if name in volumes:
                found.duplicate(f"{place}.name", name)
            found.named(f"{place}.name", name, names.dns1123_label)
        volumes[name] = volume
        _source(found, volume, spec, place)
    return volumes


def _source(found: Findings, volume: Object, spec: Object, path: str) -> None:
    seen = 0
    for kind, source in volume.items():
        if kind == "name":
            continue
        seen += 1
        if seen > 1:
            found.forbidden(f"{path}.{kind}", "may not specify more than 1 volume type")
            continue
        place = f"{path}.{kind}"
        for name in _REQUIRED.get(kind, ()):
            found.needs(f"{place}.{name}", source.get(name))
        check = _CHECKS.get(kind)
        if check:
            check(found, source, place)
        if kind == "projected":
            _projected(found, source, spec, place)
    if not seen:
        found.required(path, "must specify a volume type")


def _empty_dir(found: Findings, source: Object, path: str) -> None:
    limit = source.get("sizeLimit")
    if limit is not None and parse_quantity(limit) < 0:
        found.forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")


def _host_path(found: Findings, source: Object, path: str) -> None:
    if found.needs(f"{path}.path", source.get("path")):
        no_backsteps(found, f"{path}.path", source["path"])
    if source.get("type") is not None:
        found.one_of(f"{path}.type", source["type"], HOST_PATH_TYPES)


def _nfs(found: Findings, source: Object, path: str) -> None:
    found.needs(f"{path}.server", source.get("server"))
    found.needs(f"{path}.path", source.get("path"))
    if not posixpath.isabs(source.get("path", "")):
        found.invalid(f"{path}.path", source.get("path", ""), "must be an absolute path")


def _config_map(found: Findings, source: Object, path: str) -> None:
    found.needs(f"{path}.name", source.get("name"))
    _keys_and_mode(found, source, path)


def _keys_and_mode(found: Findings, source: Object, path: str) -> None:
    mode_errors(found, f"{path}.defaultMode", source.get("defaultMode"))
    for place, item in each(source, path, "items"):
        found.needs(f"{place}.key", item.get("key"))
        if found.needs(f"{place}.path", item.get("path")):
            local_path_errors(found, f"{place}.path", item["path"], non_reserved=True)
        mode_errors(found, f"{place}.mode", item.get("mode"))


def mode_errors(found: Findings, path: str, mode: Any) -> None:
    if mode is not None and not 0 <= mode <= 0o777:
        found.invalid(path, mode, _MODE)


def _downward_api(found: Findings, source: Object, path: str) -> None:
    mode_errors(found, f"{path}.defaultMode", source.get("defaultMode"))
    for item in source.get("items") or ():
        _downward_file(found, item, path)


def _downward_file(found: Findings, item: Object, path: str) -> None:
    if found.needs(f"{path}.path", item.get("path")):
        local_path_errors(found, f"{path}.path", item["path"], non_reserved=True)
    if item.get("fieldRef") is not None:
        field_ref_errors(found, f"{path}.fieldRef", item["fieldRef"], FIELDS_FOR_VOLUMES)
        if item.get("resourceFieldRef") is not None:
            found.invalid(
                path, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"
            )
    elif item.get("resourceFieldRef") is not None:
        resource_ref_errors(found, f"{path}.resourceFieldRef", item["resourceFieldRef"], of_volume=True)
    else:
        found.required(path, "one of fieldRef and resourceFieldRef is required")
    mode_errors(found, f"{path}.mode", item.get("mode"))


def _projected(found: Findings, source: Object, spec: Object, path: str) -> None:
    mode_errors(found, f"{path}.defaultMode", source.get("defaultMode"))
    paths: set[str] = set()

    def claim(target: str) -> None:
        if target in paths:
            found.invalid(path, target, "conflicting duplicate paths")
        paths.add(target)

    for place, part in each(source, path, "sources"):
        kinds = 0
        for kind, inner in part.items():
            kinds += 1
            if kinds > 1:
                found.forbidden(f"{place}.{kind}", "may not specify more than 1 volume type")
                continue
            if kind in ("configMap", "secret"):
                found.needs(f"{place}.{kind}.name", inner.get("name"))
                _keys_and_mode(found, inner, f"{place}.{kind}")
                for item in inner.get("items") or ():
                    if item.get("path"):
                        claim(item["path"])
            elif kind == "downwardAPI":
                _downward_api(found, inner, f"{place}.{kind}")
                for item in inner.get("items") or ():
                    if item.get("path"):
                        claim(item["path"])
            elif kind == "serviceAccountToken":
                _token(found, inner, spec, path, f"{place}.{kind}")
            elif kind == "clusterTrustBundle":
                projected_bundle_errors(found, inner, f"{place}.{kind}")
                if found.needs(f"{place}.{kind}.path", inner.get("path")):
                    local_path_errors(found, f"{place}.{kind}.path", inner["path"], non_reserved=True)
                    claim(inner["path"])
            elif kind == "podCertificate":
                projected_certificate_errors(found, inner, f"{place}.{kind}")
                given = [name for name in _CERTIFICATE_PATHS if inner.get(name)]
                for name in given:
                    local_path_errors(found, f"{place}.{kind}.{name}", inner[name], non_reserved=True)
                    claim(inner[name])
                if not given:
                    found.required(f"{place}.{kind}", f"specify at least one of {_ANY_OF_THEM}")


def _token(found: Findings, token: Object, spec: Object, path: str, place: str) -> None:
    of_pod = path.startswith("spec.volumes")  # a template's pods get one when they are made
    if of_pod and not spec.get("serviceAccountName"):
        found.forbidden(place, "must not be specified when serviceAccountName is not set")
    seconds = token.get("expirationSeconds", 3600)
    if seconds < 600:
        found.invalid(
            f"{place}.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"
        )
    elif seconds > 2**32:
        found.invalid(
            f"{place}.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds"
        )
    if found.needs(f"{path}.path", token.get("path")):
        local_path_errors(found, f"{path}.path", token["path"], non_reserved=True)


_CHECKS: dict[str, Callable[[Findings, Object, str], None]] = {
    "emptyDir": _empty_dir,
    "hostPath": _host_path,
    "nfs": _nfs,
    "configMap": _config_map,
    "secret": _keys_and_mode,
    "downwardAPI": _downward_api,
}


# Paths and references


def no_backsteps(found: Findings, path: str, value: str) -> None:
    if ".." in value.split("/"):
        found.invalid(path, value, "must not contain '..'")


def local_path_errors(found: Findings, path: str, value: str, *, non_reserved: bool = False) -> None:
    """A path inside a volume."""
    if posixpath.isabs(value):
        found.invalid(path, value, "must be a relative path")
    no_backsteps(found, path, value)
    if non_reserved and value.startswith("..") and ".." not in value.split("/"):
        found.invalid(path, value, "must not start with '..'")


def field_ref_errors(found: Findings, path: str, ref: Object, allowed: tuple[str, ...]) -> None:
    """A reference to a field of the pod."""
    if not ref.get("apiVersion"):
        found.required(f"{path}.apiVersion")
        return
    field = ref.get("fieldPath", "")
    if not found.needs(f"{path}.fieldPath", field):
        return
    subscript = _SUBSCRIPTED.fullmatch(field)
    if subscript:
        if subscript.group(1) == "metadata.annotations":
            for text in names.label_key(subscript.group(2).lower()):
                found.invalid(path, subscript.group(2), text.replace("a valid label key", "a qualified name"))
        else:
            found.named(path, subscript.group(2), names.label_key)
    elif ref["apiVersion"] != "v1":
        found.invalid(
            f"{path}.fieldPath",
            field,
            f"error converting fieldPath: unsupported pod version: {ref['apiVersion']}",
        )
    elif field not in _POD_FIELDS:
        found.invalid(
            f"{path}.fieldPath", field, f"error converting fieldPath: field label not supported: {field}"
        )
    elif field not in allowed:
        found.unsupported(f"{path}.fieldPath", field, sorted(allowed))


def resource_ref_errors(found: Findings, path: str, ref: Object, *, of_volume: bool = False) -> None:
    """A reference to a container's limits or requests."""
    if of_volume and not ref.get("containerName"):
        found.required(f"{path}.containerName")
        return
    resource = ref.get("resource", "")
    huge = resource.startswith(("limits.hugepages-", "requests.hugepages-"))
    if found.needs(f"{path}.resource", resource) and resource not in RESOURCES and not huge:
        found.unsupported(f"{path}.resource", resource, RESOURCES)


def key_ref_errors(found: Findings, path: str, ref: Object) -> None:
    """A reference to a key of a ConfigMap or Secret."""
    found.named(f"{path}.name", ref.get("name", ""), names.dns1123_subdomain)
    if found.needs(f"{path}.key", ref.get("key")):
        found.named(f"{path}.key", ref["key"], config_key)
