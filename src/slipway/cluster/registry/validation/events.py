"""What is wrong with an Event: leniently in the core group, strictly in events.k8s.io. Paths are those of the core group.

Facts: k8s.io/kubernetes 1.37 pkg/apis/core/validation/events.go.
"""

from __future__ import annotations

from typing import Any

from slipway.cluster.registry.event_versions import to_core
from slipway.cluster.registry.validation.findings import Findings
from slipway.cluster.schema import names

Object = dict[str, Any]
_LIMITS = {"reportingInstance": 128, "action": 128, "reason": 128, "message": 1024}  # characters
_NAMESPACE = "involvedObject.namespace"
_ELSEWHERE = "does not match event.namespace"
_UNSET = "needs to be unset"
# Of an Event of events.k8s.io only `series` may change.
_FIXED = (
    "involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "reason", "type",
    "eventTime", "action", "related", "reportingComponent", "reportingInstance",
)  # fmt: skip


def core_event_errors(found: Findings, obj: Object, old: Object | None) -> None:
    _lenient(found, obj, "reportingComponent")


def event_errors(found: Findings, obj: Object, old: Object | None) -> None:
    event = to_core(obj)
    _lenient(found, event, "reportingController")
    if old is None:
        _series(found, event.get("series"))
        _unset(found, event)
        return
    before = to_core(old)
    if event.get("series") != before.get("series"):
        _series(found, event.get("series"))
    for name in _FIXED:
        shown = "reportingController" if name == "reportingComponent" else name
        found.same(shown, event.get(name), before.get(name))


def _lenient(found: Findings, event: Object, controller: str) -> None:
    namespace = (event.get("metadata") or {}).get("namespace", "")
    named = (event.get("involvedObject") or {}).get("namespace", "")
    if not event.get("eventTime"):
        if named != namespace and not (not named and namespace == "default"):
            found.invalid(_NAMESPACE, named, _ELSEWHERE)
        return
    if not named and namespace not in {"default", "kube-system"}:
        found.invalid(_NAMESPACE, named, _ELSEWHERE)
    reporter = event.get("reportingComponent") or ""
    found.needs(controller, reporter)
    found.named(controller, reporter, names.label_key)
    for name, limit in _LIMITS.items():
        value = event.get(name) or ""
        if name != "message":
            found.needs(name, value)
        if len(value) > limit:
            found.invalid(name, "", f"can have at most {limit} characters")


def _series(found: Findings, series: Object | None) -> None:
    if series is None:
        return
    if int(series.get("count") or 0) < 2:
        found.invalid("series.count", "", "should be at least 2")
    found.needs("series.lastObservedTime", series.get("lastObservedTime"))


def _unset(found: Findings, event: Object) -> None:
    """What a new Event of events.k8s.io must have, and what only old ones have."""
    found.needs("eventTime", event.get("eventTime"))
    kind = event.get("type") or ""
    if kind not in {"Normal", "Warning"}:
        found.invalid("type", "", f"has invalid value: {kind}")
    for name in ("firstTimestamp", "lastTimestamp", "count"):
        if event.get(name):
            found.invalid(name, "", _UNSET)
    source = event.get("source") or {}
    if source.get("component") or source.get("host"):
        found.invalid("source", "", _UNSET)
