"""Roles and bindings.

Facts: `pkg/apis/rbac/validation` of Kubernetes 1.37.
"""

from __future__ import annotations

from typing import Any

from slipway.cluster.registry.validation.findings import Findings, each
from slipway.cluster.registry.validation.selectors import is_valid, label_selector_errors
from slipway.cluster.schema import names

Object = dict[str, Any]
GROUP = "rbac.authorization.k8s.io"


def role_errors(found: Findings, obj: Object, old: Object | None) -> None:
    for place, rule in each(obj, "", "rules"):
        _rule(found, rule, place, namespaced=True)


def cluster_role_errors(found: Findings, obj: Object, old: Object | None) -> None:
    for place, rule in each(obj, "", "rules"):
        _rule(found, rule, place, namespaced=False)
    aggregation = obj.get("aggregationRule")
    if aggregation is not None:
        if not aggregation.get("clusterRoleSelectors"):
            found.required(
                "aggregationRule.clusterRoleSelectors",
                "at least one clusterRoleSelector required if aggregationRule is non-nil",
            )
        for place, selector in each(aggregation, "aggregationRule", "clusterRoleSelectors"):
            label_selector_errors(found, place, selector)
            if not is_valid(selector):
                found.invalid(place, None, "invalid label selector.")


def _rule(found: Findings, rule: Object, path: str, *, namespaced: bool) -> None:
    if not rule.get("verbs"):
        found.required(f"{path}.verbs")
    urls = rule.get("nonResourceURLs") or []
    if urls:
        if namespaced:
            found.invalid(
                f"{path}.nonResourceURLs", urls, "namespaced rules cannot apply to non-resource URLs"
            )
        if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
            found.invalid(
                f"{path}.nonResourceURLs",
                urls,
                "rules cannot apply to both regular resources and non-resource URLs",
            )
        return
    if not rule.get("apiGroups"):
        found.required(f"{path}.apiGroups", "resource rules must supply at least one api group")
    if not rule.get("resources"):
        found.required(f"{path}.resources", "resource rules must supply at least one resource")


def binding_errors(found: Findings, obj: Object, old: Object | None) -> None:
    _binding(found, obj, old, ("Role", "ClusterRole"), namespaced=True)


def cluster_binding_errors(found: Findings, obj: Object, old: Object | None) -> None:
    _binding(found, obj, old, ("ClusterRole",), namespaced=False)


def _binding(
    found: Findings, obj: Object, old: Object | None, kinds: tuple[str, ...], *, namespaced: bool
) -> None:
    role = obj.get("roleRef") or {}
    if role.get("apiGroup") != GROUP:
        found.unsupported("roleRef.apiGroup", role.get("apiGroup", ""), (GROUP,))
    if role.get("kind") not in kinds:
        found.unsupported("roleRef.kind", role.get("kind", ""), kinds)
    if found.needs("roleRef.name", role.get("name")):
        found.named("roleRef.name", role["name"], names.path_segment)
    for place, subject in each(obj, "", "subjects"):
        _subject(found, subject, place, namespaced=namespaced)
    if old is not None and role != (old.get("roleRef") or {}):
        found.invalid("roleRef", role, "field is immutable", _shown_role(role))


def _shown_role(role: Object) -> str:
    texts = (
        f'"{field}":"{role.get(name, "")}"'
        for field, name in (("APIGroup", "apiGroup"), ("Kind", "kind"), ("Name", "name"))
    )
    return "{" + ",".join(texts) + "}"


def _subject(found: Findings, subject: Object, path: str, *, namespaced: bool) -> None:
    kind, group, name = subject.get("kind", ""), subject.get("apiGroup", ""), subject.get("name", "")
    found.needs(f"{path}.name", name)
    if kind == "ServiceAccount":
        if name:
            found.named(f"{path}.name", name, names.dns1123_subdomain)
        if group:
            found.unsupported(f"{path}.apiGroup", group, ("",))
        if not namespaced and not subject.get("namespace"):
            found.required(f"{path}.namespace")
    elif kind in ("User", "Group"):
        if group != GROUP:
            found.unsupported(f"{path}.apiGroup", group, (GROUP,))
    else:
        found.unsupported(f"{path}.kind", kind, ("ServiceAccount", "User", "Group"))
