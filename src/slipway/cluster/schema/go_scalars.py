"""Scalars as Go decodes them: quantities, times, bytes, int-or-string; what fits, its one spelling, and the errors."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from slipway.cluster.schema.builtin import definitions
from slipway.cluster.schema.quantity import RULE, canonical


class NotDecodable(ValueError):
    """A value that Go cannot decode; the text is Go's."""


class Mismatch(Exception):
    """A value of another JSON type than `go_type` takes; where it stands is for the caller to say. `kind` is Go's for a
    simple type ("int32"), and empty for others."""

    def __init__(self, value: Any, go_type: str, kind: str = "") -> None:
        super().__init__(go_type)
        self.value = value
        self.go_type = go_type
        self.kind = kind


_RANGES = {"int32": 2**31, "int64": 2**63}


def json_type(value: Any) -> str:
    """How encoding/json names the type of a value that it cannot use ("cannot unmarshal array into …")."""
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "null"


def literal(value: Any) -> str:
    return repr(value)


def untyped(value: Any) -> Any:
    """A value of no struct, with its numbers as Go keeps and writes them: 1.0 and 1e2 are whole, and what 64 bits do
    not hold is a float. NotDecodable for a number that is too large even for that."""
    if isinstance(value, dict):
        return {name: untyped(item) for name, item in value.items()}
    if isinstance(value, list):
        return [untyped(item) for item in value]
    if isinstance(value, float):
        return _untyped_number(value)
    if type(value) is int and not -(2**63) <= value < 2**63:
        return _untyped_number(value)
    return value


def _untyped_number(value: float) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise NotDecodable("json: cannot unmarshal number into Go value of type float64")
    return int(number) if number.is_integer() and -(2**63) <= number < 2**63 else number


def fits(value: Any, kind: str, form: str, lenient: bool) -> bool:
    """Whether a scalar can be decoded; `lenient` takes whole floats as integers."""
    if kind == "string":
        return isinstance(value, str)
    if kind == "boolean":
        return isinstance(value, bool)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if kind == "number":
        return True
    if isinstance(value, float):
        return lenient and value.is_integer()
    limit = _RANGES.get(form, 2**63)
    return -limit <= value < limit


def decoded(value: Any, form: str) -> Any:
    """The one spelling of a scalar that fits."""
    if form == "byte":
        return _bytes(value)
    if isinstance(value, float) and form in _RANGES:
        return int(value)
    return value


_GROUPS = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_PADDING = ord("=")
_LINE_ENDS = frozenset(b"\r\n")


def _bytes(text: str) -> str:
    plain = text.replace("\r", "").replace("\n", "")
    if _GROUPS.fullmatch(plain) is None:
        bad = _bad_byte(text.encode(errors="surrogatepass"))
        raise NotDecodable(f"illegal base64 data at input byte {bad}")
    return base64.b64encode(base64.b64decode(plain)).decode()


def _bad_byte(text: bytes) -> int | None:
    """The offset that Go's encoding/base64 reports for what it refuses: where a byte cannot stand, or where the
    group of four begins that the end cuts short."""
    at = filled = 0
    while at < len(text):
        byte, at = text[at], at + 1
        if byte in _BASE64:
            filled = (filled + 1) % 4
        elif byte == _PADDING and filled >= 2:
            return _bad_padding(text, at, filled)
        elif byte not in _LINE_ENDS:
            return at - 1
    return at - filled if filled else None


def _bad_padding(text: bytes, at: int, filled: int) -> int | None:
    """The same from behind the first `=`, which `filled` characters of its group precede."""
    at = _behind_line_ends(text, at)
    if filled == 2:
        if at == len(text):
            return at
        if text[at] != _PADDING:
            return at - 1
        at = _behind_line_ends(text, at + 1)
    return at if at < len(text) else None


def _behind_line_ends(text: bytes, at: int) -> int:
    while at < len(text) and text[at] in _LINE_ENDS:
        at += 1
    return at


def _quantity(value: Any) -> str:
    if isinstance(value, dict | list | bool):
        raise NotDecodable(RULE)
    try:
        return canonical(value)
    except ValueError:
        raise NotDecodable(RULE) from None


def _int_or_string(value: Any) -> Any:
    if isinstance(value, str) or fits(value, "integer", "int32", lenient=False):
        return value
    raise Mismatch(value, "int32", "int32")


def _time(value: Any) -> str:
    return _named_second(value) if isinstance(value, str) else _second(value)


def _second(value: Any) -> str:
    return _written(_moment(value, "2006-01-02T15:04:05Z07:00"), "seconds")


_named_second = lru_cache(4096)(_second)  # objects name few moments, and name them again and again


def _micro_time(value: Any) -> str:
    return _written(_moment(value, "2006-01-02T15:04:05.000000Z07:00"), "microseconds")


def _written(moment: datetime, precision: str) -> str:
    # Not strftime: it writes the year 1 as 1, not 0001.
    return f"{moment.replace(tzinfo=None).isoformat(timespec=precision)}Z"


_LAYOUT = re.compile(r"2006|01|02|15|04|05|\.000000|Z07:00|.")
_PARTS = {
    "2006": (r"\d{4}", "year", 0, 9999),
    "01": (r"\d\d", "month", 1, 12),
    "02": (r"\d\d", "day", 1, 31),
    "15": (r"\d\d", "hour", 0, 23),
    "04": (r"\d\d", "minute", 0, 59),
    "05": (r"\d\d", "second", 0, 59),
    ".000000": (r"\.\d{6}", "fraction", None, None),
    "Z07:00": (r"Z|[+-]\d\d:\d\d", "zone", None, None),
}


def _moment(value: Any, layout: str) -> datetime:
    """A time in UTC. NotDecodable names, as Go does, the first part of the layout that is not there."""
    if not isinstance(value, str):
        raise Mismatch(value, "string", "string")
    start = f'parsing time "{value}"'
    rest = value
    for part in _LAYOUT.findall(layout):
        pattern, name, lowest, highest = _PARTS.get(part, (re.escape(part), "", None, None))
        found = re.match(pattern, rest, re.ASCII)
        if found is None:
            raise NotDecodable(f'{start} as "{layout}": cannot parse "{rest}" as "{part}"')
        if lowest is not None and highest is not None and not lowest <= int(found.group()) <= highest:
            raise NotDecodable(f"{start}: {name} out of range")
        rest = rest[found.end() :]
        if part == "05" and ".000000" not in layout:  # a fraction is taken where the layout has none
            fraction = re.match(r"[.,]\d+", rest, re.ASCII)
            rest = rest[fraction.end() :] if fraction else rest
    if rest:
        raise NotDecodable(f'{start}: extra text: "{rest}"')
    try:
        plain = re.sub(r"[.,](\d{1,6})\d*", lambda m: "." + m.group(1).ljust(6, "0"), value)
        return datetime.fromisoformat(plain.replace("Z", "+00:00")).astimezone(UTC)
    except (ValueError, OverflowError):
        raise NotDecodable(f"{start}: day out of range") from None


_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.Time"
_MICRO_TIME = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime"

SPECIAL: dict[str, Callable[[Any], Any]] = {
    _QUANTITY: _quantity,
    _INT_OR_STRING: _int_or_string,
    _TIME: _time,
    _MICRO_TIME: _micro_time,
}
ZEROS: dict[str, Any] = {_QUANTITY: "0", _INT_OR_STRING: 0, _TIME: None, _MICRO_TIME: None}


def is_struct(definition: str, minor: str) -> bool:
    """Whether a type without listed fields is a struct (an empty one), not a type with a JSON form of its own."""
    return bool(definitions(minor).get(definition, {}).get("type") == "object")


_GO_KINDS = {
    "dict": "map",
    "list": "slice",
    "str": "string",
    "int": "int64",
    "float": "float64",
    "bool": "bool",
}


_NUMBERS = {"int32", "int64", "float64"}


def conversion_error(value: Any, go_type: str, kind: str) -> str:
    """The words of the conversion from untyped values to structs; `kind` is that of a simple type, else empty."""
    source = _GO_KINDS[type(value).__name__]
    if go_type.startswith("[]"):
        return f"cannot restore slice from {source}"
    if go_type.startswith("map[") or go_type.endswith("ResourceList"):
        return f"cannot restore map from {source}"
    if not kind:
        return f"cannot restore struct from: {source}"
    if source == kind or (source, kind) == ("int64", "string") or {source, kind} <= _NUMBERS:
        return f"cannot convert {source} to {go_type}"  # what Go calls convertible
    return f"unrecognized type: {kind}"
