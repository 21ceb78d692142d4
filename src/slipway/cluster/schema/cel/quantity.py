"""Kubernetes quantities (`500m`, `1.5Gi`, `1e3`) in CEL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar

from slipway.cluster.schema.cel.kinds import Functions
from slipway.cluster.schema.cel.problems import EvaluationError
from slipway.cluster.schema.cel.values import MAX_INT, MIN_INT, Opaque

QUANTITY = Functions()
overload = QUANTITY.overload
_FORM = re.compile(r"([+-]?)([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:([eE][+-]?[0-9]+)|(.*))", re.ASCII | re.DOTALL)
_SUFFIXES: dict[str, Fraction] = {
    "": Fraction(1),
    **{
        suffix: Fraction(1024) ** power
        for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)
    },
    **{suffix: Fraction(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{suffix: Fraction(1, 1000**power) for power, suffix in enumerate("mun", 1)},
}
_MALFORMED = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_UNPARSABLE = "unable to parse quantity's suffix"


def _traverse(text: Any, *_: Any) -> float:
    return len(text) / 10


@dataclass(frozen=True, slots=True)
class Quantity(Opaque):
    type_name: ClassVar[str] = "kubernetes.Quantity"
    amount: Fraction


def parse_quantity(text: str) -> Quantity:
    """The quantity; finer than a nano is rounded up."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise EvaluationError(_MALFORMED)
    sign, digits, exponent, suffix = found.groups()
    factor = _SUFFIXES.get(suffix or "")
    if factor is None:
        raise EvaluationError(
            _UNPARSABLE if re.fullmatch(r"[eEinumkKMGTP]*[-+]?[0-9]*", suffix) else _MALFORMED
        )
    if exponent:
        power = int(exponent[1:])
        if abs(power) > 10_000:
            raise EvaluationError(_UNPARSABLE)
        factor = Fraction(10) ** power
    nanos = Fraction(Decimal(digits)) * factor * 10**9
    whole = -((-nanos.numerator) // nanos.denominator)
    return Quantity(Fraction(-whole if sign == "-" else whole, 10**9))


@overload("quantity(string) kubernetes.Quantity", cost=_traverse)
def _quantity(text: str) -> Quantity:
    return parse_quantity(text)


@overload("isQuantity(string) bool", cost=_traverse)
def _is_quantity(text: str) -> bool:
    try:
        parse_quantity(text)
    except EvaluationError:
        return False
    return True


@overload("sign(kubernetes.Quantity) int")
def _sign(value: Quantity) -> int:
    return (value.amount > 0) - (value.amount < 0)


@overload("kubernetes.Quantity.isGreaterThan(kubernetes.Quantity) bool")
def _is_greater_than(a: Quantity, b: Quantity) -> bool:
    return a.amount > b.amount


@overload("kubernetes.Quantity.isLessThan(kubernetes.Quantity) bool")
def _is_less_than(a: Quantity, b: Quantity) -> bool:
    return a.amount < b.amount


@overload("kubernetes.Quantity.compareTo(kubernetes.Quantity) int")
def _compare_to(a: Quantity, b: Quantity) -> int:
    return (a.amount > b.amount) - (a.amount < b.amount)


@overload("kubernetes.Quantity.asApproximateFloat() double")
def _as_float(value: Quantity) -> float:
    return float(value.amount)


@overload("kubernetes.Quantity.isInteger() bool")
def _is_integer(value: Quantity) -> bool:
    return value.amount.denominator == 1 and MIN_INT <= value.amount <= MAX_INT


@overload("kubernetes.Quantity.asInteger() int")
def _as_integer(value: Quantity) -> int:
    if not _is_integer(value):
        raise EvaluationError("cannot convert value to integer")
    return int(value.amount)


@overload("kubernetes.Quantity.add(kubernetes.Quantity) kubernetes.Quantity")
def _add(a: Quantity, b: Quantity) -> Quantity:
    return Quantity(a.amount + b.amount)


@overload("kubernetes.Quantity.add(int) kubernetes.Quantity")
def _add_int(a: Quantity, b: int) -> Quantity:
    return Quantity(a.amount + b)


@overload("kubernetes.Quantity.sub(kubernetes.Quantity) kubernetes.Quantity")
def _sub(a: Quantity, b: Quantity) -> Quantity:
    return Quantity(a.amount - b.amount)


@overload("kubernetes.Quantity.sub(int) kubernetes.Quantity")
def _sub_int(a: Quantity, b: int) -> Quantity:
    return Quantity(a.amount - b)
