"""Lengths of time as people write them: `90`, `"90s"`, `"10m"`, `"1h30m"`, `"250ms"`."""

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_duration(value: Any) -> float:
    """Seconds; raises ValueError for anything that is not a length of time."""
    if isinstance(value, bool):
        raise ValueError("must be a length of time such as 90, '90s' or '10m', not true or false")
    if isinstance(value, int | float):
        seconds = float(value)
    elif isinstance(value, str):
        text = value.strip()
        if re.fullmatch(r"\d+(\.\d+)?", text):
            seconds = float(text)
        else:
            parts = _PART.findall(text)
            if not parts or "".join(number + unit for number, unit in parts) != text:
                raise ValueError(f"{value[:40]!r} is not a length of time such as '90s', '10m' or '1h30m'")
            seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    else:
        raise ValueError(f"must be a length of time such as 90, '90s' or '10m', not {type(value).__name__}")
    if not 0 <= seconds <= 31_536_000:
        raise ValueError(f"{value!r} is out of bounds: 0 to one year")
    return seconds


Duration = Annotated[
    float, BeforeValidator(parse_duration), WithJsonSchema({"x-kubernetes-int-or-string": True})
]
