"""HorizontalPodAutoscalers between autoscaling/v1 and autoscaling/v2, in which they are stored.

v1 knows only the utilization of CPU. What else v2 says travels in annotations of the v1 object, so that a client of
v1 writes back what it does not understand. Facts: k8s.io/kubernetes pkg/apis/autoscaling/v1/conversion.go.
"""

from __future__ import annotations

import json
from typing import Any

Object = dict[str, Any]

_PREFIX = "autoscaling.alpha.kubernetes.io"
METRICS = f"{_PREFIX}/metrics"
CURRENT = f"{_PREFIX}/current-metrics"
BEHAVIOR = f"{_PREFIX}/behavior"
CONDITIONS = f"{_PREFIX}/conditions"
_DEFAULT_UTILIZATION = 80
# v2's form of a source: the field that names its metric, in v1's words and the selector beside it.
_NAMED = {
    "pods": ("metricName", "selector"),
    "object": ("metricName", "selector"),
    "external": ("metricName", "metricSelector"),
}


def from_v1(old: Object) -> Object:
    """The autoscaling/v2 form."""
    spec, status = dict(old.get("spec") or {}), dict(old.get("status") or {})
    annotations = dict((old.get("metadata") or {}).get("annotations") or {})
    others = {name: _read(annotations.pop(name, None)) for name in (METRICS, CURRENT, BEHAVIOR, CONDITIONS)}
    target = spec.pop("targetCPUUtilizationPercentage", None)
    metrics = [_to_v2(metric, "target") for metric in others[METRICS] or []]
    if target is not None or not metrics:
        metrics.append(_cpu("target", _DEFAULT_UTILIZATION if target is None else target))
    spec["metrics"] = metrics
    if others[BEHAVIOR]:
        spec["behavior"] = others[BEHAVIOR]
    seen = status.pop("currentCPUUtilizationPercentage", None)
    current = [_to_v2(metric, "current") for metric in others[CURRENT] or []]
    if seen is not None:
        current.append(_cpu("current", seen))
    status["currentMetrics"] = current or None
    if others[CONDITIONS]:
        status["conditions"] = others[CONDITIONS]
    if not status.get("currentReplicas"):
        status.pop("currentReplicas", None)
    status.setdefault("desiredReplicas", 0)
    return _with_annotations(
        {**old, "apiVersion": "autoscaling/v2", "spec": spec, "status": status}, annotations
    )


def to_v1(stored: Object) -> Object:
    """The autoscaling/v1 form."""
    spec, status = dict(stored.get("spec") or {}), dict(stored.get("status") or {})
    annotations = dict((stored.get("metadata") or {}).get("annotations") or {})
    utilization, others = _without_cpu(spec.pop("metrics", None) or [], "target")
    if utilization is not None:
        spec["targetCPUUtilizationPercentage"] = utilization
    _write(annotations, METRICS, [_to_v1(metric, "target") for metric in others])
    _write(annotations, BEHAVIOR, spec.pop("behavior", None))
    seen, current = _without_cpu(status.pop("currentMetrics", None) or [], "current")
    if seen is not None:
        status["currentCPUUtilizationPercentage"] = seen
    _write(annotations, CURRENT, [_to_v1(metric, "current") for metric in current])
    _write(annotations, CONDITIONS, status.pop("conditions", None))
    status.setdefault("currentReplicas", 0)
    status.setdefault("desiredReplicas", 0)
    return _with_annotations(
        {**stored, "apiVersion": "autoscaling/v1", "spec": spec, "status": status}, annotations
    )


def _with_annotations(obj: Object, annotations: Object) -> Object:
    metadata = {name: value for name, value in (obj.get("metadata") or {}).items() if name != "annotations"}
    return {**obj, "metadata": {**metadata, "annotations": annotations} if annotations else metadata}


def _read(text: object) -> Any:
    """What an annotation holds; nothing when it is not JSON, as upstream has it."""
    try:
        return json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _write(annotations: Object, name: str, value: Any) -> None:
    if value:
        annotations[name] = json.dumps(value, separators=(",", ":"))


def _cpu(side: str, utilization: int) -> Object:
    amount: Object = {"averageUtilization": utilization}
    if side == "target":
        amount = {"type": "Utilization", **amount}
    return {"type": "Resource", "resource": {"name": "cpu", side: amount}}


def _without_cpu(metrics: list[Object], side: str) -> tuple[int | None, list[Object]]:
    """The first utilization of CPU, and the metrics that v1 has no field for."""
    utilization, others = None, []
    for metric in metrics:
        source = metric.get("resource") or {}
        found = (source.get(side) or {}).get("averageUtilization") if source.get("name") == "cpu" else None
        if found is None:
            others.append(metric)
        elif utilization is None:
            utilization = found
    return utilization, others


def _to_v1(metric: Object, side: str) -> Object:
    return {
        name: _source_to_v1(name, value, side) if isinstance(value, dict) else value
        for name, value in metric.items()
    }


def _source_to_v1(kind: str, source: Object, side: str) -> Object:
    out = {name: value for name, value in source.items() if name not in {side, "metric", "describedObject"}}
    amount = source.get(side) or {}
    for name in ("averageUtilization", "averageValue", "value"):
        if name in amount:
            out[side + name[0].upper() + name[1:]] = amount[name]
    if kind in _NAMED:
        named, selector = _NAMED[kind]
        metric = source.get("metric") or {}
        out[named] = metric.get("name", "")
        if "selector" in metric:
            out[selector] = metric["selector"]
    if kind == "object":
        out["target"] = source.get("describedObject")
    return out


def _to_v2(metric: Object, side: str) -> Object:
    return {
        name: _source_to_v2(name, value, side) if isinstance(value, dict) else value
        for name, value in metric.items()
    }


def _source_to_v2(kind: str, source: Object, side: str) -> Object:
    out = dict(source)
    amount: Object = {}
    for name, form in (
        ("averageUtilization", "Utilization"),
        ("averageValue", "AverageValue"),
        ("value", "Value"),
    ):
        value = out.pop(side + name[0].upper() + name[1:], None)
        if value is not None:
            if side == "target":
                amount["type"] = form
            amount[name] = value
    if kind in _NAMED:
        named, selector = _NAMED[kind]
        out["metric"] = {"name": out.pop(named, "")}
        if selector in out:
            out["metric"]["selector"] = out.pop(selector)
    if kind == "object":
        out["describedObject"] = out.pop("target", None)
    out[side] = amount
    return out
