"""CEL values in Python: what they are, when they are equal, and how they are ordered.

bool, int, float, str, bytes, None, list and dict stand for themselves; here are the others. Numbers of
different types are equal if their mathematical values are; `1 == true` is not, unlike in Python.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, ClassVar

from slipway.cluster.schema.cel.problems import EvaluationError

MAX_INT = 2**63 - 1
MIN_INT = -(2**63)
MAX_UINT = 2**64 - 1
_MIN_SECONDS = -62135596800  # 0001-01-01T00:00:00Z
_MAX_SECONDS = 253402300799  # 9999-12-31T23:59:59Z
_SECOND = 10**9


class Uint(int):
    """An unsigned 64-bit integer. Arithmetic gives plain ints, which operators wrap again."""

    __slots__ = ()


class Duration:
    """A length of time in nanoseconds."""

    __slots__ = ("nanos",)

    def __init__(self, nanos: int) -> None:
        if not MIN_INT <= nanos <= MAX_INT:
            raise EvaluationError("duration overflow")
        self.nanos = nanos

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and other.nanos == self.nanos

    def __hash__(self) -> int:
        return hash(("duration", self.nanos))

    def __repr__(self) -> str:
        return f"Duration({self})"

    def __str__(self) -> str:
        """Seconds with as many decimals as needed: `90s`, `0.5s`."""
        whole, rest = divmod(abs(self.nanos), _SECOND)
        decimals = f".{rest:09d}".rstrip("0") if rest else ""
        return f"{'-' if self.nanos < 0 else ''}{whole}{decimals}s"


class Timestamp:
    """An instant: nanoseconds since 1970-01-01T00:00:00Z, within years 1 to 9999.

    `offset` in minutes is that of the text it was read from; it shows when the instant is printed, only.
    """

    __slots__ = ("nanos", "offset")

    def __init__(self, nanos: int, offset: int = 0) -> None:
        if not _MIN_SECONDS <= nanos // _SECOND <= _MAX_SECONDS:
            raise EvaluationError("timestamp overflow")
        self.nanos = nanos
        self.offset = offset

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timestamp) and other.nanos == self.nanos

    def __hash__(self) -> int:
        return hash(("timestamp", self.nanos))

    def __repr__(self) -> str:
        return f"Timestamp({self})"

    def __str__(self) -> str:
        rest = self.nanos % _SECOND
        decimals = f".{rest:09d}".rstrip("0") if rest else ""
        hours, minutes = divmod(abs(self.offset), 60)
        zone = f"{'-' if self.offset < 0 else '+'}{hours:02d}:{minutes:02d}" if self.offset else "Z"
        shown = self.at(timezone(timedelta(minutes=self.offset)))
        return f"{shown:%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + decimals + zone

    def at(self, zone: timezone | Any) -> datetime:
        """The instant, whole seconds of it, in a time zone."""
        start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=self.nanos // _SECOND)
        return start.astimezone(zone)


class Optional:
    """`optional.of(value)` or `optional.none()`."""

    __slots__ = ("present", "value")

    def __init__(self, present: bool = False, value: Any = None) -> None:
        self.present = present
        self.value = value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Optional) or other.present is not self.present:
            return False
        return not self.present or equal(self.value, other.value)

    def __hash__(self) -> int:
        return hash(self.present)

    def __repr__(self) -> str:
        return f"Optional({self.value!r})" if self.present else "Optional()"


NONE = Optional()


class TypeValue:
    """A type as a value: what `type(x)` gives and names like `int` mean."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TypeValue) and other.name == self.name

    def __hash__(self) -> int:
        return hash(("type", self.name))

    def __repr__(self) -> str:
        return f"TypeValue({self.name})"


class Opaque:
    """Base of values of Kubernetes' own types; `type_name` is what `type(x)` is called."""

    __slots__ = ()
    type_name: ClassVar[str] = ""


def type_name(value: Any) -> str:
    """The name of a value's type, as overloads are matched with."""
    name = _NAMES.get(type(value))
    if name is not None:
        return name
    return value.type_name if isinstance(value, Opaque) else "dyn"


_NAMES: dict[type, str] = {
    bool: "bool",
    int: "int",
    Uint: "uint",
    float: "double",
    str: "string",
    bytes: "bytes",
    type(None): "null_type",
    list: "list",
    dict: "map",
    Duration: "google.protobuf.Duration",
    Timestamp: "google.protobuf.Timestamp",
    Optional: "optional_type",
    TypeValue: "type",
}


def equal(a: Any, b: Any) -> bool:
    """CEL's `==` for any two values."""
    kind, other = type(a), type(b)
    if kind is list and other is list:
        return len(a) == len(b) and all(map(equal, a, b))
    if kind is dict and other is dict:
        return _equal_maps(a, b)
    if (kind is bool) is not (other is bool):
        return False
    return bool(a == b)


def _equal_maps(a: dict[Any, Any], b: dict[Any, Any]) -> bool:
    if len(a) != len(b):
        return False
    return all(has_key(b, key) and equal(value, b[key]) for key, value in a.items())


def has_key(mapping: dict[Any, Any], key: Any) -> bool:
    """`key in mapping` with CEL's equality: in Python `1`, `1.0` and `True` are one key."""
    if key not in mapping:
        return False
    if isinstance(key, str):
        return True
    return any((type(one) is bool) is (type(key) is bool) for one in mapping if one == key)


def same_set(a: Any, b: Any) -> bool:
    """Equality of lists whose order does not matter."""
    if not isinstance(a, list) or not isinstance(b, list) or len(a) != len(b):
        return False
    rest = list(b)
    for item in a:
        found = next((index for index, other in enumerate(rest) if equal(item, other)), None)
        if found is None:
            return False
        del rest[found]
    return True


def checked_int(value: int) -> int:
    """An int result within 64 bits."""
    if MIN_INT <= value <= MAX_INT:
        return value
    raise EvaluationError("integer overflow")


def checked_uint(value: int) -> Uint:
    if 0 <= value <= MAX_UINT:
        return Uint(value)
    raise EvaluationError("unsigned integer overflow")


def order_key(value: Any) -> Any:
    """What values of one orderable type are sorted by; bytes, strings, bools, numbers, times."""
    if isinstance(value, Duration | Timestamp):
        return value.nanos
    return value
