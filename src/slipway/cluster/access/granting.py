"""What rules a set of rules covers, and how those that it does not are told.

Facts: k8s.io/component-helpers auth/rbac/validation, k8s.io/kubernetes pkg/registry/rbac/validation.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from slipway.cluster.status import go_quote

Rule = dict[str, Any]
_SHOWN = (
    ("APIGroups", "apiGroups"),
    ("Resources", "resources"),
    ("NonResourceURLs", "nonResourceURLs"),
    ("ResourceNames", "resourceNames"),
    ("Verbs", "verbs"),
)


def missing(held: Iterable[Rule], wanted: Iterable[Rule]) -> list[str]:
    """The wanted permissions that no held rule covers, as Kubernetes tells them; empty when all are covered."""
    held = list(held)
    verbs: dict[tuple[str, ...], list[str]] = {}
    lines: set[str] = set()
    for rule in wanted:
        for part in _parts(rule):
            if any(_covers(one, part) for one in held):
                continue
            if part.get("nonResourceURLs"):
                lines.add(_shown(part))
                continue
            key = (part["apiGroups"][0], part["resources"][0], *part.get("resourceNames", ()))
            verbs.setdefault(key, []).append(part["verbs"][0])
    for (group, resource, *names), some in verbs.items():
        lines.add(
            _shown({"apiGroups": [group], "resources": [resource], "resourceNames": names, "verbs": some})
        )
    return sorted(lines)


def _parts(rule: Rule) -> Iterator[Rule]:
    """The rule taken apart: one verb on one resource of one group, perhaps of one name; or on one path."""
    for group in rule.get("apiGroups") or ():
        for resource in rule.get("resources") or ():
            for verb in rule.get("verbs") or ():
                part = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
                for name in rule.get("resourceNames") or (None,):
                    yield part if name is None else {**part, "resourceNames": [name]}
    for path in rule.get("nonResourceURLs") or ():
        for verb in rule.get("verbs") or ():
            yield {"nonResourceURLs": [path], "verbs": [verb]}


def _covers(rule: Rule, part: Rule) -> bool:
    def has(field: str) -> bool:
        return set(part.get(field) or ()) <= set(rule.get(field) or ())

    def everything(field: str) -> bool:
        return "*" in (rule.get(field) or ())

    names = not rule.get("resourceNames") or bool(part.get("resourceNames") and has("resourceNames"))
    return (
        names
        and (everything("verbs") or has("verbs"))
        and (everything("apiGroups") or has("apiGroups"))
        and (everything("resources") or has("resources") or _any_subresource(rule, part))
        and all(_path_covered(rule, path) for path in part.get("nonResourceURLs") or ())
    )


def _any_subresource(rule: Rule, part: Rule) -> bool:
    _, slash, sub = part["resources"][0].partition("/") if part.get("resources") else ("", "", "")
    return bool(slash) and f"*/{sub}" in (rule.get("resources") or ())


def _path_covered(rule: Rule, path: str) -> bool:
    return any(
        own == path or (own.endswith("*") and path.startswith(own.rstrip("*")))
        for own in rule.get("nonResourceURLs") or ()
    )


def quoted(texts: Iterable[str]) -> str:
    """Go's %q of a list."""
    return "[" + " ".join(go_quote(text) for text in texts) + "]"


def _shown(rule: Rule) -> str:
    return "{" + ", ".join(f"{name}:{quoted(rule[field])}" for name, field in _SHOWN if rule.get(field)) + "}"
