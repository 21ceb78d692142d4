"""What is warned of in the spec of a pod, in a Pod or in a template.

Facts: k8s.io/kubernetes 1.37 pkg/api/pod/warnings.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slipway.cluster.registry.warnings import node_labels
from slipway.cluster.schema.quantity import parse_quantity

Object = dict[str, Any]
_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": 'non-functional in v1.16+; use the "priorityClassName" field instead',
    "security.alpha.kubernetes.io/sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
    "security.alpha.kubernetes.io/unsafe-sysctls": 'non-functional in v1.11+; use the "sysctls" field instead',
}
_VOLUMES = {
    "photonPersistentDisk": "deprecated in v1.11, non-functional in v1.16+",
    "gitRepo": "deprecated in v1.11, and disabled by default in v1.33+",
    "scaleIO": "deprecated in v1.16, non-functional in v1.22+",
    "flocker": "deprecated in v1.22, non-functional in v1.25+",
    "storageos": "deprecated in v1.22, non-functional in v1.25+",
    "quobyte": "deprecated in v1.22, non-functional in v1.25+",
    "glusterfs": "deprecated in v1.25, non-functional in v1.26+",
    "cephfs": "deprecated in v1.28, non-functional in v1.31+",
    "rbd": "deprecated in v1.28, non-functional in v1.31+",
}
_FILES = {"configMap": "ConfigMap", "secret": "Secret", "downwardAPI": "DownwardAPI"}
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")
_WHOLE = ("memory", "ephemeral-storage")
_NO_SELECTOR = "a null labelSelector results in matching no pod"
_AFFINITIES = ("podAffinity", "podAntiAffinity")


def pod_spec_warnings(pod: Object, path: str = "") -> list[str]:
    """Of a pod or a pod template that lies at `path` (`spec.template.`)."""
    spec, annotations = pod.get("spec") or {}, (pod.get("metadata") or {}).get("annotations") or {}
    found = node_labels.in_selector(spec.get("nodeSelector"), f"{path}spec.nodeSelector")
    found += _node_affinity(spec, path)
    for index, row in enumerate(spec.get("topologySpreadConstraints") or ()):
        place = f"{path}spec.topologySpreadConstraints[{index}]"
        key = row.get("topologyKey", "")
        if key in node_labels.deprecated():
            found.append(f"{place}.topologyKey: {key} is {node_labels.deprecated()[key]}")
        if row.get("labelSelector") is None:
            found.append(f"{place}.labelSelector: {_NO_SELECTOR}")
    found += [
        f"{path}metadata.annotations[{key}]: {why}" for key, why in _ANNOTATIONS.items() if key in annotations
    ]
    for index, volume in enumerate(spec.get("volumes") or ()):
        found += [
            f"{path}spec.volumes[{index}].{source}: {why}"
            for source, why in _VOLUMES.items()
            if source in volume
        ]
        found += _overlaps(volume)
    found += _duplicates(spec, "hostAliases", "ip", path) + _duplicates(
        spec, "imagePullSecrets", "name", path
    )
    for index, row in enumerate(spec.get("imagePullSecrets") or ()):
        if not row.get("name"):
            found.append(f'{path}spec.imagePullSecrets[{index}].name: invalid empty name ""')
    found += fractions(spec.get("overhead"), f"{path}spec.overhead", _WHOLE)
    for place, container in _containers(spec, path):
        for kind in ("limits", "requests"):
            resources = (container.get("resources") or {}).get(kind)
            found += fractions(resources, f"{place}.resources.{kind}", _WHOLE)
        found += _hidden_variables(container, place)
    found += _ports(spec, path)
    if (spec.get("terminationGracePeriodSeconds") or 0) < 0:
        why = "must be >= 0; negative values are invalid and will be treated as 1"
        found.append(f"{path}spec.terminationGracePeriodSeconds: {why}")
    return found + _pod_affinity(spec, path)


def fractions(quantities: Object | None, path: str, names: tuple[str, ...]) -> list[str]:
    """Of amounts of bytes that are not whole."""
    return [
        f'{path}[{name}]: fractional byte value "{quantities[name]}" is invalid, must be an integer'
        for name in names
        if quantities and name in quantities and parse_quantity(quantities[name]) % 1
    ]


def _containers(spec: Object, path: str) -> Iterator[tuple[str, Object]]:
    for kind in _CONTAINERS:
        for index, container in enumerate(spec.get(kind) or ()):
            yield f"{path}spec.{kind}[{index}]", container


def _node_affinity(spec: Object, path: str) -> list[str]:
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    place = f"{path}spec.affinity.nodeAffinity."
    required, preferred = (
        f"{kind}DuringSchedulingIgnoredDuringExecution" for kind in ("required", "preferred")
    )
    found: list[str] = []
    for index, term in enumerate((affinity.get(required) or {}).get("nodeSelectorTerms") or ()):
        found += node_labels.in_term(term, f"{place}{required}.nodeSelectorTerms[{index}]")
    for index, row in enumerate(affinity.get(preferred) or ()):
        found += node_labels.in_term(row.get("preference") or {}, f"{place}{preferred}[{index}].preference")
    return found


def _pod_affinity(spec: Object, path: str) -> list[str]:
    found = []
    for kind in _AFFINITIES:
        affinity = (spec.get("affinity") or {}).get(kind) or {}
        place = f"{path}spec.affinity.{kind}."
        for index, term in enumerate(affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ()):
            if term.get("labelSelector") is None:
                at = f"{place}requiredDuringSchedulingIgnoredDuringExecution[{index}].labelSelector"
                found.append(f"{at}: {_NO_SELECTOR}")
        for index, row in enumerate(affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()):
            if (row.get("podAffinityTerm") or {}).get("labelSelector") is None:
                at = f"{place}preferredDuringSchedulingIgnoredDuringExecution[{index}].podAffinityTerm.labelSelector"
                found.append(f"{at}: {_NO_SELECTOR}")
    return found


def _overlaps(volume: Object) -> list[str]:
    """Of keys that a volume puts in one place, or one below another."""
    for source, shown in _FILES.items():
        items = (volume.get(source) or {}).get("items") or ()
        paths = [str(item.get("path", "")).rstrip("/") for item in items]
        name = (volume.get(source) or {}).get("secretName" if source == "secret" else "name", "")
        described = f'{shown} "{name}"' if source != "downwardAPI" else shown
        overlapping = [
            f'volume "{volume.get("name", "")}" ({described}): overlapping paths: "{path}" with "{other}"'
            for index, path in enumerate(paths)
            for other in paths[:index]
            if path and (path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/"))
        ]
        if overlapping:
            return overlapping
    return []


def _duplicates(spec: Object, field: str, key: str, path: str) -> list[str]:
    seen: set[str] = set()
    found = []
    for index, row in enumerate(spec.get(field) or ()):
        value = row.get(key, "")
        if value in seen:
            found.append(f'{path}spec.{field}[{index}].{key}: duplicate {key} "{value}"')
        seen.add(value)
    return found


def _hidden_variables(container: Object, place: str) -> list[str]:
    """Of variables that are given again, other than by adding to what they were."""
    seen: set[str] = set()
    found = []
    for index, row in enumerate(container.get("env") or ()):
        name, value = row.get("name", ""), row.get("value", "")
        before = f"$({name})"
        if name in seen and (row.get("valueFrom") or value == before or before not in value):
            why = f'hides previous definition of "{name}", which may be dropped when using apply'
            found.append(f"{place}.env[{index}]: {why}")
        seen.add(name)
    return found


def _ports(spec: Object, path: str) -> list[str]:
    found, named = [], []
    numbers: dict[tuple[int, str], list[tuple[str, Object]]] = {}
    names: dict[str, str] = {}
    for place, container in _containers(spec, path):
        for index, port in enumerate(container.get("ports") or ()):
            at = f"{place}.ports[{index}]"
            others = numbers.setdefault((port.get("containerPort", 0), port.get("protocol", "TCP")), [])
            found += [
                f"{at}: {how} port definition with {where}"
                for where, other in others
                if (how := _clash(port, other))
            ]
            others.append((at, port))
            name = port.get("name")
            if name and name in names:
                first = names[name]
                why = f'duplicate port name "{name}" with {first}, services and probes that select ports by name will use'
                named.append(f"{at}: {why} {first}")
            elif name:
                names[name] = at
    return found + named


def _clash(port: Object, other: Object) -> str:
    """How two ports of the same number are at odds, empty when they are not."""
    address, other_address = port.get("hostIP", ""), other.get("hostIP", "")
    number, other_number = port.get("hostPort", 0), other.get("hostPort", 0)
    if (address, number) == (other_address, other_number):
        return "duplicate"
    if not number or not other_number:
        return "overlapping"
    if number == other_number and bool(address) != bool(other_address):
        return "dangerously ambiguous"
    return ""
