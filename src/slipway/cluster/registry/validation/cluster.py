"""Namespaces, Nodes, PriorityClasses, Leases, RuntimeClasses.

Facts: `pkg/apis/{core,scheduling,coordination,node}/validation` of Kubernetes 1.37.
"""

from __future__ import annotations

from typing import Any

from slipway.cluster.registry.validation.addresses import network_errors, parse_network
from slipway.cluster.registry.validation.findings import Findings, each
from slipway.cluster.registry.validation.metadata import finalizer_errors, labels_errors
from slipway.cluster.registry.validation.pods import EFFECTS, tolerations_errors
from slipway.cluster.schema import names

Object = dict[str, Any]


def namespace_errors(found: Findings, obj: Object, old: Object | None) -> None:
    if old is not None:
        return
    for finalizer in (obj.get("spec") or {}).get("finalizers") or ():
        finalizer_errors(found, "spec.finalizers", "spec.finalizers", finalizer)


def node_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    _taints(found, spec)
    networks = spec.get("podCIDRs") or []
    for place, network in each(spec, "spec", "podCIDRs"):
        network_errors(found, place, network)
    if len(networks) > 2:
        found.invalid("spec.podCIDRs", networks, "may specify no more than one CIDR for each IP family")
    elif len(networks) == 2:
        parsed = [parse_network(network) for network in networks]
        if None not in parsed and len({network.version for network in parsed if network}) == 1:
            found.invalid("spec.podCIDRs", networks, "may specify no more than one CIDR for each IP family")
    if old is not None:
        _node_update(found, spec, old.get("spec") or {})


def _node_update(found: Findings, spec: Object, old: Object) -> None:
    before, after = old.get("podCIDRs") or [], spec.get("podCIDRs") or []
    if before and before != after:
        found.forbidden("spec.podCIDRs", 'node updates may not change podCIDR except from "" to valid')
    if old.get("providerID"):
        if not spec.get("providerID"):
            found.invalid("spec.providerID", None, "field cannot be cleared once set")
        elif spec["providerID"] != old["providerID"]:
            found.invalid("spec.providerID", None, "field cannot be modified once set")


def _taints(found: Findings, spec: Object) -> None:
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(spec.get("taints") or ()):
        path = f"metadata.taints[{index}]"
        key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
        found.named(f"{path}.key", key, names.label_key)
        found.named(f"{path}.value", value, names.label_value)
        found.chosen(f"{path}.effect", effect, EFFECTS)
        if effect and (key, effect) in seen:
            found.duplicate(
                path,
                None,
                "taints must be unique by key and effect pair",
                f'{{"Key":"{key}","Value":"{value}","Effect":"{effect}","TimeAdded":null}}',
            )
        seen.add((key, effect))


def priority_class_errors(found: Findings, obj: Object, old: Object | None) -> None:
    value = obj.get("value", 0)
    name = (obj.get("metadata") or {}).get("name", "")
    if old is None:
        if name.startswith("system-"):
            if name not in ("system-node-critical", "system-cluster-critical"):
                found.forbidden(
                    "metadata.name",
                    "priority class names with 'system-' prefix are reserved for system use only. error: "
                    f"{name} is not a known system priority class",
                )
        elif value > 1000000000:
            found.forbidden("value", "maximum allowed value of a user defined priority is 1000000000")
    elif value != old.get("value", 0):
        found.forbidden("value", "may not be changed in an update.")
    policy = obj.get("preemptionPolicy")
    if policy is not None and old is None:
        found.chosen("preemptionPolicy", policy, ("PreemptLowerPriority", "Never"))
    if old is not None:
        found.same("preemptionPolicy", policy, old.get("preemptionPolicy"))


def lease_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    found.positive("spec.leaseDurationSeconds", spec.get("leaseDurationSeconds"))
    found.not_negative("spec.leaseTransitions", spec.get("leaseTransitions"))
    strategy = spec.get("strategy")
    if strategy is not None and strategy != "OldestEmulationVersion" and "/" not in strategy:
        found.unsupported("spec.strategy", strategy, ("OldestEmulationVersion",))


def runtime_class_errors(found: Findings, obj: Object, old: Object | None) -> None:
    handler = obj.get("handler", "")
    if old is not None and handler != old.get("handler", ""):
        found.invalid("handler", None, "field is immutable")  # upstream never shows the value here
    if found.needs("handler", handler):
        for text in names.dns1123_label(handler):
            if old is None:
                text = text.replace("63 characters", "63 bytes")
            found.invalid("handler", handler, text)
    for name, amount in ((obj.get("overhead") or {}).get("podFixed") or {}).items():
        found.quantity(f"overhead.podFixed[{name}]", amount)
    scheduling = obj.get("scheduling") or {}
    labels_errors(found, "scheduling.nodeSelector", scheduling.get("nodeSelector") or {})
    tolerations_errors(found, scheduling, "scheduling")
    _distinct_tolerations(found, scheduling.get("tolerations") or [])


def _distinct_tolerations(found: Findings, tolerations: list[Object]) -> None:
    for index, toleration in enumerate(tolerations):
        if toleration in tolerations[:index]:
            texts = [
                f'"{field}":"{toleration.get(name, "")}"'
                for field, name in (
                    ("Key", "key"),
                    ("Operator", "operator"),
                    ("Value", "value"),
                    ("Effect", "effect"),
                )
            ]
            seconds = toleration.get("tolerationSeconds")
            shown = "{" + ",".join(texts) + f',"TolerationSeconds":{"null" if seconds is None else seconds}}}'
            found.duplicate(f"scheduling.tolerations[{index}]", None, shown=shown)
