"""A container's environment and command line: env, envFrom, downward fields, Service variables, $(NAME) expansion."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from slipway.cluster.client.quantities import parse_quantity

Object = dict[str, Any]
# Reads a ConfigMap or Secret of the pod's namespace: (kind, name) -> object, None when it does not exist.
Lookup = Callable[[str, str], Awaitable[Object | None]]

_REFERENCE = re.compile(r"\$(\$|\(([^()]*)\))?")
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")
_SERVICE_NAME = re.compile(r"[^A-Z0-9_]")


class ConfigError(Exception):
    """A reference cannot be resolved: CreateContainerConfigError's message."""


def expand(text: str, env: Mapping[str, str]) -> str:
    """$(NAME) replaced where NAME is known and left where not; $$ is one dollar sign."""

    def replace(found: re.Match[str]) -> str:
        if found[1] is None:
            return "$"
        if found[1] == "$":
            return "$"
        return env.get(found[2], found[0])

    return _REFERENCE.sub(replace, text)


def expand_all(words: Sequence[str], env: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(expand(word, env) for word in words)


def command_line(
    container: Object, entrypoint: Sequence[str], command: Sequence[str], env: Mapping[str, str]
) -> tuple[str, ...]:
    """The pod's command and args over the image's entrypoint and command, by Kubernetes' rules."""
    own, args = container.get("command") or (), container.get("args") or ()
    if own:
        return expand_all([*own, *args], env)
    if args:
        return (*entrypoint, *expand_all(args, env))
    return (*entrypoint, *command)


async def environment(
    pod: Object,
    container: Object,
    lookup: Lookup,
    services: Iterable[Object],
    status: Object,
    allocatable: Mapping[str, str],
) -> dict[str, str]:
    """What the pod asks for; `status` is the pod's newest one. ConfigError for what cannot be resolved."""
    env = service_variables(services, pod)
    for source in container.get("envFrom") or ():
        env.update(await _from_source(source, lookup))
    for row in container.get("env") or ():
        value = await _value(row, pod, container, lookup, status, allocatable)
        if value is not None:
            env[row["name"]] = expand(value, env) if "value" in row else value
    return env


async def _from_source(source: Object, lookup: Lookup) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
        reference = source.get(field)
        if reference is None:
            continue
        found = await lookup(kind, reference["name"])
        if found is None:
            if reference.get("optional"):
                return {}
            raise ConfigError(f'{kind.lower()} "{reference["name"]}" not found')
        return {prefix + name: text for name, text in text_data(kind, found).items()}
    return {}


def text_data(kind: str, obj: Object) -> dict[str, str]:
    """The data of a ConfigMap, or of a Secret decoded, as text."""
    if kind == "ConfigMap":
        return dict(obj.get("data") or {})
    return {
        name: base64.b64decode(value).decode(errors="surrogateescape")
        for name, value in (obj.get("data") or {}).items()
    }


async def _value(
    row: Object,
    pod: Object,
    container: Object,
    lookup: Lookup,
    status: Object,
    allocatable: Mapping[str, str],
) -> str | None:
    source = row.get("valueFrom")
    if source is None:
        return str(row.get("value") or "")
    for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        reference = source.get(field)
        if reference is not None:
            return await _key(kind, reference, lookup, pod)
    if source.get("fieldRef"):
        return field_value(pod, source["fieldRef"]["fieldPath"], status)
    if source.get("resourceFieldRef"):
        return resource_value(pod, source["resourceFieldRef"], container, allocatable)
    return ""


async def _key(kind: str, reference: Object, lookup: Lookup, pod: Object) -> str | None:
    name, key = reference["name"], reference["key"]
    found = await lookup(kind, name)
    if found is None:
        if reference.get("optional"):
            return None
        raise ConfigError(f'{kind.lower()} "{name}" not found')
    data = text_data(kind, found)
    if key not in data:
        if reference.get("optional"):
            return None
        namespace = pod["metadata"]["namespace"]
        raise ConfigError(f"couldn't find key {key} in {kind} {namespace}/{name}")
    return data[key]


def field_value(pod: Object, path: str, status: Object | None = None) -> str:
    """A downward API field as text; ConfigError for one that is not offered."""
    metadata, spec = pod["metadata"], pod["spec"]
    status = status if status is not None else pod.get("status") or {}
    found = _SUBSCRIPT.fullmatch(path)
    if found:
        return str((metadata.get(found[1]) or {}).get(found[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        rows = metadata.get(path.partition(".")[2]) or {}
        return "\n".join(f"{key}={_quoted(value)}" for key, value in sorted(rows.items()))
    values = {
        "metadata.name": metadata.get("name"),
        "metadata.namespace": metadata.get("namespace"),
        "metadata.uid": metadata.get("uid"),
        "spec.nodeName": spec.get("nodeName"),
        "spec.serviceAccountName": spec.get("serviceAccountName"),
        "status.hostIP": status.get("hostIP"),
        "status.hostIPs": ",".join(row["ip"] for row in status.get("hostIPs") or ()),
        "status.podIP": status.get("podIP"),
        "status.podIPs": ",".join(row["ip"] for row in status.get("podIPs") or ()),
    }
    if path not in values:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(values[path] or "")


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'


def resource_value(
    pod: Object, reference: Object, container: Object | None, allocatable: Mapping[str, str]
) -> str:
    """requests.* or limits.* of a container in units of `divisor`, rounded up; a missing limit is the node's."""
    wanted = reference.get("containerName") or (container or {}).get("name")
    rows = [*(pod["spec"].get("containers") or ()), *(pod["spec"].get("initContainers") or ())]
    found = next((row for row in rows if row["name"] == wanted), container or {})
    group, _, resource = reference["resource"].partition(".")
    resources = found.get("resources") or {}
    value = (resources.get(group) or {}).get(resource)
    if value is None and group == "limits":
        value = allocatable.get(resource)
    if value is None and group == "requests":
        value = (resources.get("limits") or {}).get(resource)
    divisor = parse_quantity(reference.get("divisor") or "1")
    return str(math.ceil(parse_quantity(value or 0) / (divisor or 1)))


def service_variables(services: Iterable[Object], pod: Object) -> dict[str, str]:
    """Docker-style variables of the Services of the pod's namespace, and of `kubernetes` always."""
    env: dict[str, str] = {}
    namespace = pod["metadata"]["namespace"]
    links = pod["spec"].get("enableServiceLinks", True)
    for service in services:
        metadata, spec = service["metadata"], service["spec"]
        address = spec.get("clusterIP")
        if not address or address == "None" or not spec.get("ports"):
            continue
        master = metadata["namespace"] == "default" and metadata["name"] == "kubernetes"
        if master or (links and metadata["namespace"] == namespace):
            env.update(_variables(metadata["name"], address, spec["ports"]))
    return env


def _variables(name: str, address: str, ports: Sequence[Object]) -> dict[str, str]:
    prefix = _SERVICE_NAME.sub("_", name.upper())
    first = ports[0]
    env = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(first["port"])}
    for port in ports:
        if port.get("name"):
            word = _SERVICE_NAME.sub("_", port["name"].upper())
            env[f"{prefix}_SERVICE_PORT_{word}"] = str(port["port"])
    for number, port in enumerate(ports):
        protocol = (port.get("protocol") or "TCP").lower()
        url = f"{protocol}://{address}:{port['port']}"
        if number == 0:
            env[f"{prefix}_PORT"] = url
        stem = f"{prefix}_PORT_{port['port']}_{protocol.upper()}"
        env |= {
            stem: url,
            f"{stem}_PROTO": protocol,
            f"{stem}_PORT": str(port["port"]),
            f"{stem}_ADDR": address,
        }
    return env
