"""Deployments, ReplicaSets, StatefulSets, DaemonSets, ReplicationControllers, PodTemplates, ControllerRevisions.

Facts: `pkg/apis/apps/validation`, `pkg/apis/core/validation` of Kubernetes 1.37.
"""

from __future__ import annotations

import json
from typing import Any

from slipway.cluster.registry.validation.findings import (
    Findings,
    count_or_percent,
    each,
    percent_of,
)
from slipway.cluster.registry.validation.metadata import labels_errors
from slipway.cluster.registry.validation.pods import template_errors
from slipway.cluster.registry.validation.selectors import is_valid, label_selector_errors, matches
from slipway.cluster.registry.validation.storage import claim_spec_errors
from slipway.cluster.schema import names

Object = dict[str, Any]
_MISMATCH = "`selector` does not match template `labels`"


def _spec(obj: Object | None) -> Object:
    return (obj or {}).get("spec") or {}


def _selector(found: Findings, spec: Object, kind: str, *, empty: str = "") -> bool:
    """Check `spec.selector`; whether it can be matched against labels."""
    selector = spec.get("selector")
    if selector is None:
        found.required("spec.selector")
        return False
    label_selector_errors(found, "spec.selector", selector)
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        found.invalid("spec.selector", selector, empty or f"empty selector is invalid for {kind}")
    return is_valid(selector)


def _template(found: Findings, spec: Object, *, matched: bool = True) -> None:
    """Check `spec.template` of a kind whose pods always restart, and that the selector takes its labels."""
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels")
    if matched and not matches(spec.get("selector"), labels or {}):
        found.invalid("spec.template.metadata.labels", labels, _MISMATCH)
    template_errors(found, template, "spec.template")
    _always(found, template)


def _always(found: Findings, template: Object) -> None:
    pod = template.get("spec") or {}
    if pod.get("restartPolicy", "Always") != "Always":
        found.unsupported("spec.template.spec.restartPolicy", pod["restartPolicy"], ("Always",))
    if pod.get("activeDeadlineSeconds") is not None:
        found.forbidden(
            "spec.template.spec.activeDeadlineSeconds",
            "activeDeadlineSeconds in a pod template is not supported here",
        )


def _internal(**fields: Any) -> str:
    """A struct without JSON names of its own, as errors show it."""
    return json.dumps(fields, separators=(",", ":"))


def deployment_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = _spec(obj)
    found.not_negative("spec.replicas", spec.get("replicas"))
    selector = spec.get("selector")
    usable = _selector(found, spec, "deployment")
    if selector is not None and not usable:
        found.invalid("spec.selector", selector, "invalid label selector")
    empty = selector is not None and not selector
    _template(found, spec, matched=not empty and (selector is None or usable))
    _strategy(found, spec.get("strategy") or {})
    for name in ("minReadySeconds", "revisionHistoryLimit"):
        found.not_negative(f"spec.{name}", spec.get(name))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None:
        found.not_negative("spec.progressDeadlineSeconds", deadline)
        if deadline <= spec.get("minReadySeconds", 0):
            found.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")
    if old is not None:
        found.same("spec.selector", selector, _spec(old).get("selector"))


def _strategy(found: Findings, strategy: Object) -> None:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    if kind == "Recreate":
        if rolling is not None:
            found.forbidden(
                "spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'"
            )
    elif kind == "RollingUpdate":
        if rolling is None:
            found.required("spec.strategy.rollingUpdate", "this should be defaulted and never be nil")
            return
        unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
        path = "spec.strategy.rollingUpdate"
        count_or_percent(found, f"{path}.maxUnavailable", unavailable)
        count_or_percent(found, f"{path}.maxSurge", surge, limit_percent=False)
        if percent_of(unavailable) == 0 and percent_of(surge) == 0 and _countable(unavailable):
            found.invalid(f"{path}.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0")
    else:
        shown = None
        if rolling is not None:
            shown = {
                "MaxUnavailable": rolling.get("maxUnavailable", 0),
                "MaxSurge": rolling.get("maxSurge", 0),
            }
        _unsupported_struct(found, "spec.strategy", kind, shown, ("Recreate", "RollingUpdate"))


def _countable(value: Any) -> bool:
    return not isinstance(value, str) or value.endswith("%")


def _unsupported_struct(
    found: Findings, path: str, kind: str, rolling: Object | None, allowed: tuple[str, ...]
) -> None:
    supported = ", ".join(f'"{name}"' for name in allowed)
    found.unsupported(path, kind, allowed)
    error = found.errors.pop()
    shown = _internal(Type=kind, RollingUpdate=rolling)
    found.errors.append(type(error)(error.reason, path, kind, f"supported values: {supported}", shown))


def replica_set_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = _spec(obj)
    for name in ("replicas", "minReadySeconds"):
        found.not_negative(f"spec.{name}", spec.get(name))
    usable = _selector(found, spec, "deployment")
    selector = spec.get("selector")
    if selector is not None and not usable:
        found.invalid("spec.selector", selector, "invalid label selector")
    empty = selector is not None and not selector
    _template(found, spec, matched=not empty and (selector is None or usable))
    if old is not None:
        found.same("spec.selector", selector, _spec(old).get("selector"))


def stateful_set_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = _spec(obj)
    policy = spec.get("podManagementPolicy", "")
    if not policy:
        found.required("spec.podManagementPolicy")
    elif policy not in ("OrderedReady", "Parallel"):
        found.invalid("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'")
    _stateful_strategy(found, spec.get("updateStrategy") or {})
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for name in ("whenDeleted", "whenScaled"):
        found.one_of(
            f"spec.persistentVolumeClaimRetentionPolicy.{name}", retention.get(name), ("Retain", "Delete")
        )
    for name in ("replicas", "minReadySeconds", "revisionHistoryLimit"):
        found.not_negative(f"spec.{name}", spec.get(name) if name != "revisionHistoryLimit" else None)
    found.not_negative("spec.ordinals.start", (spec.get("ordinals") or {}).get("start"))
    usable = _selector(found, spec, "statefulset")
    selector = spec.get("selector")
    if selector is not None and not usable:
        found.invalid("spec.selector", selector, "")
    empty = selector is not None and not selector
    _template(found, _with_claims(spec), matched=not empty and (selector is None or usable))
    if old is None:
        if spec.get("serviceName"):
            found.named("spec.serviceName", spec["serviceName"], names.dns1123_label)
        for place, claim in each(spec, "spec", "volumeClaimTemplates"):
            claim_spec_errors(found, claim.get("spec") or {}, f"{place}.spec")
    else:
        _stateful_update(found, spec, _spec(old))


def _with_claims(spec: Object) -> Object:
    """The spec with a volume for each claim template, which containers may mount."""
    template = spec.get("template") or {}
    pod = template.get("spec") or {}
    templates = spec.get("volumeClaimTemplates") or ()
    claims = list(dict.fromkeys((claim.get("metadata") or {}).get("name", "") for claim in templates))
    volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
    others = [volume for volume in pod.get("volumes") or () if volume.get("name") not in claims]
    return {**spec, "template": {**template, "spec": {**pod, "volumes": [*volumes, *others]}}}


def _stateful_strategy(found: Findings, strategy: Object) -> None:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    path = "spec.updateStrategy"
    if not kind:
        found.required(path)
    elif kind == "OnDelete":
        if rolling is not None:
            found.invalid(f"{path}.rollingUpdate", rolling, "only allowed for updateStrategy 'RollingUpdate'")
    elif kind == "RollingUpdate":
        rolling = rolling or {}
        found.not_negative(f"{path}.rollingUpdate.partition", rolling.get("partition"))
        unavailable = rolling.get("maxUnavailable")
        if unavailable is not None:
            count_or_percent(found, f"{path}.rollingUpdate.maxUnavailable", unavailable)
            if percent_of(unavailable) == 0 and _countable(unavailable):
                found.invalid(f"{path}.rollingUpdate.maxUnavailable", unavailable, "cannot be 0")
    else:
        shown = {
            "Partition": (rolling or {}).get("partition", 0),
            "MaxUnavailable": (rolling or {}).get("maxUnavailable"),
        }
        found.invalid(
            path,
            kind,
            "must be 'RollingUpdate' or 'OnDelete'",
            _internal(Type=kind, RollingUpdate=shown if rolling is not None else None),
        )


def _stateful_update(found: Findings, spec: Object, old: Object) -> None:
    found.same("spec.selector", spec.get("selector"), old.get("selector"))
    found.same(
        "spec.podManagementPolicy", spec.get("podManagementPolicy", ""), old.get("podManagementPolicy", "")
    )
    found.same("spec.serviceName", spec.get("serviceName", ""), old.get("serviceName", ""))
    found.same("spec.volumeClaimTemplates", spec.get("volumeClaimTemplates"), old.get("volumeClaimTemplates"))


def daemon_set_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = _spec(obj)
    selector = spec.get("selector")
    label_selector_errors(found, "spec.selector", selector)
    if selector is not None and not selector:
        found.invalid("spec.selector", selector, "empty selector is invalid for daemonset")
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels")
    usable = selector is None or (bool(selector) and is_valid(selector))
    if usable and not matches(selector, labels or {}):
        found.invalid("spec.template.metadata.labels", labels, _MISMATCH)
    template_errors(found, template, "spec.template")
    _always(found, template)
    for name in ("minReadySeconds", "revisionHistoryLimit"):
        found.not_negative(f"spec.{name}", spec.get(name))
    _daemon_strategy(found, spec.get("updateStrategy") or {})
    if old is not None:
        found.same("spec.selector", selector, _spec(old).get("selector"))


def _daemon_strategy(found: Findings, strategy: Object) -> None:
    kind, rolling = strategy.get("type", ""), strategy.get("rollingUpdate")
    path = "spec.updateStrategy"
    if kind == "OnDelete":
        return
    if kind != "RollingUpdate":
        shown = None
        if rolling is not None:
            shown = {
                "MaxUnavailable": rolling.get("maxUnavailable", 0),
                "MaxSurge": rolling.get("maxSurge", 0),
            }
        _unsupported_struct(found, path, kind, shown, ("RollingUpdate", "OnDelete"))
        return
    if rolling is None:
        found.required(f"{path}.rollingUpdate")
        return
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    path += ".rollingUpdate"
    count_or_percent(found, f"{path}.maxUnavailable", unavailable)
    count_or_percent(found, f"{path}.maxSurge", surge)
    if percent_of(unavailable) != 0 and percent_of(surge) != 0:
        found.invalid(f"{path}.maxSurge", surge, "may not be set when maxUnavailable is non-zero")
    elif percent_of(unavailable) == 0 and percent_of(surge) == 0:
        found.required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0")


def replication_controller_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = _spec(obj)
    selector = spec.get("selector") or {}
    if not selector:
        found.required("spec.selector")
    for name in ("replicas", "minReadySeconds"):
        found.not_negative(f"spec.{name}", spec.get(name))
    template = spec.get("template")
    if template is None:
        found.required("spec.template")
        return
    labels = (template.get("metadata") or {}).get("labels")
    if selector and any((labels or {}).get(key) != value for key, value in selector.items()):
        found.invalid("spec.template.metadata.labels", labels, _MISMATCH)
    template_errors(found, template, "spec.template")
    _always(found, template)


def pod_template_errors(found: Findings, obj: Object, old: Object | None) -> None:
    template_errors(found, obj.get("template") or {}, "template")


def controller_revision_errors(found: Findings, obj: Object, old: Object | None) -> None:
    if obj.get("data") is None and old is None:
        found.required("data", "data is mandatory")
    if old is not None:
        found.same("data", obj.get("data"), old.get("data"))
    found.not_negative("revision", obj.get("revision"))


__all__ = [
    "controller_revision_errors",
    "daemon_set_errors",
    "deployment_errors",
    "labels_errors",
    "pod_template_errors",
    "replica_set_errors",
    "replication_controller_errors",
    "stateful_set_errors",
]
