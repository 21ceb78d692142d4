"""What validation finds: field errors gathered under paths, with the checks that every kind uses."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any

from slipway.cluster.schema import names
from slipway.cluster.schema.quantity import parse_quantity
from slipway.cluster.status import FieldError

Object = dict[str, Any]
Check = Callable[[str], list[str]]
NOT_NEGATIVE = "must be greater than or equal to 0"


class Findings:
    """Errors in the order in which they were found. Paths are as clients see them: `spec.ports[0].name`."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []

    def required(self, path: str, detail: str = "") -> None:
        self.errors.append(FieldError("FieldValueRequired", path, detail=detail))

    def invalid(self, path: str, value: Any, detail: str, shown: str | None = None) -> None:
        if shown is None and isinstance(value, dict | list):
            # decoded objects have Go's order of fields
            shown = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        self.errors.append(FieldError("FieldValueInvalid", path, value, detail, shown))

    def unsupported(self, path: str, value: Any, allowed: Iterable[str]) -> None:
        supported = ", ".join(f'"{name}"' for name in allowed)
        self.errors.append(
            FieldError("FieldValueNotSupported", path, value, f"supported values: {supported}")
        )

    def forbidden(self, path: str, detail: str) -> None:
        self.errors.append(FieldError("FieldValueForbidden", path, detail=detail))

    def duplicate(self, path: str, value: Any, detail: str = "", shown: str | None = None) -> None:
        self.errors.append(FieldError("FieldValueDuplicate", path, value, detail, shown))

    def not_found(self, path: str, value: Any) -> None:
        self.errors.append(FieldError("FieldValueNotFound", path, value))

    def too_long(self, path: str, limit: int, unit: str = "bytes") -> None:
        self.errors.append(
            FieldError("FieldValueTooLong", path, detail=f"may not be more than {limit} {unit}")
        )

    def too_many(self, path: str, count: int, limit: int) -> None:
        self.errors.append(FieldError("FieldValueTooMany", path, count, f"must have at most {limit} items"))

    # Checks

    def needs(self, path: str, value: Any, detail: str = "") -> bool:
        """A value that is there; an error and False otherwise."""
        if value in (None, "", [], {}):
            self.required(path, detail)
            return False
        return True

    def one_of(self, path: str, value: Any, allowed: Iterable[str], *, optional: bool = False) -> None:
        allowed = tuple(allowed)
        if value in allowed or (optional and value in (None, "")):
            return
        self.unsupported(path, value or "", allowed)

    def chosen(self, path: str, value: Any, allowed: Iterable[str], detail: str = "") -> None:
        """Required, and one of these."""
        if self.needs(path, value, detail):
            self.one_of(path, value, allowed)

    def not_negative(self, path: str, value: Any) -> None:
        if value is not None and value < 0:
            self.invalid(path, value, NOT_NEGATIVE)

    def positive(self, path: str, value: Any, detail: str = "must be greater than 0") -> None:
        if value is not None and value <= 0:
            self.invalid(path, value, detail)

    def named(self, path: str, value: str, check: Check) -> None:
        """The value has the form that `check` (one of `names`) wants."""
        for text in check(value):
            self.invalid(path, value, text)

    def port(self, path: str, value: int) -> None:
        if not 1 <= value <= 65535:
            self.invalid(path, value, "must be between 1 and 65535, inclusive")

    def port_or_name(self, path: str, value: Any) -> None:
        if isinstance(value, str):
            self.named(path, value, port_name)
        else:
            self.port(path, value or 0)

    def same(self, path: str, value: Any, old: Any, detail: str = "field is immutable") -> None:
        if value != old:
            self.invalid(path, value, detail)

    def quantity(self, path: str, value: Any) -> Decimal:
        """An amount that is not negative."""
        amount = parse_quantity(value)
        if amount < 0:
            self.invalid(path, value, NOT_NEGATIVE)
        return amount


def difference(old: Object, new: Object) -> str:
    """What changed, as upstream shows it: a unified diff, though of JSON rather than of Go's structs."""
    before, after = (
        json.dumps(side, indent=2, sort_keys=True, ensure_ascii=False).splitlines() for side in (old, new)
    )
    lines = list(difflib.unified_diff(before, after, lineterm=""))[2:]
    return "".join(f"{line}\n" for line in lines)


def each(holder: Object, path: str, name: str) -> Iterator[tuple[str, Any]]:
    """Items of a list with their paths."""
    place = f"{path}.{name}" if path else name
    for index, item in enumerate(holder.get(name) or ()):
        yield f"{place}[{index}]", item


def port_name(value: str) -> list[str]:
    """IANA service names: at most 15 characters, with a letter."""
    wrong: list[str] = []
    if len(value) > 15:
        wrong.append("must be no more than 15 characters")
    if not re.fullmatch("[-a-z0-9]+", value):
        wrong.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        wrong.append("must contain at least one letter (a-z)")
    if "--" in value:
        wrong.append("must not contain consecutive hyphens")
    if value and (value[0] == "-" or value[-1] == "-"):
        wrong.append("must not begin or end with a hyphen")
    return wrong


_CONFIG_KEY = re.compile(r"[-._a-zA-Z0-9]+", re.ASCII)


def config_key(value: str) -> list[str]:
    """Keys of ConfigMaps and Secrets."""
    wrong: list[str] = []
    if len(value) > 253:
        wrong.append("must be no more than 253 characters")
    if not _CONFIG_KEY.fullmatch(value):
        wrong.append(
            names.mismatch(
                "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
                "[-._a-zA-Z0-9]+",
                "key.name",
                "KEY_NAME",
                "key-name",
            )
        )
    if value == ".":
        wrong.append("must not be '.'")
    elif value == "..":
        wrong.append("must not be '..'")
    elif value.startswith(".."):
        wrong.append("must not start with '..'")
    return wrong


def is_percent(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9]+%", value, re.ASCII) is not None


def count_or_percent(found: Findings, path: str, value: Any, *, limit_percent: bool = True) -> None:
    """intstr fields such as maxUnavailable: a count that is not negative, or a percentage up to 100 %."""
    if isinstance(value, str):
        if not is_percent(value):
            found.invalid(
                path,
                value,
                names.mismatch(
                    "a valid percent string must be a numeric string followed by an ending '%'",
                    "[0-9]+%",
                    "1%",
                    "93%",
                ),
            )
    else:
        found.not_negative(path, value)
    if limit_percent and is_percent(value) and int(value[:-1]) > 100:
        found.invalid(path, value, "must not be greater than 100%")


def percent_of(value: Any) -> int:
    """The number in a percentage, or the number itself."""
    return int(value[:-1]) if is_percent(value) else value if isinstance(value, int) else 0
