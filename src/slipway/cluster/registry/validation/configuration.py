"""ConfigMaps, Secrets, ServiceAccounts, LimitRanges, ResourceQuotas, Events.

Facts: `pkg/apis/core/validation` of Kubernetes 1.37.
"""

from __future__ import annotations

import base64
from typing import Any

from slipway.cluster.registry.validation.findings import Findings, config_key, each
from slipway.cluster.schema import names
from slipway.cluster.schema.json_bodies import syntax_error
from slipway.cluster.schema.quantity import canonical, parse_quantity

Object = dict[str, Any]
MAXIMUM_SIZE = 1024 * 1024
_IMMUTABLE = "field is immutable when `immutable` is set"


def config_map_errors(found: Findings, obj: Object, old: Object | None) -> None:
    data, binary = obj.get("data") or {}, obj.get("binaryData") or {}
    size = 0
    for key, value in data.items():
        found_key = f"data[{key}]"
        found.named(found_key, key, config_key)
        if key in binary:
            found.invalid(found_key, key, "duplicate of key present in binaryData")
        size += len(value.encode())
    for key, value in binary.items():
        found.named(f"binaryData[{key}]", key, config_key)
        size += len(value or "") * 3 // 4
    if size > MAXIMUM_SIZE:
        found.too_long("[]", MAXIMUM_SIZE)  # the path of a field without a name
    if old is not None and old.get("immutable"):
        if not obj.get("immutable"):
            found.forbidden("immutable", _IMMUTABLE)
        for name in ("data", "binaryData"):
            if (obj.get(name) or {}) != (old.get(name) or {}):
                found.forbidden(name, _IMMUTABLE)


_NEEDED_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def secret_errors(found: Findings, obj: Object, old: Object | None) -> None:
    data, kind = obj.get("data") or {}, obj.get("type", "")
    size = 0
    for key, value in data.items():
        found.named(f"data[{key}]", key, config_key)
        size += len(value or "") * 3 // 4
    if size > MAXIMUM_SIZE:
        found.too_long("data", MAXIMUM_SIZE)
    for key in _NEEDED_KEYS.get(kind, ()):
        if key not in data:
            found.required(f"data[{key}]")
        elif key.startswith(".docker"):
            wrong = syntax_error(base64.b64decode(data[key] or ""))
            if wrong:
                found.invalid(f"data[{key}]", "<secret contents redacted>", wrong)
    if kind == "kubernetes.io/basic-auth" and "username" not in data and "password" not in data:
        found.required("data[username]")
        found.required("data[password]")
    if kind == "kubernetes.io/service-account-token":
        annotations = (obj.get("metadata") or {}).get("annotations") or {}
        if not annotations.get("kubernetes.io/service-account.name"):
            found.required("metadata.annotations[kubernetes.io/service-account.name]")
    if old is None:
        return
    found.same("type", kind, old.get("type", ""))
    if old.get("immutable"):
        if not obj.get("immutable"):
            found.forbidden("immutable", _IMMUTABLE)
        if data != (old.get("data") or {}):
            found.forbidden("data", _IMMUTABLE)


_LIMIT_TYPES = ("Pod", "Container", "PersistentVolumeClaim")


def limit_range_errors(found: Findings, obj: Object, old: Object | None) -> None:
    taken: set[str] = set()
    for place, item in each(obj.get("spec") or {}, "spec", "limits"):
        kind = item.get("type", "")
        for text in names.label_key(kind):
            found.invalid(f"{place}.type", kind, text.replace("a valid label key", "a qualified name"))
        if not names.label_key(kind) and "/" not in kind and kind not in _LIMIT_TYPES:
            found.invalid(f"{place}.type", kind, "must be a standard limit type or fully qualified")
        if kind in taken:
            found.duplicate(f"{place}.type", kind)
        taken.add(kind)
        if kind == "Pod":
            for name in ("default", "defaultRequest"):
                if item.get(name):
                    found.forbidden(f"{place}.{name}", "may not be specified when `type` is 'Pod'")
        if kind == "PersistentVolumeClaim" and not (
            "storage" in (item.get("min") or {}) or "storage" in (item.get("max") or {})
        ):
            found.required(
                place, "either minimum or maximum storage value is required, but neither was provided"
            )
        _limit_order(found, place, item)


def _limit_order(found: Findings, path: str, item: Object) -> None:
    groups = {
        name: item.get(name) or {}
        for name in ("min", "max", "default", "defaultRequest", "maxLimitRequestRatio")
    }
    for name in sorted({key for group in groups.values() for key in group}):
        amounts = {group: parse_quantity(values[name]) for group, values in groups.items() if name in values}
        texts = {group: canonical(values[name]) for group, values in groups.items() if name in values}

        def more(
            group: str, least: str, text: str, name: str = name, amounts: Any = amounts, texts: Any = texts
        ) -> None:
            if group in amounts and least in amounts and amounts[least] > amounts[group]:
                found.invalid(
                    f"{path}.{text}[{name}]",
                    texts[least],
                    f"{least.replace('defaultRequest', 'default request')} value {texts[least]} is greater than {group.replace('defaultRequest', 'default request')} value {texts[group]}",
                )

        more("max", "min", "min")
        more("defaultRequest", "min", "defaultRequest")
        more("max", "defaultRequest", "defaultRequest")
        more("default", "defaultRequest", "defaultRequest")
        more("default", "min", "default")
        more("max", "default", "default")
        ratio = amounts.get("maxLimitRequestRatio")
        if ratio is not None and ratio < 1:
            found.invalid(
                f"{path}.maxLimitRequestRatio[{name}]",
                texts["maxLimitRequestRatio"],
                f"ratio {texts['maxLimitRequestRatio']} is less than 1",
            )


_SCOPES = (
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
)
_EXISTS_ONLY = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


def resource_quota_errors(found: Findings, obj: Object, old: Object | None) -> None:
    spec = obj.get("spec") or {}
    for name, amount in (spec.get("hard") or {}).items():
        path = f"spec.hard[{name}]"
        for text in names.label_key(name):
            found.invalid(path, name, text.replace("a valid label key", "a qualified name"))
        found.quantity(path, amount)
    scopes = spec.get("scopes") or []
    for scope in scopes:
        if scope not in _SCOPES:
            found.invalid("spec.scopes", scopes, "unsupported scope")
    if {"Terminating", "NotTerminating"} <= set(scopes) or {"BestEffort", "NotBestEffort"} <= set(scopes):
        found.invalid("spec.scopes", scopes, "conflicting scopes")
    for expression in (spec.get("scopeSelector") or {}).get("matchExpressions") or ():
        _scope(found, expression)
    if old is not None:
        before = (old.get("spec") or {}).get("scopes")
        if set(scopes) != set(before or ()):
            found.invalid("spec.scopes", spec.get("scopes"), "field is immutable")


def _scope(found: Findings, expression: Object) -> None:
    path = "spec.scopeSelector.matchExpressions"
    name, operator = expression.get("scopeName", ""), expression.get("operator", "")
    if name not in _SCOPES:
        found.invalid(f"{path}.scopeName", name, "unsupported scope")
    elif name not in ("PriorityClass", "VolumeAttributesClass") and operator != "Exists":
        found.invalid(f"{path}.operator", operator, _EXISTS_ONLY)
    values = expression.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            found.required(
                f"{path}.values",
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            )
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            found.invalid(
                f"{path}.values",
                values,
                "must be no value when `operator` is 'Exists' or 'DoesNotExist' for scope selector",
            )
    else:
        found.invalid(f"{path}.operator", operator, "not a valid selector operator")


def nothing(found: Findings, obj: Object, old: Object | None) -> None:
    """Kinds of which only metadata is checked."""
