"""Cells of Services, their endpoints, Ingresses, and of selectors and labels."""

from __future__ import annotations

from typing import Any

from slipway.cluster.server.printers.subject import Object, Subject, cell, with_more


@cell
def labels(subject: Subject) -> str:
    found = subject.value or {}
    return ",".join(f"{name}={found[name]}" for name in sorted(found)) or "<none>"


def selector_text(selector: Any) -> str:
    """A LabelSelector as one line; ValueError for an operator that there is not."""
    if not isinstance(selector, dict):
        return ""
    terms = [(name, f"{name}={value}") for name, value in (selector.get("matchLabels") or {}).items()]
    expressions = selector.get("matchExpressions") or []
    terms += [(expression.get("key", ""), _expression(expression)) for expression in expressions]
    return ",".join(text for _, text in sorted(terms, key=lambda term: term[0]))


def _expression(expression: Object) -> str:
    key, values = expression.get("key", ""), ",".join(sorted(expression.get("values") or []))
    match expression.get("operator"):
        case "In":
            return f"{key} in ({values})"
        case "NotIn":
            return f"{key} notin ({values})"
        case "Exists":
            return str(key)
        case "DoesNotExist":
            return f"!{key}"
    raise ValueError(f"{expression.get('operator')!r} is no label selector operator")


@cell
def label_selector(subject: Subject) -> str:
    try:
        return selector_text(subject.value) or "<none>"
    except ValueError:
        return "<error>"


@cell
def selector(subject: Subject) -> str:
    try:
        return selector_text(subject.value)
    except ValueError:
        return "<invalid>"


@cell
def comma_list(subject: Subject) -> str:
    return ",".join(subject.value or []) or "<none>"


@cell
def plain_list(subject: Subject) -> str:
    return ",".join(subject.value or [])


@cell
def cluster_address(subject: Subject) -> str:
    addresses = subject.items("spec.clusterIPs")
    return (addresses[0] if addresses else subject.at("spec.clusterIP")) or "<none>"


@cell
def external_address(subject: Subject) -> str:
    external = subject.items("spec.externalIPs")
    match subject.at("spec.type"):
        case "ClusterIP" | "NodePort":
            return ",".join(external) or "<none>"
        case "LoadBalancer":
            return (
                ",".join([*_ingress_addresses(subject.at("status.loadBalancer")), *external]) or "<pending>"
            )
        case "ExternalName":
            return str(subject.at("spec.externalName") or "")
    return "<unknown>"


def _ingress_addresses(status: Any) -> list[str]:
    points = (status or {}).get("ingress") or []
    found = {point.get("ip") or point.get("hostname") or "" for point in points}
    return sorted(found - {""})


@cell
def load_balancer_addresses(subject: Subject) -> str:
    return ",".join(_ingress_addresses(subject.value))


@cell
def service_ports(subject: Subject) -> str:
    def text(port: Object) -> str:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        return f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}"

    return ",".join(text(port) for port in subject.items("spec.ports")) or "<none>"


@cell
def ingress_hosts(subject: Subject) -> str:
    rules = subject.items("spec.rules")
    shown: list[str] = []
    more = False
    for rule in rules:
        more = more or len(shown) == 3
        if not more and rule.get("host"):
            shown.append(rule["host"])
    if not shown:
        return "*"
    return f"{','.join(shown)} + {len(rules) - 3} more..." if more else ",".join(shown)


@cell
def ingress_ports(subject: Subject) -> str:
    return "80, 443" if subject.items("spec.tls") else "80"


@cell
def ingress_class_name(subject: Subject) -> str:
    annotations = subject.at("metadata.annotations") or {}
    default = annotations.get("ingressclass.kubernetes.io/is-default-class") == "true"
    return f"{subject.at('metadata.name')}{' (default)' if default else ''}"


@cell
def ingress_class_parameters(subject: Subject) -> str:
    parameters = subject.at("spec.parameters")
    if not parameters:
        return "<none>"
    group = parameters.get("apiGroup")
    kind = f"{parameters.get('kind')}.{group}" if group is not None else parameters.get("kind")
    return f"{kind}/{parameters.get('name')}"


@cell
def endpoint_addresses(subject: Subject) -> str:
    subsets = subject.items("subsets")
    if not subsets:
        return "<none>"
    found: list[str] = []
    for subset in subsets:
        addresses = [address.get("ip", "") for address in subset.get("addresses") or []]
        ports = subset.get("ports") or []
        if not ports:
            found += addresses
        for port in ports:
            found += [_host_port(address, port.get("port")) for address in addresses]
    text = ",".join(found[:3])
    return f"{text} + {len(found) - 3} more..." if len(found) > 3 else text


def _host_port(address: str, port: Any) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


@cell
def slice_ports(subject: Subject) -> str:
    ports = subject.items("ports")
    shown = []
    for port in ports:
        number, name = port.get("port"), port.get("name")
        shown.append(str(number) if number is not None else name if name is not None else "*")
    return with_more(shown, len(shown), 3)


@cell
def slice_addresses(subject: Subject) -> str:
    found = [
        address for endpoint in subject.items("endpoints") for address in endpoint.get("addresses") or []
    ]
    return with_more(found, len(found), 3)


@cell
def parent_reference(subject: Subject) -> str:
    parent = subject.at("spec.parentRef")
    if not parent:
        return "<none>"
    group, resource = parent.get("group"), parent.get("resource", "")
    parts = [f"{resource}.{group}".lower() if group else resource.lower()]
    if parent.get("namespace"):
        parts.append(parent["namespace"])
    return "/".join([*parts, parent.get("name", "")])
