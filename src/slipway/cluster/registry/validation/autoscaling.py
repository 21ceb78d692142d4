"""HorizontalPodAutoscalers and PodDisruptionBudgets.

Facts: `pkg/apis/autoscaling/validation`, `pkg/apis/policy/validation` of Kubernetes 1.37.
"""

from __future__ import annotations

from typing import Any

from slipway.cluster.registry.validation.findings import Findings, count_or_percent, each
from slipway.cluster.registry.validation.selectors import label_selector_errors
from slipway.cluster.schema import names
from slipway.cluster.schema.quantity import parse_quantity

Object = dict[str, Any]
_SOURCES = ("ContainerResource", "External", "Object", "Pods", "Resource")
_FIELDS = {
    "ContainerResource": "containerResource",
    "External": "external",
    "Object": "object",
    "Pods": "pods",
    "Resource": "resource",
}


def autoscaler_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    least, most = spec.get("minReplicas"), spec.get("maxReplicas", 0)
    if least is not None and least < 0:
        found.invalid("spec.minReplicas", least, "must be greater than or equal to 0")
    if most == 0:
        found.required("spec.maxReplicas")
    elif most < 1:
        found.invalid("spec.maxReplicas", most, "must be greater than or equal to 1")
    if least is not None and most < least:
        found.invalid("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`")
    _target(found, spec.get("scaleTargetRef") or {}, "spec.scaleTargetRef", versioned=True)
    percentage = spec.get("targetCPUUtilizationPercentage")
    if percentage is not None:
        found.positive("spec.metrics[0].resource.target.averageUtilization", percentage)
    for place, metric in each(spec, "spec", "metrics"):
        _metric(found, metric, place)
    if least == 0 and not any(
        metric.get("type") in ("Object", "External") for metric in spec.get("metrics") or ()
    ):
        found.forbidden(
            "spec.metrics",
            "must specify at least one Object or External metric to support scaling to zero replicas",
        )
    for direction in ("scaleUp", "scaleDown"):
        rules = (spec.get("behavior") or {}).get(direction)
        if rules is not None:
            _rules(found, rules, f"spec.behavior.{direction}")


def _target(found: Findings, target: Object, path: str, *, versioned: bool = False) -> None:
    for name in ("kind", "name"):
        if found.needs(f"{path}.{name}", target.get(name)):
            found.named(f"{path}.{name}", target[name], names.path_segment)
    version = target.get("apiVersion", "")
    if versioned and version:
        group, slash, rest = version.partition("/")
        if "/" in rest:
            found.invalid(f"{path}.apiVersion", version, f"unexpected GroupVersion string: {version}")
        elif (slash and not group) or (not slash and version != "v1"):
            found.invalid(f"{path}.apiVersion", version, "apiVersion must specify API group")
        elif slash and not rest:
            found.invalid(f"{path}.apiVersion", version, "apiVersion must specify API version")
    elif versioned and target.get("kind") != "ReplicationController":
        found.invalid(f"{path}.apiVersion", version, "apiVersion must specify API group")


def _metric(found: Findings, metric: Object, path: str) -> None:
    kind = metric.get("type", "")
    if not kind:
        found.required(f"{path}.type", "must specify a metric source type")
    if kind not in _SOURCES:
        found.unsupported(f"{path}.type", kind, _SOURCES)
        return
    field = _FIELDS[kind]
    source = metric.get(field)
    for name in sorted(_FIELDS.values()):
        if name != field and metric.get(name) is not None:
            found.forbidden(f"{path}.{name}", "must populate the given metric source only")
    if source is None:
        found.required(f"{path}.{field}", "must populate information for the given metric source")
        return
    place = f"{path}.{field}"
    if kind == "Object":
        _target(found, source.get("describedObject") or {}, f"{place}.describedObject")
    if kind in ("Object", "Pods", "External"):
        _identifier(found, source.get("metric") or {}, f"{place}.metric")
    if kind in ("Resource", "ContainerResource"):
        found.needs(f"{place}.name", source.get("name"), "must specify a resource name")
    if kind == "ContainerResource":
        found.needs(f"{place}.container", source.get("container"), "must specify a container")
    _metric_target(found, source.get("target") or {}, f"{place}.target")
    _amounts(found, kind, source.get("target") or {}, f"{place}.target")


def _identifier(found: Findings, identifier: Object, path: str) -> None:
    if found.needs(f"{path}.name", identifier.get("name"), "must specify a metric name"):
        found.named(f"{path}.name", identifier["name"], names.path_segment)
    label_selector_errors(found, f"{path}.selector", identifier.get("selector"), invalid_values=True)


def _metric_target(found: Findings, target: Object, path: str) -> None:
    kind = target.get("type", "")
    if not kind:
        found.required(f"{path}.type", "must specify a metric target type")
    if kind not in ("Utilization", "Value", "AverageValue"):
        found.invalid(f"{path}.type", kind, "must be either Utilization, Value, or AverageValue")
    for name in ("value", "averageValue"):
        if target.get(name) is not None and parse_quantity(target[name]) <= 0:
            found.invalid(f"{path}.{name}", target[name], "must be positive")
    utilization = target.get("averageUtilization")
    if utilization is not None and utilization < 1:
        found.invalid(f"{path}.averageUtilization", utilization, "must be greater than 0")


def _amounts(found: Findings, kind: str, target: Object, path: str) -> None:
    value, average = target.get("value"), target.get("averageValue")
    utilization = target.get("averageUtilization")
    if kind == "Object":
        if value is None and average is None:
            found.required(f"{path}.averageValue", "must set either a target value or averageValue")
    elif kind == "External":
        if value is None and average is None:
            found.required(
                f"{path}.averageValue", "must set either a target value for metric or a per-pod target"
            )
        if value is not None and average is not None:
            found.forbidden(
                f"{path}.value", "may not set both a target value for metric and a per-pod target"
            )
    elif kind == "Pods":
        if average is None or parse_quantity(average) <= 0:
            found.required(f"{path}.averageValue", "must specify a positive target averageValue")
    else:
        if utilization is None and average is None:
            found.required(
                f"{path}.averageUtilization", "must set either a target raw value or a target utilization"
            )
        if utilization is not None and average is not None:
            found.forbidden(
                f"{path}.averageValue", "may not set both a target raw value and a target utilization"
            )


def _rules(found: Findings, rules: Object, path: str) -> None:
    window = rules.get("stabilizationWindowSeconds")
    if window is not None:
        if window < 0:
            found.invalid(
                f"{path}.stabilizationWindowSeconds", window, "must be greater than or equal to zero"
            )
        if window > 3600:
            found.invalid(f"{path}.stabilizationWindowSeconds", window, "must be less than or equal to 3600")
    if rules.get("selectPolicy") is not None:
        found.one_of(f"{path}.selectPolicy", rules["selectPolicy"], ("Disabled", "Max", "Min"))
    if not rules.get("policies"):
        found.required(f"{path}.policies", "must specify at least one Policy")
    for place, policy in each(rules, path, "policies"):
        found.one_of(f"{place}.type", policy.get("type"), ("Percent", "Pods"))
        found.positive(f"{place}.value", policy.get("value", 0), "must be greater than zero")
        period = policy.get("periodSeconds", 0)
        found.positive(f"{place}.periodSeconds", period, "must be greater than zero")
        if period > 1800:
            found.invalid(f"{place}.periodSeconds", period, "must be less than or equal to 1800")


def budget_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if least is not None and most is not None:
        found.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set")
    for name, value in (("minAvailable", least), ("maxUnavailable", most)):
        if value is not None:
            count_or_percent(found, f"spec.{name}", value)
    label_selector_errors(found, "spec.selector", spec.get("selector"))
    policy = spec.get("unhealthyPodEvictionPolicy")
    if policy is not None:
        found.one_of("spec.unhealthyPodEvictionPolicy", policy, ("AlwaysAllow", "IfHealthyBudget"))
