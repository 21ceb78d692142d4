"""Ingresses, IngressClasses, NetworkPolicies.

Facts: `pkg/apis/networking/validation` of Kubernetes 1.37.
"""

from __future__ import annotations

import re
from typing import Any

from slipway.cluster.registry.validation.addresses import (
    network_errors,
    parse_address,
    parse_network,
)
from slipway.cluster.registry.validation.findings import Findings, each, port_name
from slipway.cluster.registry.validation.selectors import label_selector_errors
from slipway.cluster.schema import names

Object = dict[str, Any]
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_SUFFIXES = ("/..", "/.")


def ingress_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    if not spec.get("rules") and spec.get("defaultBackend") is None:
        found.invalid("spec", obj.get("spec") or None, "either `defaultBackend` or `rules` must be specified")
    if spec.get("defaultBackend") is not None:
        _backend(found, spec["defaultBackend"], "spec.defaultBackend")
    for place, rule in each(spec, "spec", "rules"):
        host = rule.get("host", "")
        if host:
            if _is_address(host):
                found.invalid(f"{place}.host", host, "must be a DNS name, not an IP address")
            else:
                _host(found, f"{place}.host", host)
        if rule.get("http") is not None:
            _paths(found, rule["http"], f"{place}.http")
    for place, tls in each(spec, "spec", "tls"):
        for index, host in enumerate(tls.get("hosts") or ()):
            _host(found, f"{place}.hosts[{index}]", host)
        if tls.get("secretName"):
            found.named(f"{place}.secretName", tls["secretName"], names.dns1123_subdomain)
    if spec.get("ingressClassName") is not None:
        found.named("spec.ingressClassName", spec["ingressClassName"], names.dns1123_subdomain)


def _is_address(host: str) -> bool:
    return parse_address(host) is not None


_WILDCARD = r"\*\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"


def _host(found: Findings, path: str, host: str) -> None:
    if "*" not in host:
        found.named(path, host, names.dns1123_subdomain)
        return
    if len(host) > 253:
        found.invalid(path, host, names.too_long(253))
    if not re.fullmatch(_WILDCARD, host):
        text = (
            "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist "
            "of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
        )
        found.invalid(path, host, names.mismatch(text, _WILDCARD, "*.example.com"))


def _paths(found: Findings, http: Object, path: str) -> None:
    if not http.get("paths"):
        found.required(f"{path}.paths")
    for place, item in each(http, path, "paths"):
        kind, value = item.get("pathType"), item.get("path", "")
        if kind is None:
            found.required(f"{place}.pathType", "pathType must be specified")
        elif kind in ("Exact", "Prefix"):
            if not value.startswith("/"):
                found.invalid(f"{place}.path", value, "must be an absolute path")
            if value:
                for bad in _BAD_SEQUENCES:
                    if bad in value:
                        found.invalid(f"{place}.path", value, f"must not contain '{bad}'")
                for bad in _BAD_SUFFIXES:
                    if value.endswith(bad):
                        found.invalid(f"{place}.path", value, f"cannot end with '{bad}'")
        elif kind == "ImplementationSpecific":
            if value and not value.startswith("/"):
                found.invalid(f"{place}.path", value, "must be an absolute path")
        else:
            found.unsupported(f"{place}.pathType", kind, ("Exact", "ImplementationSpecific", "Prefix"))
        if kind is not None:
            _backend(found, item.get("backend") or {}, f"{place}.backend")


def _backend(found: Findings, backend: Object, path: str) -> None:
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        found.invalid(path, "", "cannot set both resource and service backends")
    elif resource is not None:
        _local_reference(found, resource, f"{path}.resource")
    elif service is not None:
        if found.needs(f"{path}.service.name", service.get("name")):
            found.named(f"{path}.service.name", service["name"], names.dns1123_label)
        port = service.get("port") or {}
        if port.get("name") and port.get("number"):
            found.invalid(path, "", "cannot set both port name & port number")
        elif port.get("name"):
            found.named(f"{path}.service.port.name", port["name"], port_name)
        elif port.get("number"):
            found.port(f"{path}.service.port.number", port["number"])
        else:
            found.required(path, "port name or number is required")
    else:
        found.invalid(path, "", "resource or service backend is required")


def _local_reference(found: Findings, reference: Object, path: str) -> None:
    if reference.get("apiGroup") is not None:
        found.named(f"{path}.apiGroup", reference["apiGroup"], names.dns1123_subdomain)
    for name in ("kind", "name"):
        if found.needs(f"{path}.{name}", reference.get(name)):
            found.named(f"{path}.{name}", reference[name], names.path_segment)


def ingress_class_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    controller = spec.get("controller", "")
    if old is not None:
        found.same("spec.controller", controller, (old.get("spec") or {}).get("controller", ""))
    if len(controller) > 250:
        found.too_long("spec.controller", 250)
    if found.needs("spec.controller", controller):
        _prefixed_path(found, "spec.controller", controller)
    parameters = spec.get("parameters")
    if parameters is not None:
        _parameters(found, parameters)


def _prefixed_path(found: Findings, path: str, value: str) -> None:
    host, slash, rest = value.partition("/")
    if not slash or not host or not rest:
        found.invalid(path, value, 'must be a domain-prefixed path (such as "acme.io/foo")')
        return
    found.named(path, host, names.dns1123_subdomain)


def _parameters(found: Findings, parameters: Object) -> None:
    path = "spec.parameters"
    _local_reference(found, parameters, path)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope is None:
        found.required(f"{path}.scope")
        return
    if scope not in ("Cluster", "Namespace"):
        found.unsupported(f"{path}.scope", scope, ("Cluster", "Namespace"))
    if scope == "Namespace":
        if namespace is None:
            found.required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'")
        else:
            found.named(f"{path}.namespace", namespace, names.dns1123_label)
    if scope == "Cluster" and namespace is not None:
        found.forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'")


def network_policy_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    label_selector_errors(found, "spec.podSelector", spec.get("podSelector"))
    for direction, peers in (("ingress", "from"), ("egress", "to")):
        for place, rule in each(spec, "spec", direction):
            for where, port in each(rule, place, "ports"):
                _policy_port(found, where, port)
            for where, peer in each(rule, place, peers):
                _peer(found, where, peer)
    kinds = spec.get("policyTypes") or []
    if len(kinds) > 2:
        found.invalid("spec.policyTypes", kinds, "may not specify more than two policyTypes")
        return
    for index, kind in enumerate(kinds):
        found.one_of(f"spec.policyTypes[{index}]", kind, ("Ingress", "Egress"))


def _policy_port(found: Findings, path: str, port: Object) -> None:
    if port.get("protocol") not in ("TCP", "UDP", "SCTP"):
        found.unsupported(f"{path}.protocol", port.get("protocol", ""), ("TCP", "UDP", "SCTP"))
    number, end = port.get("port"), port.get("endPort")
    if number is not None:
        found.port_or_name(f"{path}.port", number)
        if isinstance(number, int):
            if end is not None:
                if end < number:
                    found.invalid(f"{path}.endPort", end, "must be greater than or equal to `port`")
                found.port(f"{path}.endPort", end)
        elif end is not None:
            found.invalid(f"{path}.endPort", end, "may not be specified when `port` is non-numeric")
    elif end is not None:
        found.invalid(f"{path}.endPort", end, "may not be specified when `port` is not specified")


def _peer(found: Findings, path: str, peer: Object) -> None:
    given = 0
    for name in ("podSelector", "namespaceSelector"):
        if peer.get(name) is not None:
            given += 1
            label_selector_errors(found, f"{path}.{name}", peer[name])
    block = peer.get("ipBlock")
    if block is not None:
        given += 1
        _block(found, f"{path}.ipBlock", block)
    if not given:
        found.required(path, "must specify a peer")
    elif given > 1 and block is not None:
        found.forbidden(path, "may not specify both ipBlock and another peer")


def _block(found: Findings, path: str, block: Object) -> None:
    if not found.needs(f"{path}.cidr", block.get("cidr")):
        return
    network_errors(found, f"{path}.cidr", block["cidr"])
    whole = parse_network(block["cidr"])
    for place, text in each(block, path, "except"):
        part = parse_network(text)
        network_errors(found, place, text)
        if (
            whole is not None
            and part is not None
            and not (
                part.version == whole.version
                and part.network_address in whole
                and part.prefixlen > whole.prefixlen
            )
        ):
            found.invalid(place, text, "must be a strict subset of `cidr`")
