"""Label selectors: which labels they choose, and how they are written in a query."""

from collections.abc import Mapping

from kco.spec.targetapp import Requirement, Selector


def matches(selector: Selector, labels: Mapping[str, str]) -> bool:
    """Whether an object with these labels is chosen. An empty selector chooses nothing here."""
    if selector.empty:
        return False
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    return all(_fits(requirement, labels) for requirement in selector.match_expressions)


def _fits(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    present = requirement.key in labels
    if requirement.operator == "Exists":
        return present
    if requirement.operator == "DoesNotExist":
        return not present
    if requirement.operator == "In":
        return present and labels[requirement.key] in requirement.values
    return not present or labels[requirement.key] not in requirement.values


def spell(selector: Selector) -> str:
    """As `labelSelector` in a query."""
    parts = [f"{key}={value}" for key, value in sorted(selector.match_labels.items())]
    for requirement in selector.match_expressions:
        words = ",".join(requirement.values)
        parts.append(
            {
                "In": f"{requirement.key} in ({words})",
                "NotIn": f"{requirement.key} notin ({words})",
                "Exists": requirement.key,
                "DoesNotExist": f"!{requirement.key}",
            }[requirement.operator]
        )
    return ",".join(parts)
