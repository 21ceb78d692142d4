"""Typed triggers: what can be proved wrong about a TargetApp before anything runs.

Fields that the query does not select, enum values that the schema does not have, comparisons that a type
cannot satisfy. The operator puts the same sentences into the condition QueryValid; `kco lint` prints them.
"""

from typing import Any

from graphql import GraphQLSchema, OperationType

from kco.spec.document import (
    FieldKind,
    InvalidQuery,
    Query,
    check_against_schema,
    check_query,
    field_kind,
    selects,
    suggestion,
)
from kco.spec.path import ENDPOINT, parse_path
from kco.spec.rule import NUMERIC, Trigger
from kco.spec.targetapp import TargetAppSpec

_NUMBERS = ("Int", "Float")


def check(spec: TargetAppSpec, schema: GraphQLSchema | None = None) -> tuple[Query, list[str]]:
    """The parsed query and every problem found; raises InvalidQuery where there is no usable query at all."""
    query = check_query(spec.state_query, operation_name=spec.operation_name)
    problems = check_against_schema(query, schema) if schema else []
    if spec.subscription is not None:
        check_query(spec.subscription.query, kind=OperationType.SUBSCRIPTION, field="subscription.query")
    for position, action in enumerate(spec.actions):
        for leaf in action.trigger.leaves():
            for text in check_trigger(query, leaf, schema):
                problems.append(f"actions[{position}].trigger: {text}")
    named = [(f"metrics[{at}].field", metric.field) for at, metric in enumerate(spec.metrics)]
    for place, text in named:
        wrong = selects(query, parse_path(text))
        if wrong:
            problems.append(f"{place}: {wrong}")
    return query, problems


def check_trigger(query: Query, leaf: Trigger, schema: GraphQLSchema | None) -> list[str]:
    """What is wrong with one comparison."""
    wrong = selects(query, leaf.path())
    if wrong:
        return [wrong]
    if schema is None or leaf.path()[0] == ENDPOINT:
        return []
    kind = field_kind(query, schema, leaf.path())
    return _check_kind(leaf, kind) if kind else []


def _check_kind(leaf: Trigger, kind: FieldKind) -> list[str]:
    condition, value = str(leaf.condition), leaf.value
    if kind.values:
        return _check_enum(leaf, kind)
    if condition in (*NUMERIC, "predicted") and kind.scalar and kind.name in ("String", "ID", "Boolean"):
        return [f"condition {condition} compares numbers, but {leaf.field!r} is {kind.name}"]
    if condition in ("equals", "not_equals") and kind.scalar and not kind.listed and value is not None:
        if kind.name == "Boolean" and not isinstance(value, bool):
            return [f"{leaf.field!r} is Boolean and never equals {value!r}; use true or false"]
        if kind.name in _NUMBERS and (isinstance(value, bool) or not isinstance(value, int | float)):
            return [f"{leaf.field!r} is {kind.name} and never equals {value!r}; give a number"]
        if kind.name in ("String", "ID") and not isinstance(value, str):
            return [f"{leaf.field!r} is {kind.name} and never equals {value!r}; give a string"]
    if condition == "matches" and kind.scalar and kind.name in (*_NUMBERS, "Boolean"):
        return [f"condition matches is for strings, but {leaf.field!r} is {kind.name}"]
    return []


def _check_enum(leaf: Trigger, kind: FieldKind) -> list[str]:
    condition = str(leaf.condition)
    if condition in (*NUMERIC, "predicted"):
        return [f"condition {condition} compares numbers, but {leaf.field!r} is the enum {kind.name}"]
    asked: list[Any] = []
    if condition in ("equals", "not_equals") and leaf.value is not None:
        asked = [leaf.value]
    elif condition == "in":
        asked = [item for item in leaf.value if item is not None]
    problems = []
    for value in asked:
        if value not in kind.values:
            hint = suggestion(str(value), list(kind.values))
            problems.append(f"{value!r} is not a value of the enum {kind.name}{hint}")
    return problems


__all__ = ["InvalidQuery", "check", "check_trigger"]
