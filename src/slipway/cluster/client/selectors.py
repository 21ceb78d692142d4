"""Label selectors: the LabelSelector object, the plain map of a Service, and node selector terms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Labels = Mapping[str, str]


def matches(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """A metav1.LabelSelector. None selects nothing, an empty one everything."""
    if selector is None:
        return False
    return matches_map(selector.get("matchLabels") or {}, labels) and all(
        _expression(expression, labels) for expression in selector.get("matchExpressions") or ()
    )


def matches_map(wanted: Labels, labels: Labels) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def matches_terms(terms: Iterable[Mapping[str, Any]], labels: Labels, name: str) -> bool:
    """NodeSelectorTerms: one must hold; within a term everything must. An empty term holds for nothing."""
    return any(matches_term(term, labels, name) for term in terms)


def matches_term(term: Mapping[str, Any], labels: Labels, name: str) -> bool:
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_expression(expression, labels) for expression in expressions) and all(
        _expression(expression, {"metadata.name": name}) for expression in fields
    )


def is_empty(selector: Mapping[str, Any] | None) -> bool:
    """Whether it has no requirement at all (and so selects everything)."""
    return selector is not None and not selector.get("matchLabels") and not selector.get("matchExpressions")


def to_text(selector: Mapping[str, Any]) -> str:
    """The query-string form: `a=b,c in (d,e),!f`."""
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        key, operator = expression["key"], expression["operator"]
        values = ",".join(sorted(expression.get("values") or ()))
        if operator in ("In", "NotIn"):
            parts.append(f"{key} {'in' if operator == 'In' else 'notin'} ({values})")
        else:
            parts.append(key if operator == "Exists" else f"!{key}")
    return ",".join(parts)


def _expression(expression: Mapping[str, Any], labels: Labels) -> bool:
    key, operator = expression["key"], expression["operator"]
    values: list[str] = expression.get("values") or []
    present = key in labels
    if operator == "In":
        return present and labels[key] in values
    if operator == "NotIn":
        return not present or labels[key] not in values
    if operator == "Exists":
        return present
    if operator == "DoesNotExist":
        return not present
    if operator in ("Gt", "Lt") and present:
        try:
            have, bound = int(labels[key]), int(values[0])
        except (ValueError, IndexError):
            return False
        return have > bound if operator == "Gt" else have < bound
    return False
