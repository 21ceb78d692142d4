"""Resource quantities: `100m`, `1.5Gi`, `2e3` as exact numbers, and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from fractions import Fraction

_QUANTITY = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))(?:([eE][+-]?\d+)|([KMGTPE]i|[numkMGTPE]))?")
_SUFFIXES: dict[str, Fraction] = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
    "Ki": Fraction(2**10),
    "Mi": Fraction(2**20),
    "Gi": Fraction(2**30),
    "Ti": Fraction(2**40),
    "Pi": Fraction(2**50),
    "Ei": Fraction(2**60),
}


def parse_quantity(value: str | int | float) -> Fraction:
    """The exact number; ValueError if it is not a quantity."""
    found = _QUANTITY.fullmatch(str(value).strip())
    if not found:
        raise ValueError(f"{value!r} is not a quantity such as 500m, 2 or 1.5Gi")
    number, exponent, suffix = found.groups()
    amount = Fraction(Decimal(number + (exponent or "")))
    return amount * _SUFFIXES[suffix] if suffix else amount


def milli(value: str | int | float) -> int:
    """Thousandths, rounded up: CPU as the scheduler counts it."""
    amount = parse_quantity(value) * 1000
    return -(-amount.numerator // amount.denominator)


def whole(value: str | int | float) -> int:
    """Units, rounded up: bytes, pods."""
    amount = parse_quantity(value)
    return -(-amount.numerator // amount.denominator)


def amounts(resources: Mapping[str, str | int | float]) -> dict[str, int]:
    """A ResourceList with CPU in thousandths and everything else in units."""
    return {name: milli(value) if name == "cpu" else whole(value) for name, value in resources.items()}
