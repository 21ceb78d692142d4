"""The functions and operators of the CEL language itself."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from slipway.cluster.schema.cel.kinds import Functions
from slipway.cluster.schema.cel.problems import EvaluationError
from slipway.cluster.schema.cel.times import parse_duration, parse_timestamp, time_zone
from slipway.cluster.schema.cel.values import (
    MAX_INT,
    MAX_UINT,
    MIN_INT,
    Duration,
    Opaque,
    Timestamp,
    TypeValue,
    Uint,
    checked_int,
    checked_uint,
    equal,
    has_key,
    order_key,
    type_name,
)
from slipway.cluster.schema.regexp import InvalidPattern, compile_pattern
from slipway.cluster.status import go_float

STANDARD = Functions()
overload = STANDARD.overload
_ORDERED = ("bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration")
_NUMBERS = ("int", "uint", "double")


def _traverse(text: Any, *_: Any) -> float:
    """A tenth of a unit per character."""
    return len(text) / 10


def _compare_cost(a: Any, b: Any) -> float:
    return min(len(a), len(b)) / 10 if isinstance(a, str | bytes) and isinstance(b, str | bytes) else 0.0


def _pairs(operator: str) -> list[str]:
    pairs = [f"{operator}({kind}, {kind}) bool" for kind in _ORDERED]
    return pairs + [f"{operator}({a}, {b}) bool" for a in _NUMBERS for b in _NUMBERS if a != b]


@overload("_==_(A, A) bool")
def _equal(a: Any, b: Any) -> bool:
    return equal(a, b)


@overload("_!=_(A, A) bool")
def _not_equal(a: Any, b: Any) -> bool:
    return not equal(a, b)


@overload(*_pairs("_<_"), cost=_compare_cost)
def _less(a: Any, b: Any) -> bool:
    return bool(order_key(a) < order_key(b))


@overload(*_pairs("_<=_"), cost=_compare_cost)
def _less_or_equal(a: Any, b: Any) -> bool:
    return bool(order_key(a) <= order_key(b))


@overload(*_pairs("_>_"), cost=_compare_cost)
def _greater(a: Any, b: Any) -> bool:
    return bool(order_key(a) > order_key(b))


@overload(*_pairs("_>=_"), cost=_compare_cost)
def _greater_or_equal(a: Any, b: Any) -> bool:
    return bool(order_key(a) >= order_key(b))


@overload("!_(bool) bool")
def _not(a: bool) -> bool:
    return not a


@overload("@in(A, list(A)) bool", cost=lambda _, items: len(items))
def _in_list(item: Any, items: list[Any]) -> bool:
    return any(equal(item, one) for one in items)


@overload("@in(A, map(A, B)) bool")
def _in_map(key: Any, mapping: dict[Any, Any]) -> bool:
    try:
        return has_key(mapping, key)
    except TypeError:
        raise EvaluationError("no such overload") from None


@overload("_+_(int, int) int")
def _add_int(a: int, b: int) -> int:
    return checked_int(a + b)


@overload("_+_(uint, uint) uint")
def _add_uint(a: int, b: int) -> int:
    return checked_uint(a + b)


@overload("_+_(double, double) double")
def _add_double(a: float, b: float) -> float:
    return a + b


@overload("_+_(string, string) string", "_+_(bytes, bytes) bytes", cost=lambda a, b: (len(a) + len(b)) / 10)
def _concatenate(a: Any, b: Any) -> Any:
    return a + b


@overload("_+_(list(A), list(A)) list(A)")
def _concatenate_lists(a: list[Any], b: list[Any]) -> list[Any]:
    return [*a, *b]


@overload("_+_(timestamp, duration) timestamp", "_+_(duration, timestamp) timestamp")
def _add_time(a: Any, b: Any) -> Timestamp:
    return Timestamp(a.nanos + b.nanos, (a if isinstance(a, Timestamp) else b).offset)


@overload("_+_(duration, duration) duration")
def _add_duration(a: Duration, b: Duration) -> Duration:
    return Duration(a.nanos + b.nanos)


@overload("_-_(int, int) int")
def _subtract_int(a: int, b: int) -> int:
    return checked_int(a - b)


@overload("_-_(uint, uint) uint")
def _subtract_uint(a: int, b: int) -> int:
    return checked_uint(a - b)


@overload("_-_(double, double) double")
def _subtract_double(a: float, b: float) -> float:
    return a - b


@overload("_-_(timestamp, duration) timestamp")
def _subtract_time(a: Timestamp, b: Duration) -> Timestamp:
    return Timestamp(a.nanos - b.nanos, a.offset)


@overload("_-_(timestamp, timestamp) duration", "_-_(duration, duration) duration")
def _difference(a: Any, b: Any) -> Duration:
    return Duration(a.nanos - b.nanos)


@overload("_*_(int, int) int")
def _multiply_int(a: int, b: int) -> int:
    return checked_int(a * b)


@overload("_*_(uint, uint) uint")
def _multiply_uint(a: int, b: int) -> int:
    return checked_uint(a * b)


@overload("_*_(double, double) double")
def _multiply_double(a: float, b: float) -> float:
    return a * b


def _quotient(a: int, b: int) -> int:
    """Division that truncates towards zero."""
    if b == 0:
        raise EvaluationError("division by zero")
    return abs(a) // abs(b) * (1 if (a < 0) is (b < 0) else -1)


@overload("_/_(int, int) int")
def _divide_int(a: int, b: int) -> int:
    return checked_int(_quotient(a, b))


@overload("_/_(uint, uint) uint")
def _divide_uint(a: int, b: int) -> int:
    return checked_uint(_quotient(a, b))


@overload("_/_(double, double) double")
def _divide_double(a: float, b: float) -> float:
    if b:
        return a / b
    if not a or math.isnan(a):
        return math.nan
    return math.copysign(math.inf, a) * math.copysign(1.0, b)


@overload("_%_(int, int) int", "_%_(uint, uint) uint")
def _modulo(a: int, b: int) -> int:
    if b == 0:
        raise EvaluationError("modulus by zero")
    rest = int(a) - int(b) * _quotient(a, b)
    return Uint(rest) if isinstance(a, Uint) else rest


@overload("-_(int) int")
def _negate_int(a: int) -> int:
    return checked_int(-a)


@overload("-_(double) double")
def _negate_double(a: float) -> float:
    return -a


@overload("-_(duration) duration")
def _negate_duration(a: Duration) -> Duration:
    return Duration(-a.nanos)


@overload(
    *(f"size({kind}) int" for kind in ("string", "bytes", "list(A)", "map(A, B)")),
    *(f"{kind}.size() int" for kind in ("string", "bytes", "list(A)", "map(A, B)")),
)
def _size(value: Any) -> int:
    return len(value)


@overload("string.contains(string) bool", cost=lambda a, b: len(a) * max(len(b), 1) / 100)
def _contains(text: str, part: str) -> bool:
    return part in text


@overload("string.startsWith(string) bool", cost=lambda a, b: len(b) / 10)
def _starts_with(text: str, part: str) -> bool:
    return text.startswith(part)


@overload("string.endsWith(string) bool", cost=lambda a, b: len(b) / 10)
def _ends_with(text: str, part: str) -> bool:
    return text.endswith(part)


@overload(
    "string.matches(string) bool",
    "matches(string, string) bool",
    cost=lambda a, b: (len(a) + 1) / 10 * max(len(b) / 4, 1),
)
def _matches(text: str, pattern: str) -> bool:
    try:
        return compile_pattern(pattern).search(text)
    except InvalidPattern as error:
        raise EvaluationError(str(error)) from None


@overload("type(A) type(A)")
def _type(value: Any) -> TypeValue:
    return TypeValue(type_name(value) if not isinstance(value, Opaque) else value.type_name)


@overload("dyn(A) dyn", "int(int) int", "uint(uint) uint", "double(double) double", "bool(bool) bool")
@overload("string(string) string", "bytes(bytes) bytes")
@overload("timestamp(timestamp) timestamp", "duration(duration) duration")
def _same(value: Any) -> Any:
    return value


@overload("int(uint) int")
def _int_of_uint(value: int) -> int:
    return checked_int(int(value))


@overload("int(double) int")
def _int_of_double(value: float) -> int:
    if not -9.2233720368547758e18 < value < 9.2233720368547758e18:
        raise EvaluationError("integer overflow")
    return int(value)


@overload("int(string) int")
def _int_of_string(text: str) -> int:
    value = _parse_int(text, "ParseInt")
    if not MIN_INT <= value <= MAX_INT:
        raise _no_conversion("int")
    return value


_MOST_DIGITS = 20  # of what 64 bits hold


def _no_conversion(name: str) -> EvaluationError:
    return EvaluationError(f"type conversion error from 'string' to '{name}'")


def _parse_int(text: str, function: str) -> int:
    signed = text[:1] in ("+", "-") and function == "ParseInt"
    digits = text[1:] if signed else text
    if not (digits.isascii() and digits.isdigit()) or len(digits.lstrip("0")) > _MOST_DIGITS:
        raise _no_conversion("int" if function == "ParseInt" else "uint")
    value = int(digits.lstrip("0") or "0")
    return -value if text[:1] == "-" else value


@overload("int(timestamp) int")
def _int_of_timestamp(value: Timestamp) -> int:
    return value.nanos // 10**9


@overload("int(duration) int")
def _int_of_duration(value: Duration) -> int:
    return value.nanos


@overload("uint(int) uint")
def _uint_of_int(value: int) -> int:
    return checked_uint(value)


@overload("uint(double) uint")
def _uint_of_double(value: float) -> int:
    if not 0 <= value < 1.8446744073709552e19:
        raise EvaluationError("unsigned integer overflow")
    return Uint(int(value))


@overload("uint(string) uint")
def _uint_of_string(text: str) -> int:
    value = _parse_int(text, "ParseUint")
    if value > MAX_UINT:
        raise _no_conversion("uint")
    return checked_uint(value)


@overload("double(int) double", "double(uint) double")
def _double_of_int(value: int) -> float:
    return float(value)


@overload("double(string) double")
def _double_of_string(text: str) -> float:
    try:
        if text != text.strip() or "_" in text:
            raise ValueError
        return float(text)
    except ValueError:
        raise _no_conversion("double") from None


@overload("bool(string) bool")
def _bool_of_string(text: str) -> bool:
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    if text in ("0", "f", "F", "false", "FALSE", "False"):
        return False
    raise _no_conversion("bool")


@overload("string(bool) string", "string(int) string", "string(uint) string", "string(double) string")
@overload("string(timestamp) string", "string(duration) string")
def to_string(value: Any) -> str:
    """A scalar as string() gives it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return (
        go_float(value) if isinstance(value, float) else str(int(value) if isinstance(value, int) else value)
    )


@overload("string(bytes) string", cost=_traverse)
def _string_of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EvaluationError("invalid UTF-8 in bytes, cannot convert to string") from None


@overload("bytes(string) bytes", cost=_traverse)
def _bytes_of_string(value: str) -> bytes:
    return value.encode()


@overload("timestamp(string) timestamp")
def _timestamp_of_string(text: str) -> Timestamp:
    try:
        return parse_timestamp(text)
    except EvaluationError:
        raise _no_conversion("google.protobuf.Timestamp") from None


@overload("timestamp(int) timestamp")
def _timestamp_of_int(seconds: int) -> Timestamp:
    return Timestamp(seconds * 10**9)


@overload("duration(string) duration")
def _duration_of_string(text: str) -> Duration:
    try:
        return parse_duration(text)
    except EvaluationError:
        raise _no_conversion("google.protobuf.Duration") from None


@overload("duration(int) duration")
def _duration_of_int(nanos: int) -> Duration:
    return Duration(nanos)


def _getter(name: str, read: Any) -> None:
    @overload(f"timestamp.{name}() int")
    def _in_utc(value: Timestamp) -> int:
        return int(read(value.at(time_zone("UTC")), value))

    @overload(f"timestamp.{name}(string) int")
    def _in_zone(value: Timestamp, zone: str) -> int:
        return int(read(value.at(time_zone(zone)), value))


def _year_day(moment: datetime, _: Timestamp) -> int:
    return moment.timetuple().tm_yday - 1


for _name, _read in {
    "getFullYear": lambda moment, _: moment.year,
    "getMonth": lambda moment, _: moment.month - 1,
    "getDate": lambda moment, _: moment.day,
    "getDayOfMonth": lambda moment, _: moment.day - 1,
    "getDayOfYear": _year_day,
    "getDayOfWeek": lambda moment, _: (moment.weekday() + 1) % 7,
    "getHours": lambda moment, _: moment.hour,
    "getMinutes": lambda moment, _: moment.minute,
    "getSeconds": lambda moment, _: moment.second,
    "getMilliseconds": lambda _, value: value.nanos % 10**9 // 10**6,
}.items():
    _getter(_name, _read)

for _name, _unit in {"getHours": 3600 * 10**9, "getMinutes": 60 * 10**9, "getSeconds": 10**9}.items():
    overload(f"duration.{_name}() int")(lambda value, unit=_unit: _quotient(value.nanos, unit))


@overload("duration.getMilliseconds() int")
def _duration_milliseconds(value: Duration) -> int:
    return _quotient(value.nanos, 10**6)
