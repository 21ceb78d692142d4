"""CEL's optional values: making them, asking them, and taking them apart."""

from __future__ import annotations

from typing import Any

from slipway.cluster.schema.cel.kinds import Functions
from slipway.cluster.schema.cel.problems import EvaluationError
from slipway.cluster.schema.cel.values import Duration, Optional, Timestamp

OPTIONALS = Functions()
overload = OPTIONALS.overload


@overload("optional_type(A).or(optional_type(A)) optional_type(A)", "optional_type(A).orValue(A) A")
def _either(value: Optional, _: Any) -> Any:
    raise AssertionError("the compiler evaluates or and orValue lazily itself")


@overload("::optional.of(A) optional_type(A)")
def _optional_of(value: Any) -> Optional:
    return Optional(True, value)


@overload("::optional.ofNonZeroValue(A) optional_type(A)")
def _optional_of_non_zero(value: Any) -> Optional:
    zero = value is None or (not value and not isinstance(value, Duration | Timestamp))
    if isinstance(value, Duration | Timestamp):
        zero = value.nanos == 0
    return Optional() if zero else Optional(True, value)


@overload("::optional.none() optional_type(A)")
def _optional_none() -> Optional:
    return Optional()


@overload("optional_type(A).hasValue() bool")
def _has_value(value: Optional) -> bool:
    return value.present


@overload("optional_type(A).value() A")
def _value(value: Optional) -> Any:
    if not value.present:
        raise EvaluationError("optional.none() dereference")
    return value.value


@overload("::optional.unwrap(list(optional_type(A))) list(A)", "list(optional_type(A)).unwrapOpt() list(A)")
def _unwrap(values: list[Optional]) -> list[Any]:
    return [one.value for one in values if one.present]


@overload("list(A).first() optional_type(A)")
def _first(values: list[Any]) -> Optional:
    return Optional(True, values[0]) if values else Optional()


@overload("list(A).last() optional_type(A)")
def _last(values: list[Any]) -> Optional:
    return Optional(True, values[-1]) if values else Optional()
