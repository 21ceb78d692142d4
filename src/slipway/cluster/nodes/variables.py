"""The environment of a container: from its spec, config maps, secrets, the pod itself and the Services beside it."""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from slipway.cluster.schema.quantity import parse_quantity

Object = dict[str, Any]
Fetch = Callable[[str, str], Awaitable[Object | None]]  # kind ("configmaps" or "secrets") and name in
_REFERENCE = re.compile(r"\$(\$|\(([-._a-zA-Z][-._a-zA-Z0-9]*)\))")
_NAME = re.compile(r"^[-._a-zA-Z][-._a-zA-Z0-9]*$")


def field_text(value: Any) -> str:
    """A field's value as the downward API shows it."""
    return "" if value is None else str(value)


class VariableFailure(Exception):
    """A source of variables is missing: the container waits with CreateContainerConfigError."""


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`$(NAME)` replaced where NAME is known; `$$` is a literal `$`, unknown references stay."""

    def replace(found: re.Match[str]) -> str:
        if found.group(1) == "$":
            return "$"
        return variables.get(found.group(2), found.group(0))

    return _REFERENCE.sub(replace, text)


def decoded(obj: Object, kind: str) -> dict[str, bytes]:
    """The data of a ConfigMap or Secret as bytes by key."""
    if kind == "secrets":
        return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
    data = {key: str(value).encode() for key, value in (obj.get("data") or {}).items()}
    data.update({key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()})
    return data


def pod_field(pod: Object, path: str) -> str:
    """The text of a downward-API `fieldPath`; VariableFailure for one that there is not."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status") or {}
    subscript = re.match(r"^metadata\.(labels|annotations)\['(.*)'\]$", path)
    if subscript:
        return field_text((metadata.get(subscript.group(1)) or {}).get(subscript.group(2)))
    if path in {"metadata.labels", "metadata.annotations"}:
        pairs = sorted((metadata.get(path.rpartition(".")[2]) or {}).items())
        return "\n".join(f'{key}="{_escaped(value)}"' for key, value in pairs)
    values = {
        "metadata.name": metadata.get("name"),
        "metadata.namespace": metadata.get("namespace"),
        "metadata.uid": metadata.get("uid"),
        "spec.nodeName": spec.get("nodeName"),
        "spec.serviceAccountName": spec.get("serviceAccountName"),
        "status.hostIP": status.get("hostIP"),
        "status.hostIPs": ",".join(one["ip"] for one in status.get("hostIPs") or []),
        "status.podIP": status.get("podIP"),
        "status.podIPs": ",".join(one["ip"] for one in status.get("podIPs") or []),
    }
    if path not in values:
        raise VariableFailure(f"unsupported fieldPath: {path}")
    return field_text(values[path])


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resource_field(pod: Object, container: Object, reference: Object, allocatable: Mapping[str, str]) -> str:
    """The number of a `resourceFieldRef`, divided and rounded up."""
    name = reference.get("containerName")
    if name:
        containers = [*(pod["spec"].get("containers") or []), *(pod["spec"].get("initContainers") or [])]
        container = next((c for c in containers if c["name"] == name), container)
    kind, _, resource = str(reference["resource"]).partition(".")
    resources = container.get("resources") or {}
    amount = (resources.get(kind) or {}).get(resource)
    if amount is None and kind == "limits":
        amount = allocatable.get(resource)
    value = parse_quantity(amount or "0")
    divisor = parse_quantity(reference.get("divisor") or "1") or parse_quantity("1")
    return str(-int(-value // divisor))


async def build(
    pod: Object, container: Object, fetch: Fetch, services: Iterable[Object], allocatable: Mapping[str, str]
) -> dict[str, str]:
    """All variables of a container, later sources winning, in the kubelet's order."""
    variables: dict[str, str] = {}
    if pod["spec"].get("enableServiceLinks", True):
        variables.update(service_variables(services, pod["metadata"]["namespace"]))
    else:
        variables.update(service_variables((s for s in services if _is_kubernetes(s)), "default"))
    for source in container.get("envFrom") or []:
        variables.update(await _from_source(source, fetch))
    for entry in container.get("env") or []:
        value = await _value(entry, pod, container, fetch, variables, allocatable)
        if value is not None:
            variables[entry["name"]] = value
    return variables


def _is_kubernetes(service: Object) -> bool:
    metadata = service["metadata"]
    return (metadata["namespace"], metadata["name"]) == ("default", "kubernetes")


async def _from_source(source: Object, fetch: Fetch) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    for field, kind in (("configMapRef", "configmaps"), ("secretRef", "secrets")):
        reference = source.get(field)
        if reference is None:
            continue
        found = await fetch(kind, reference["name"])
        if found is None:
            if reference.get("optional"):
                return {}
            raise VariableFailure(f'{kind[:-1]} "{reference["name"]}" not found')
        return {
            prefix + key: value.decode(errors="replace")
            for key, value in decoded(found, kind).items()
            if _NAME.match(prefix + key)
        }
    return {}


async def _value(
    entry: Object,
    pod: Object,
    container: Object,
    fetch: Fetch,
    known: Mapping[str, str],
    allocatable: Mapping[str, str],
) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return expand(str(entry.get("value") or ""), known)
    if "fieldRef" in source:
        return pod_field(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return resource_field(pod, container, source["resourceFieldRef"], allocatable)
    for field, kind in (("configMapKeyRef", "configmaps"), ("secretKeyRef", "secrets")):
        reference = source.get(field)
        if reference is None:
            continue
        found = await fetch(kind, reference["name"])
        data = decoded(found, kind) if found is not None else {}
        if reference["key"] in data:
            return data[reference["key"]].decode(errors="replace")
        if reference.get("optional"):
            return None
        if found is None:
            raise VariableFailure(f'{kind[:-1]} "{reference["name"]}" not found')
        shown = "ConfigMap" if kind == "configmaps" else "Secret"
        where = f"{pod['metadata']['namespace']}/{reference['name']}"
        raise VariableFailure(f"couldn't find key {reference['key']} in {shown} {where}")
    return None


def service_variables(services: Iterable[Object], namespace: str) -> dict[str, str]:
    """`NAME_SERVICE_HOST` and the older Docker-link variables, for the pod's namespace and `kubernetes`."""
    variables: dict[str, str] = {}
    for service in services:
        metadata, spec = service["metadata"], service.get("spec") or {}
        address = spec.get("clusterIP")
        if not address or address == "None":
            continue
        if metadata["namespace"] != namespace and not _is_kubernetes(service):
            continue
        name = metadata["name"].upper().replace("-", "_")
        ports = spec.get("ports") or []
        if not ports:
            continue
        variables[f"{name}_SERVICE_HOST"] = address
        variables[f"{name}_SERVICE_PORT"] = str(ports[0]["port"])
        first = ports[0]
        protocol = (first.get("protocol") or "TCP").lower()
        variables[f"{name}_PORT"] = f"{protocol}://{address}:{first['port']}"
        for port in ports:
            if port.get("name"):
                label = port["name"].upper().replace("-", "_")
                variables[f"{name}_SERVICE_PORT_{label}"] = str(port["port"])
            kind = (port.get("protocol") or "TCP").upper()
            prefix = f"{name}_PORT_{port['port']}_{kind}"
            variables[prefix] = f"{kind.lower()}://{address}:{port['port']}"
            variables[f"{prefix}_PROTO"] = kind.lower()
            variables[f"{prefix}_PORT"] = str(port["port"])
            variables[f"{prefix}_ADDR"] = address
    return variables
