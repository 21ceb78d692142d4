"""A CRD's CEL rules when it is created: each must compile, be well-formed, and not cost too much in the worst case."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from slipway.cluster.schema.cel.cost import UNBOUNDED, estimate_cost
from slipway.cluster.schema.cel.declared import MOST_BYTES, kind_of, smallest_size
from slipway.cluster.schema.crd_printing import go_rule
from slipway.cluster.schema.shape import Shape
from slipway.cluster.schema.structural import shape_of_schema
from slipway.cluster.schema.structural_rules import Rule, compile_rules, valid_field_path
from slipway.cluster.status import FieldError

RULE_LIMIT = 10_000_000
SCHEMA_LIMIT = 100_000_000
_REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")


def form_errors(schema: dict[str, Any], path: str) -> Iterator[FieldError]:
    """What is wrong with the rules at one place, apart from the expressions."""
    for index, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
        where = f"{path}.x-kubernetes-validations[{index}]"
        text, message = rule.get("rule") or "", rule.get("message") or ""
        if not text.strip():
            yield _required(f"{where}.rule", "rule is not specified")
        elif message and not message.strip():
            yield _invalid(f"{where}.message", message, "must be non-empty if specified")
        elif re.search(r"[\n\r]", message.strip()):
            yield _invalid(f"{where}.message", message, "must not contain line breaks")
        elif re.search(r"[\n\r]", text.strip()) and not message.strip():
            yield _required(f"{where}.message", "message must be specified if rule contains line breaks")
        expression = rule.get("messageExpression") or ""
        if expression and not expression.strip():
            yield _required(f"{where}.messageExpression", "messageExpression must be non-empty if specified")
        yield from _reason_and_path_errors(rule, schema, where)


def _reason_and_path_errors(rule: dict[str, Any], schema: dict[str, Any], where: str) -> Iterator[FieldError]:
    reason = rule.get("reason")
    if reason is not None and reason not in _REASONS:
        shown = ", ".join(f'"{one}"' for one in _REASONS)
        yield FieldError("FieldValueNotSupported", f"{where}.reason", reason, f"supported values: {shown}")
    field_path = rule.get("fieldPath") or ""
    if field_path and not field_path.strip():
        yield _invalid(f"{where}.fieldPath", field_path, "must be non-empty if specified")
    if re.search(r"[\n\r]", field_path):
        yield _invalid(f"{where}.fieldPath", field_path, "must not contain line breaks")
    if field_path:
        try:
            valid_field_path(field_path, shape_of_schema(schema))
        except ValueError:
            yield _invalid(f"{where}.fieldPath", field_path, "must be a valid path")


def _invalid(where: str, value: Any, why: str) -> FieldError:
    return FieldError("FieldValueInvalid", where, value, why)


def _required(where: str, why: str) -> FieldError:
    return FieldError("FieldValueRequired", where, "", why)


def _forbidden(where: str, why: str) -> FieldError:
    return FieldError("FieldValueForbidden", where, "", why)


@dataclass(frozen=True, slots=True)
class _Place:
    """`times`: how often values can stand here in one object, None if unbounded. `uncorrelatable`: the first
    place above where old and new values cannot be matched."""

    root: bool = True
    times: int | None = 1
    uncorrelatable: str = ""

    def inside(self, most: int | None) -> _Place:
        times = None if self.times is None or most is None else min(self.times * most, UNBOUNDED)
        return replace(self, root=False, times=times)


@dataclass(slots=True)
class _Costs:
    """What all rules of a schema cost together, and the dearest few."""

    total: int = 0
    by_path: list[tuple[int, str]] = field(default_factory=list)

    def add(self, cost: int, path: str) -> None:
        self.total = min(self.total + cost, UNBOUNDED)
        self.by_path.append((cost, path))


def expression_errors(schema: dict[str, Any], path: str, unchanged: bool) -> list[FieldError]:
    """What is wrong with the expressions of a valid schema. `unchanged`: the stored CRD has the same, so limits
    that a newer version tightened do not apply."""
    costs = _Costs()
    errors = list(_walk(schema, shape_of_schema(schema), path, _Place(), costs, unchanged))
    if costs.total > SCHEMA_LIMIT:
        why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
        dearest = sorted((one for one in costs.by_path if one[0] > 0), key=lambda one: -one[0])[:4]
        errors += [_forbidden(where, why) for _, where in dearest]
        name = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        errors.append(_forbidden(path, _over_budget(name, costs.total, SCHEMA_LIMIT)))
    return errors


def _walk(
    schema: dict[str, Any], shape: Shape, path: str, place: _Place, costs: _Costs, unchanged: bool
) -> Iterator[FieldError]:
    if shape.additional is not None and isinstance(schema.get("additionalProperties"), dict):
        below = place.inside(shape.rules.get("maxProperties"))
        child = schema["additionalProperties"]
        yield from _walk(child, shape.additional, f"{path}.additionalProperties", below, costs, unchanged)
    for name, child in (schema.get("properties") or {}).items():
        below = replace(place, root=False)
        where = f"{path}.properties[{name}]"
        yield from _walk(child, shape.properties[name], where, below, costs, unchanged)
    if shape.items is not None:
        below = place.inside(shape.rules.get("maxItems"))
        if shape.list_type != "map" and not below.uncorrelatable:
            below = replace(below, uncorrelatable=path)
        yield from _walk(schema["items"], shape.items, f"{path}.items", below, costs, unchanged)
    if schema.get("x-kubernetes-validations"):
        yield from _rules_errors(shape, path, place, costs, unchanged)


def _rules_errors(
    shape: Shape, path: str, place: _Place, costs: _Costs, unchanged: bool
) -> Iterator[FieldError]:
    root = place.root or shape.embedded
    kind = kind_of(shape, root)
    if kind is None:
        where = f"{path}.x-kubernetes-validations"
        why = "internal error: failed to retrieve type information for x-kubernetes-validations"
        yield FieldError("InternalError", where, None, why)
        return
    times = place.times if place.times is not None else MOST_BYTES // (smallest_size(shape, root) + 1)
    for index, rule in enumerate(compile_rules(shape, shape, kind)):
        where = f"{path}.x-kubernetes-validations[{index}]"
        yield from _cost_errors(rule, where, times, costs, unchanged)
        if rule.problem:
            yield FieldError("FieldValueInvalid", f"{where}.rule", None, rule.problem, go_rule(rule.source))
        if rule.message_problem:
            shown = go_rule(rule.source)
            yield FieldError(
                "FieldValueInvalid", f"{where}.messageExpression", None, rule.message_problem, shown
            )
        if rule.uses_old and place.uncorrelatable:
            why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {place.uncorrelatable}"
            yield _invalid(f"{where}.rule", rule.source["rule"], why)
        elif not rule.uses_old and rule.source.get("optionalOldSelf") is not None:
            why = "may not be set if oldSelf is not used in rule"
            yield _invalid(f"{where}.optionalOldSelf", rule.source["optionalOldSelf"], why)


def _cost_errors(rule: Rule, where: str, times: int, costs: _Costs, unchanged: bool) -> Iterator[FieldError]:
    if rule.program is not None:
        cost = min(estimate_cost(rule.program.checked) * times, UNBOUNDED)
        if cost > RULE_LIMIT and not unchanged:
            yield _forbidden(f"{where}.rule", _over_budget("estimated rule cost", cost, RULE_LIMIT))
        costs.add(cost, f"{where}.rule")
    if rule.message_program is not None:
        cost = estimate_cost(rule.message_program.checked)
        if cost > RULE_LIMIT and not unchanged:
            why = _over_budget("estimated messageExpression cost", cost, RULE_LIMIT)
            yield _forbidden(f"{where}.messageExpression", why)
        costs.add(cost, f"{where}.messageExpression")


def _over_budget(name: str, cost: int, limit: int) -> str:
    factor = cost / limit
    shown = "more than 100x" if factor > 100 else f"{factor:f}x" if factor < 1.5 else f"{factor:.1f}x"
    return (
        f"{name} exceeds budget by factor of {shown} (try simplifying the rule, or adding maxItems, maxProperties, "
        "and maxLength where arrays, maps, and strings are declared)"
    )
