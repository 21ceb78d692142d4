"""Label selectors and node selectors, wherever a kind has one."""

from __future__ import annotations

from typing import Any

from slipway.cluster.registry.validation.findings import Findings, each
from slipway.cluster.registry.validation.metadata import labels_errors
from slipway.cluster.schema import names

Object = dict[str, Any]


def label_selector_errors(
    found: Findings, path: str, selector: Object | None, *, invalid_values: bool = False
) -> None:
    """metav1.LabelSelector; None is none. `invalid_values` tolerates label values of a wrong form."""
    if selector is None:
        return
    labels_errors(found, f"{path}.matchLabels", selector.get("matchLabels") or {}, any_value=invalid_values)
    for place, expression in each(selector, path, "matchExpressions"):
        operator = expression.get("operator", "")
        values = expression.get("values") or []
        if operator in ("In", "NotIn"):
            if not values:
                found.required(f"{place}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                found.forbidden(
                    f"{place}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                )
        else:
            found.invalid(f"{place}.operator", operator, "not a valid selector operator")
        found.named(f"{place}.key", expression.get("key", ""), names.label_key)
        if not invalid_values:
            for index, value in enumerate(values):
                found.named(f"{place}.values[{index}]", value, names.label_value)


def matches(selector: Object | None, labels: Object) -> bool:
    """Whether a valid selector takes these labels; an absent one takes none."""
    if selector is None:
        return False
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    for expression in selector.get("matchExpressions") or ():
        key, values = expression.get("key"), expression.get("values") or []
        match expression.get("operator"):
            case "In" if labels.get(key) not in values or key not in labels:
                return False
            case "NotIn" if key in labels and labels[key] in values:
                return False
            case "Exists" if key not in labels:
                return False
            case "DoesNotExist" if key in labels:
                return False
    return True


def is_valid(selector: Object) -> bool:
    """Whether a selector can be used for matching at all."""
    trial = Findings()
    label_selector_errors(trial, "", selector)
    return not trial.errors


def node_selector_errors(found: Findings, path: str, selector: Object) -> None:
    terms = selector.get("nodeSelectorTerms") or []
    if not terms:
        found.required(f"{path}.nodeSelectorTerms", "must have at least one node selector term")
    for place, term in each(selector, path, "nodeSelectorTerms"):
        node_selector_term_errors(found, place, term)


def node_selector_term_errors(found: Findings, path: str, term: Object) -> None:
    for place, expression in each(term, path, "matchExpressions"):
        _node_expression(found, place, expression)
        found.named(f"{place}.key", expression.get("key", ""), names.label_key)
    for place, expression in each(term, path, "matchFields"):
        values = expression.get("values") or []
        operator = expression.get("operator", "")
        if operator in ("In", "NotIn"):
            if len(values) != 1:
                found.required(
                    f"{place}.values",
                    "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
                )
        else:
            found.invalid(f"{place}.operator", operator, "not a valid selector operator")
        if expression.get("key") != "metadata.name":
            found.invalid(f"{place}.key", expression.get("key", ""), "not a valid field selector key")
        else:
            for index, value in enumerate(values):
                found.named(f"{place}.values[{index}]", value, names.dns1123_subdomain)


def _node_expression(found: Findings, path: str, expression: Object) -> None:
    values = expression.get("values") or []
    match expression.get("operator", ""):
        case "In" | "NotIn":
            if not values:
                found.required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
        case "Exists" | "DoesNotExist":
            if values:
                found.forbidden(
                    f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                )
        case "Gt" | "Lt":
            if len(values) != 1:
                found.required(
                    f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'"
                )
        case operator:
            found.invalid(f"{path}.operator", operator, "not a valid selector operator")
