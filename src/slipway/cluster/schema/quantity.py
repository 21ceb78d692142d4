"""resource.Quantity: exact amounts with suffixes (`100m`, `1.5Gi`, `2e3`).

Grammar and canonical form: k8s.io/apimachinery pkg/api/resource (facts only).
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from typing import Any

_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_FORM = re.compile(r"^([+-]?)(\d+\.?\d*|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d+)?$")
RULE = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


@lru_cache(maxsize=4096)
def _parse(text: str) -> tuple[Decimal, str]:
    found = _FORM.match(text)
    if found is None:
        raise ValueError(RULE)
    sign, digits, suffix = found.group(1), found.group(2), found.group(3) or ""
    number = Decimal(digits)
    if suffix in _BINARY:
        number *= Decimal(1024) ** _BINARY[suffix]
        form = "binary"
    elif suffix in _DECIMAL:
        number = number.scaleb(_DECIMAL[suffix])
        form = "decimal"
    else:
        number = number.scaleb(int(suffix[1:]))
        form = "exponent"
    # Nothing finer than a nano is kept; it is rounded up, away from zero.
    number = number.quantize(Decimal("1e-9"), rounding=ROUND_CEILING) if number % Decimal("1e-9") else number
    return (-number if sign == "-" else number), form


def parse_quantity(value: Any) -> Decimal:
    """The amount; ValueError with the API's rule if `value` is not a quantity."""
    return _parse(str(value).strip())[0]


def canonical(value: Any) -> str:
    """The one spelling that the API server answers with: `1000m` is `1`, `1024Mi` is `1Gi`."""
    number, form = _parse(str(value).strip())
    if number == 0:
        return "0"
    if form == "binary" and abs(number) >= 1024 and number == number.to_integral_value():
        whole = int(number)
        for suffix, power in reversed(_BINARY.items()):
            if whole % 1024**power == 0:
                return f"{whole // 1024**power}{suffix}"
        return str(whole)
    if form == "binary":
        form = "decimal"
    exponent = _exponent(number)
    digits = int(number.scaleb(-exponent))
    if form == "exponent":
        return f"{digits}e{exponent}" if exponent else str(digits)
    return f"{digits}{next(name for name, power in _DECIMAL.items() if power == exponent)}"


def _exponent(number: Decimal) -> int:
    """The largest multiple of three that leaves a whole number."""
    exponent = 18
    while exponent > -9 and number.scaleb(-exponent) != number.scaleb(-exponent).to_integral_value():
        exponent -= 3
    return exponent
