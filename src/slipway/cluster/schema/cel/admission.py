"""CEL at admission: what its expressions may speak of, and `matchConditions` of webhooks.

Declarations follow apiserver `pkg/admission/plugin/cel/compile.go` at 1.37.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from slipway.cluster.schema import names
from slipway.cluster.schema.cel import kinds
from slipway.cluster.schema.cel.authorizer import AUTHORIZER, AUTHORIZER_KIND
from slipway.cluster.schema.cel.kinds import BOOL, DYN, INT, STRING, TIMESTAMP, Kind
from slipway.cluster.schema.cel.library import KUBERNETES
from slipway.cluster.schema.cel.problems import (
    CompileError,
    CostExceeded,
    EvaluationError,
    InstantiationError,
)
from slipway.cluster.schema.cel.program import Program, compile
from slipway.cluster.status import FieldError

FUNCTIONS = KUBERNETES.merged(AUTHORIZER)
MATCH_CONDITIONS_BUDGET = 2_500_000
_MOST_CONDITIONS = 64

_KIND = Kind("kubernetes.GroupVersionKind", fields={"group": STRING, "version": STRING, "kind": STRING})
_RESOURCE = Kind(
    "kubernetes.GroupVersionResource", fields={"group": STRING, "version": STRING, "resource": STRING}
)
_USER = Kind(
    "kubernetes.UserInfo",
    fields={
        "username": STRING,
        "uid": STRING,
        "groups": kinds.list_of(STRING),
        "extra": kinds.map_of(STRING, kinds.list_of(STRING)),
    },
)
REQUEST = Kind(
    "kubernetes.AdmissionRequest",
    fields={
        "kind": _KIND,
        "resource": _RESOURCE,
        "subResource": STRING,
        "requestKind": _KIND,
        "requestResource": _RESOURCE,
        "requestSubResource": STRING,
        "name": STRING,
        "namespace": STRING,
        "operation": STRING,
        "userInfo": _USER,
        "dryRun": BOOL,
        "options": DYN,
    },
)
_CONDITION = Kind(
    "kubernetes.NamespaceCondition",
    fields={
        "type": STRING,
        "status": STRING,
        "reason": STRING,
        "message": STRING,
        "lastTransitionTime": TIMESTAMP,
    },
)
_METADATA = Kind(
    "kubernetes.NamespaceMetadata",
    fields={
        "name": STRING,
        "generateName": STRING,
        "namespace": STRING,
        "labels": kinds.map_of(STRING, STRING),
        "annotations": kinds.map_of(STRING, STRING),
        "UID": STRING,
        "creationTimestamp": TIMESTAMP,
        "deletionGracePeriodSeconds": INT,
        "deletionTimestamp": TIMESTAMP,
        "generation": INT,
        "resourceVersion": STRING,
        "finalizers": kinds.list_of(STRING),
    },
)
_NAMESPACE = Kind(
    "kubernetes.Namespace",
    fields={
        "metadata": _METADATA,
        "spec": Kind("kubernetes.NamespaceSpec", fields={"finalizers": kinds.list_of(STRING)}),
        "status": Kind(
            "kubernetes.NamespaceStatus", fields={"conditions": kinds.list_of(_CONDITION), "phase": STRING}
        ),
    },
)
VARIABLES: Mapping[str, Kind] = {
    "object": DYN,
    "oldObject": DYN,
    "request": REQUEST,
    "namespaceObject": _NAMESPACE,
    "authorizer": AUTHORIZER_KIND,
}


class UndecidedConditions(Exception):
    """Some conditions could not be evaluated and none was false; the text tells why."""


@lru_cache(maxsize=512)
def compile_condition(expression: str) -> Program:
    """A condition over `VARIABLES`; raises CompileError, InstantiationError, or TypeError if it is no bool."""
    program = compile(expression.strip(), VARIABLES, FUNCTIONS)
    if program.kind.name != "bool":
        got = "null_type" if program.kind.name == "null" else program.kind
        raise TypeError(f"must evaluate to bool but got {got}")
    return program


def match_condition_errors(conditions: Sequence[Mapping[str, Any]], path: str) -> Iterator[FieldError]:
    """What is wrong with `matchConditions` when a webhook is configured."""
    if len(conditions) > _MOST_CONDITIONS:
        yield FieldError(
            "FieldValueTooMany", path, len(conditions), f"must have at most {_MOST_CONDITIONS} items"
        )
    seen: set[str] = set()
    for index, condition in enumerate(conditions):
        where = f"{path}[{index}]"
        expression = (condition.get("expression") or "").strip()
        if not expression:
            yield FieldError("FieldValueRequired", f"{where}.expression")
        else:
            why = _why_not(expression)
            if why:
                yield FieldError("FieldValueInvalid", f"{where}.expression", expression, why)
        name = condition.get("name") or ""
        if not name:
            yield FieldError("FieldValueRequired", f"{where}.name")
            continue
        for text in names.label_key(name):
            yield FieldError("FieldValueInvalid", f"{where}.name", name, text)
        if name in seen:
            yield FieldError("FieldValueDuplicate", f"{where}.name", name)
        seen.add(name)


def _why_not(expression: str) -> str:
    try:
        compile_condition(expression)
    except CompileError as error:
        return f"compilation failed: {error}"
    except (InstantiationError, TypeError) as error:
        return str(error)
    return ""


def conditions_match(conditions: Sequence[Mapping[str, Any]], bindings: Mapping[str, Any]) -> bool:
    """Whether all conditions are true; one that is false decides, whatever the others' errors.

    Raises UndecidedConditions, which the failure policy of whoever asks then decides.
    """
    problems: list[str] = []
    budget: float = MATCH_CONDITIONS_BUDGET
    for condition in conditions:
        expression = (condition.get("expression") or "").strip()
        try:
            passed, cost = compile_condition(expression).evaluate_with_cost(bindings)
            budget -= cost
        except (EvaluationError, CostExceeded, CompileError, InstantiationError, TypeError) as error:
            problems.append(f"expression '{expression}' resulted in error: {error}")
            continue
        if budget < 0:
            raise UndecidedConditions(
                "validation failed due to running out of cost budget, no further validation rules will be run"
            )
        if passed is False:
            return False
    if problems:
        unique = list(dict.fromkeys(problems))
        raise UndecidedConditions(unique[0] if len(unique) == 1 else f"[{', '.join(unique)}]")
    return True
