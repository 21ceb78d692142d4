"""Containers of a pod: names, ports, environment, mounts, resources, probes, life cycle, security.

Facts: `pkg/apis/core/validation/validation.go` of Kubernetes 1.37.
"""

from __future__ import annotations

import re
from typing import Any

from slipway.cluster.registry.validation.findings import Findings, each
from slipway.cluster.registry.validation.volumes import (
    field_ref_errors,
    key_ref_errors,
    local_path_errors,
    resource_ref_errors,
)
from slipway.cluster.schema import names
from slipway.cluster.schema.quantity import canonical, parse_quantity

Object = dict[str, Any]
PROTOCOLS = ("SCTP", "TCP", "UDP")
IDENTITY_RANGE = "must be between 0 and 2147483647, inclusive"
_FIELDS_FOR_VARIABLES = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_HEADER = re.compile("[-A-Za-z0-9]+")
_STANDARD_RESOURCES = frozenset({"cpu", "memory", "ephemeral-storage", "storage"})


def containers_errors(found: Findings, spec: Object, path: str, volumes: dict[str, Object]) -> None:
    """Check all containers of a pod's spec."""
    containers = spec.get("containers") or []
    if not containers:
        found.required(f"{path}.containers")
    taken: set[str] = set()
    for place, container in each(spec, path, "containers"):
        _container(found, container, place, volumes)
        _unique(found, container, place, taken)
        _life(found, container, place)
        _restart_policy(found, container, place)
    _host_ports(found, containers, f"{path}.containers")
    for place, container in each(spec, path, "initContainers"):
        _container(found, container, place, volumes)
        _init_container(found, container, place)
        _unique(found, container, place, taken)
        _host_ports(found, [container], f"{path}.initContainers")
    for place, container in each(spec, path, "ephemeralContainers"):
        _ephemeral_container(found, container, place, volumes)
        _unique(found, container, place, taken)


def _unique(found: Findings, container: Object, path: str, taken: set[str]) -> None:
    name = container.get("name", "")
    if name in taken:
        found.duplicate(f"{path}.name", name)
    taken.add(name)


def _container(found: Findings, container: Object, path: str, volumes: dict[str, Object]) -> None:
    if found.needs(f"{path}.name", container.get("name")):
        found.named(f"{path}.name", container["name"], names.dns1123_label)
    found.needs(f"{path}.image", container.get("image"))
    found.chosen(
        f"{path}.terminationMessagePolicy",
        container.get("terminationMessagePolicy"),
        ("File", "FallbackToLogsOnError"),
    )
    _ports(found, container, path)
    variables_errors(found, container, path)
    _mounts(found, container, path, volumes)
    found.chosen(
        f"{path}.imagePullPolicy", container.get("imagePullPolicy"), ("Always", "IfNotPresent", "Never")
    )
    resources_errors(found, container.get("resources") or {}, f"{path}.resources")
    for place, policy in each(container, path, "resizePolicy"):
        found.chosen(
            f"{place}.resourceName",
            policy.get("resourceName"),
            ("cpu", "memory"),
        )
        found.chosen(
            f"{place}.restartPolicy", policy.get("restartPolicy"), ("NotRequired", "RestartContainer")
        )
    _security(found, container.get("securityContext"), f"{path}.securityContext")


def _ports(found: Findings, container: Object, path: str) -> None:
    taken: set[str] = set()
    for place, port in each(container, path, "ports"):
        name = port.get("name")
        if name:
            before = len(found.errors)
            found.port_or_name(f"{place}.name", name)
            if len(found.errors) == before:
                if name in taken:
                    found.duplicate(f"{place}.name", name)
                taken.add(name)
        if port.get("containerPort"):
            found.port(f"{place}.containerPort", port["containerPort"])
        else:
            found.required(f"{place}.containerPort")
        if port.get("hostPort"):
            found.port(f"{place}.hostPort", port["hostPort"])
        found.chosen(f"{place}.protocol", port.get("protocol"), PROTOCOLS)


def _host_ports(found: Findings, containers: list[Object], path: str) -> None:
    taken: set[str] = set()
    for index, container in enumerate(containers):
        for number, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            text = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if text in taken:
                found.duplicate(f"{path}[{index}].ports[{number}].hostPort", text)
            taken.add(text)


def _variable_name(value: str) -> list[str]:
    if not value:
        return ["environment variable name must be at least 1 characters"]
    return [
        text
        for bad, text in (
            (
                not all(" " <= c <= "~" and c != "=" for c in value),
                'a valid environment variable name must consist only of printable ASCII characters other than "="',
            ),
        )
        if bad
    ]


def variables_errors(found: Findings, container: Object, path: str) -> None:
    for place, variable in each(container, path, "env"):
        if found.needs(f"{place}.name", variable.get("name")):
            found.named(f"{place}.name", variable["name"], _variable_name)
        if variable.get("valueFrom") is not None:
            _value_from(found, variable, f"{place}.valueFrom")
    for place, source in each(container, path, "envFrom"):
        if source.get("prefix"):
            found.named(f"{place}.prefix", source["prefix"], _variable_name)
        given = [kind for kind in ("configMapRef", "secretRef") if source.get(kind) is not None]
        for kind in given:
            if found.needs(f"{place}.{kind}.name", source[kind].get("name")):
                found.named(f"{place}.{kind}.name", source[kind]["name"], names.dns1123_subdomain)
        if not given:
            found.invalid(f"{path}.envFrom", "", "must specify one of: `configMapRef` or `secretRef`")
        elif len(given) > 1:
            found.invalid(f"{path}.envFrom", "", "may not have more than one field specified at a time")


def _value_from(found: Findings, variable: Object, path: str) -> None:
    source = variable["valueFrom"]
    if source.get("fieldRef") is not None:
        field_ref_errors(found, f"{path}.fieldRef", source["fieldRef"], _FIELDS_FOR_VARIABLES)
    if source.get("resourceFieldRef") is not None:
        resource_ref_errors(found, f"{path}.resourceFieldRef", source["resourceFieldRef"])
    for kind in ("configMapKeyRef", "secretKeyRef"):
        if source.get(kind) is not None:
            key_ref_errors(found, f"{path}.{kind}", source[kind])
    if not source:
        found.invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        )
    elif variable.get("value"):
        found.invalid(path, "", "may not be specified when `value` is not empty")
    elif len(source) > 1:
        found.invalid(path, "", "may not have more than one field specified at a time")


def _mounts(found: Findings, container: Object, path: str, volumes: dict[str, Object]) -> None:
    taken: set[str] = set()
    devices = container.get("volumeDevices") or []
    for place, mount in each(container, path, "volumeMounts"):
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        found.needs(f"{place}.name", name)
        if name not in volumes:
            found.not_found(f"{place}.name", name)
        found.needs(f"{place}.mountPath", target)
        if target in taken:
            found.invalid(f"{place}.mountPath", target, "must be unique")
        taken.add(target)
        if any(device.get("name") == name for device in devices):
            found.invalid(f"{place}.name", name, "must not already exist in volumeDevices")
        for kind in ("subPath", "subPathExpr"):
            if mount.get(kind):
                local_path_errors(found, f"{path}.volumeMounts.{kind}", mount[kind])
        if mount.get("subPath") and mount.get("subPathExpr"):
            found.invalid(
                f"{place}.subPathExpr", mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive"
            )
        if mount.get("mountPropagation") is not None:
            found.one_of(
                f"{path}.volumeMounts.mountPropagation",
                mount["mountPropagation"],
                ("Bidirectional", "HostToContainer", "None"),
            )
    for place, device in each(container, path, "volumeDevices"):
        found.needs(f"{place}.name", device.get("name"))
        found.needs(f"{place}.devicePath", device.get("devicePath"))
        if device.get("name") and device["name"] not in volumes:
            found.not_found(f"{place}.name", device["name"])


def resource_name_errors(found: Findings, path: str, name: str) -> None:
    for text in names.label_key(name):
        found.invalid(path, name, text.replace("a valid label key", "a qualified name"))
    if "/" not in name and name not in _STANDARD_RESOURCES and not name.startswith("hugepages-"):
        found.invalid(path, name, "must be a standard resource for containers")


def _overcommits(name: str) -> bool:
    return ("/" not in name or "kubernetes.io/" in name) and not name.startswith("hugepages-")


def resources_errors(found: Findings, resources: Object, path: str) -> None:
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    for group, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            place = f"{path}.{group}[{name}]"
            resource_name_errors(found, place, name)
            found.quantity(place, amount)
    for name, amount in requests.items():
        if name in limits:
            limit = limits[name]
            if parse_quantity(amount) != parse_quantity(limit) and not _overcommits(name):
                found.invalid(
                    f"{path}.requests", amount, f"must be equal to {name} limit of {canonical(limit)}"
                )
            elif parse_quantity(amount) > parse_quantity(limit):
                found.invalid(
                    f"{path}.requests",
                    amount,
                    f"must be less than or equal to {name} limit of {canonical(limit)}",
                )
        elif not _overcommits(name):
            found.required(f"{path}.limits", "Limit must be set for non overcommitable resources")


def _handler(found: Findings, handler: Object, path: str, kinds: tuple[str, ...]) -> None:
    given = [kind for kind in kinds if handler.get(kind) is not None]
    for kind in given[1:]:
        found.forbidden(f"{path}.{kind}", "may not specify more than 1 handler type")
    if not given:
        found.required(path, "must specify a handler type")
        return
    kind, action = given[0], handler[given[0]]
    place = f"{path}.{kind}"
    if kind == "exec":
        found.needs(f"{place}.command", action.get("command"))
    elif kind == "httpGet":
        found.needs(f"{place}.path", action.get("path"))
        found.port_or_name(f"{place}.port", action.get("port", 0))
        found.one_of(f"{place}.scheme", action.get("scheme"), ("HTTP", "HTTPS"))
        for header in action.get("httpHeaders") or ():
            name = header.get("name", "")
            if not _HEADER.fullmatch(name):
                found.invalid(
                    f"{place}.httpHeaders",
                    name,
                    names.mismatch(
                        "a valid HTTP header must consist of alphanumeric characters or '-'",
                        "[-A-Za-z0-9]+",
                        "X-Header-Name",
                    ).replace("',  regex", "', regex"),
                )
    elif kind == "tcpSocket":
        found.port_or_name(f"{place}.port", action.get("port", 0))
    elif kind == "grpc":
        found.port(f"{place}.port", action.get("port", 0))
    elif kind == "sleep" and action.get("seconds", 0) < 0:
        found.invalid(f"{place}.seconds", action["seconds"], "must be greater than or equal to 0")


_PROBES = ("exec", "httpGet", "tcpSocket", "grpc")
_HOOKS = ("exec", "httpGet", "tcpSocket", "sleep")


def _life(found: Findings, container: Object, path: str) -> None:
    lifecycle = container.get("lifecycle") or {}
    for hook in ("postStart", "preStop"):
        if lifecycle.get(hook) is not None:
            _handler(found, lifecycle[hook], f"{path}.lifecycle.{hook}", _HOOKS)
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(name)
        if probe is None:
            continue
        place = f"{path}.{name}"
        _handler(found, probe, place, _PROBES)
        for number in (
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ):
            found.not_negative(f"{place}.{number}", probe.get(number))
        if name != "readinessProbe" and probe.get("successThreshold", 1) != 1:
            found.invalid(f"{place}.successThreshold", probe["successThreshold"], "must be 1")
        grace = probe.get("terminationGracePeriodSeconds")
        if grace is not None:
            if name == "readinessProbe":
                found.invalid(
                    f"{place}.terminationGracePeriodSeconds", grace, "must not be set for readinessProbes"
                )
            found.positive(f"{place}.terminationGracePeriodSeconds", grace)


def _restart_policy(found: Findings, container: Object, path: str) -> None:
    if container.get("restartPolicy") is not None:
        found.one_of(f"{path}.restartPolicy", container["restartPolicy"], ("Always", "Never", "OnFailure"))


def _init_container(found: Findings, container: Object, path: str) -> None:
    _restart_policy(found, container, path)
    if container.get("restartPolicy") == "Always":
        _life(found, container, path)
        return
    for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(name) is not None:
            found.forbidden(
                f"{path}.{name}", "may not be set for init containers without restartPolicy=Always"
            )


def _ephemeral_container(found: Findings, container: Object, path: str, volumes: dict[str, Object]) -> None:
    if found.needs(f"{path}.name", container.get("name")):
        found.named(f"{path}.name", container["name"], names.dns1123_label)
    found.needs(f"{path}.image", container.get("image"))
    variables_errors(found, container, path)
    _mounts(found, container, path, volumes)
    for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe", "ports"):
        if container.get(name):
            found.forbidden(f"{path}.{name}", "cannot be set for an Ephemeral Container")
    if container.get("resources"):
        found.forbidden(f"{path}.resources", "cannot be set for an Ephemeral Container")


def _security(found: Findings, context: Object | None, path: str) -> None:
    if context is None:
        return
    for name in ("runAsUser", "runAsGroup"):
        identity_errors(found, f"{path}.{name}", context.get(name))
    if context.get("procMount") is not None:
        found.one_of(f"{path}.procMount", context["procMount"], ("Default", "Unmasked"))
    if context.get("allowPrivilegeEscalation") is False:
        if context.get("privileged"):
            found.invalid(
                path, context, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            )
        if "CAP_SYS_ADMIN" in ((context.get("capabilities") or {}).get("add") or ()):
            found.invalid(
                path,
                context,
                "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
            )
    seccomp_errors(found, context.get("seccompProfile"), f"{path}.seccompProfile")


def identity_errors(found: Findings, path: str, value: Any) -> None:
    """A user or group id."""
    if value is not None and not 0 <= value <= 2147483647:
        found.invalid(path, value, IDENTITY_RANGE)


def seccomp_errors(found: Findings, profile: Object | None, path: str) -> None:
    if profile is None:
        return
    kind = profile.get("type", "")
    if not found.needs(f"{path}.type", kind, "type is required when seccompProfile is set"):
        return
    found.one_of(f"{path}.type", kind, ("Localhost", "RuntimeDefault", "Unconfined"))
    if kind == "Localhost":
        if profile.get("localhostProfile"):
            local_path_errors(found, f"{path}.localhostProfile", profile["localhostProfile"])
        else:
            found.required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost")
    elif profile.get("localhostProfile") is not None:
        found.invalid(
            f"{path}.localhostProfile",
            profile["localhostProfile"],
            "can only be set when seccomp type is Localhost",
        )
