"""Which fields of a pod a runtime does not heed: said in an Event of the pod, rather than left for its user to find."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

Object = dict[str, Any]

# What no runtime here does, by the names that `_asked` gives.
BY_ALL = frozenset(
    {
        "hostUsers",
        "securityContext.appArmorProfile",
        "securityContext.seLinuxOptions",
        "securityContext.seccompProfile",
        "securityContext.supplementalGroupsPolicy",
        "containers.securityContext.appArmorProfile",
        "containers.securityContext.procMount",
        "containers.securityContext.seLinuxOptions",
        "containers.securityContext.seccompProfile",
        "containers.volumeDevices",
        "containers.volumeMounts.mountPropagation",
        "containers.volumeMounts.recursiveReadOnly",
    }
)
# In a user namespace that has one user and one group.
WITHOUT_ROOT = BY_ALL | {
    "securityContext.fsGroup",
    "securityContext.supplementalGroups",
    "containers.securityContext.privileged",
}
# Where a container is a process like any other of its user.
AS_PROCESSES = BY_ALL | {
    "dnsConfig",
    "dnsPolicy",
    "hostAliases",
    "hostname",
    "setHostnameAsFQDN",
    "shareProcessNamespace",
    "subdomain",
    "securityContext.sysctls",
    "containers.resources.limits.memory",
    "containers.securityContext.allowPrivilegeEscalation",
    "containers.securityContext.capabilities",
    "containers.securityContext.privileged",
    "containers.securityContext.readOnlyRootFilesystem",
    "volumes.emptyDir.medium",
}
USERS = {"securityContext.runAsUser", "securityContext.runAsGroup", "securityContext.fsGroup"}
AS_PROCESSES_WITHOUT_ROOT = (
    AS_PROCESSES
    | USERS
    | {"securityContext.supplementalGroups"}
    | {f"containers.{name}" for name in USERS if not name.endswith("fsGroup")}
)

# Values that ask for nothing beyond what there is.
_NOTHING: dict[str, tuple[object, ...]] = {
    "dnsPolicy": ("ClusterFirst", "ClusterFirstWithHostNet", "Default"),
    "hostUsers": (True,),
    "allowPrivilegeEscalation": (True,),
    "appArmorProfile": ({"type": "RuntimeDefault"}, {"type": "Unconfined"}),
    "procMount": ("Default",),
    "seccompProfile": ({"type": "RuntimeDefault"}, {"type": "Unconfined"}),
    "supplementalGroupsPolicy": ("Merge",),
    "mountPropagation": ("None",),
    "recursiveReadOnly": ("Disabled", "IfPossible"),
}
_MEANT_WHEN_FALSE = ("hostUsers", "allowPrivilegeEscalation")


def ignored_fields(pod: Object, ignores: Collection[str]) -> list[str]:
    """The paths of what the pod asks for and does not get."""
    return [path for name, path in _asked(pod["spec"]) if name in ignores]


def _asked(spec: Object) -> Iterator[tuple[str, str]]:
    """Each field that asks for something: by a name without the containers' own, and its path."""
    yield from _fields(spec, "", "spec.")
    yield from _fields(spec.get("securityContext") or {}, "securityContext.", "spec.securityContext.")
    for group in ("initContainers", "containers", "ephemeralContainers"):
        for row in spec.get(group) or ():
            place = f"spec.{group}{{{row['name']}}}."
            yield from _fields(row, "containers.", place)
            security = row.get("securityContext") or {}
            yield from _fields(security, "containers.securityContext.", f"{place}securityContext.")
            limits = (row.get("resources") or {}).get("limits") or {}
            yield from _fields(limits, "containers.resources.limits.", f"{place}resources.limits.")
            for mount in row.get("volumeMounts") or ():
                yield from _fields(
                    mount, "containers.volumeMounts.", f"{place}volumeMounts{{{mount['name']}}}."
                )
    for volume in spec.get("volumes") or ():
        words = volume.get("emptyDir") or {}
        yield from _fields(words, "volumes.emptyDir.", f"spec.volumes{{{volume['name']}}}.emptyDir.")


def _fields(words: Object, name: str, path: str) -> Iterator[tuple[str, str]]:
    for field, value in words.items():
        asks = value is not None and value is not False and value not in ({}, [], "")
        if (asks or (value is False and field in _MEANT_WHEN_FALSE)) and value not in _NOTHING.get(field, ()):
            yield name + field, path + field
