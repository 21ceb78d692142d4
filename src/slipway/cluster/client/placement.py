"""What a pod's spec says about nodes: tolerations, node selector, node affinity. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from slipway.cluster.client import selectors


def node_matches(spec: Mapping[str, Any], labels: Mapping[str, str], name: str) -> bool:
    """nodeSelector and required node affinity of a pod's spec."""
    if not selectors.matches_map(spec.get("nodeSelector") or {}, labels):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return selectors.matches_terms(required.get("nodeSelectorTerms") or (), labels, name)


def tolerated(taint: Mapping[str, Any], tolerations: Iterable[Mapping[str, Any]]) -> bool:
    return any(tolerates(toleration, taint) for toleration in tolerations)


def tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint["key"]:
        return False
    operator = toleration.get("operator") or "Equal"
    if operator == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")
