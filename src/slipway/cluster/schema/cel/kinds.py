"""CEL's types as the checker sees them, and the signatures of functions written as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from slipway.cluster.schema.cel.values import Duration, Optional, Timestamp, TypeValue, Uint, type_name

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Kind:
    """A type: `int`, `list` of something, an object with fields, or a type variable (one capital letter).

    What a schema adds does not count in comparisons: `fields` and `json_names` of an object, `limit` (how many
    characters or items at most), `unordered` (a list whose order does not count), `convert` (from JSON).
    """

    name: str
    params: tuple[Kind, ...] = ()
    fields: Mapping[str, Kind] | None = field(default=None, compare=False, repr=False)
    json_names: Mapping[str, str] = field(default_factory=dict, compare=False, repr=False)
    limit: int | None = field(default=None, compare=False, repr=False)
    unordered: bool = field(default=False, compare=False, repr=False)
    convert: Callable[[Any], Any] | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        if self.name == "type" and self.params:
            return f"type({self.params[0]})"
        return f"{self.name}({', '.join(map(str, self.params))})" if self.params else self.name

    @property
    def is_variable(self) -> bool:
        return self.name[0] == "%"


DYN = Kind("dyn")
BOOL = Kind("bool")
INT = Kind("int")
UINT = Kind("uint")
DOUBLE = Kind("double")
STRING = Kind("string")
BYTES = Kind("bytes")
NULL = Kind("null")
TIMESTAMP = Kind("timestamp")
DURATION = Kind("duration")

_PYTHON: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "bytes": bytes,
    "double": float,
    "bool": bool,
    "uint": Uint,
    "null": type(None),
    "list": list,
    "map": dict,
    "timestamp": Timestamp,
    "duration": Duration,
    "optional_type": Optional,
    "type": TypeValue,
}
# Kinds that `null` may be compared with. Never true of an optional, but cel-go compiles it, and public rules do it.
_NULLABLE = frozenset({"null", "timestamp", "duration", "dyn", "optional_type"})


def list_of(item: Kind, **facts: Any) -> Kind:
    return Kind("list", (item,), **facts)


def map_of(key: Kind, value: Kind, **facts: Any) -> Kind:
    return Kind("map", (key, value), **facts)


def optional_of(value: Kind) -> Kind:
    return Kind("optional_type", (value,))


def holds(kind: Kind, value: Any) -> bool:
    """Whether a value at run time is of this kind; what is inside lists and maps is not looked at."""
    name = kind.name
    if name == "int":
        return type(value) is int
    python = _PYTHON.get(name)
    if python is not None:
        return isinstance(value, python)
    if name == "dyn" or kind.is_variable:
        return True
    return isinstance(value, dict) if kind.fields is not None else type_name(value) == name


class Bindings:
    """What type variables stand for so far."""

    __slots__ = ("known",)

    def __init__(self, known: dict[str, Kind] | None = None) -> None:
        self.known = {} if known is None else known

    def copy(self) -> Bindings:
        return Bindings(dict(self.known))

    def resolve(self, kind: Kind) -> Kind:
        """The kind with known variables replaced, and unknown ones by dyn only if `final`."""
        while kind.is_variable and kind.name in self.known:
            kind = self.known[kind.name]
        if not kind.params:
            return kind
        params = tuple(self.resolve(param) for param in kind.params)
        if params == kind.params:
            return kind
        return Kind(kind.name, params, None, {}, kind.limit, kind.unordered, kind.convert)

    def final(self, kind: Kind) -> Kind:
        """The kind with variables that nothing determined replaced by dyn."""
        kind = self.resolve(kind)
        if kind.is_variable:
            return DYN
        if not any(_has_variable(param) for param in kind.params):
            return kind
        return Kind(kind.name, tuple(self.final(param) for param in kind.params), None, {}, kind.limit)

    def assign(self, wanted: Kind, given: Kind) -> bool:
        """Whether a `given` may stand where `wanted` is; learns what variables are."""
        wanted, given = self.resolve(wanted), self.resolve(given)
        if wanted.is_variable or given.is_variable:
            return self._bind(wanted, given)
        if wanted.name == "dyn" or given.name == "dyn":
            return True
        if "null" in (given.name, wanted.name):
            other = wanted if given.name == "null" else given
            return other.name in _NULLABLE or other.fields is not None or "." in other.name
        if wanted.name != given.name or len(wanted.params) != len(given.params):
            return False
        if wanted.name == "type":
            return True
        return all(self.assign(a, b) for a, b in zip(wanted.params, given.params, strict=True))

    def _bind(self, a: Kind, b: Kind) -> bool:
        if a == b:
            return True
        if not a.is_variable:
            a, b = b, a
        if _occurs(a, b):
            return False
        self.known[a.name] = b
        return True


def _has_variable(kind: Kind) -> bool:
    return kind.is_variable or any(_has_variable(param) for param in kind.params)


def _occurs(variable: Kind, kind: Kind) -> bool:
    return kind == variable or any(_occurs(variable, param) for param in kind.params)


_fresh = count()


def fresh_variable() -> Kind:
    """A type variable that nothing else uses."""
    return Kind(f"%{next(_fresh)}")


@dataclass(frozen=True, slots=True)
class Overload:
    """One signature of a function with the Python that does it.

    `cost`, if given, is called with the arguments for work that grows with them.
    """

    function: str
    member: bool
    params: tuple[Kind, ...]
    result: Kind
    run: Callable[..., Any]
    cost: Callable[..., float] | None = None

    def instance(self) -> tuple[tuple[Kind, ...], Kind]:
        """Parameters and result with type variables of their own."""
        renamed: dict[str, Kind] = {}
        return tuple(_rename(param, renamed) for param in self.params), _rename(self.result, renamed)


def _rename(kind: Kind, renamed: dict[str, Kind]) -> Kind:
    if kind.is_variable:
        if kind.name not in renamed:
            renamed[kind.name] = fresh_variable()
        return renamed[kind.name]
    if not kind.params:
        return kind
    return Kind(kind.name, tuple(_rename(param, renamed) for param in kind.params))


_SIGNATURE = re.compile(
    r"(?:(?P<target>.+)\.)?(?P<name>[\w@!<>=%+*/\-?:\[\]]+)\((?P<params>.*)\) (?P<result>\S.*)"
)
_NAMESPACED = re.compile(r"(?P<name>[\w.]+)\((?P<params>.*)\) (?P<result>\S.*)")


def signature(text: str) -> tuple[str, bool, tuple[Kind, ...], Kind]:
    """Function, whether it is called on its first parameter, parameters and result.

    `size(string) int`, `string.startsWith(string) bool`, `list(A).indexOf(A) int`, `::sets.contains(list(A),
    list(A)) bool` (a function whose name has dots).
    """
    found = _NAMESPACED.fullmatch(text[2:]) if text.startswith("::") else _SIGNATURE.fullmatch(text)
    if found is None:
        raise ValueError(f"not a signature: {text}")
    target = None if text.startswith("::") else found["target"]
    params = [] if target is None else [read_kind(target)]
    params += [read_kind(part) for part in _parts(found["params"])]
    return found["name"], target is not None, tuple(params), read_kind(found["result"])


def read_kind(text: str) -> Kind:
    """`int`, `list(A)`, `map(string, dyn)`, `optional_type(V)`."""
    text = text.strip()
    if len(text) == 1 and text.isupper():
        return Kind("%" + text)
    name, bracket, inside = text.partition("(")
    if not bracket:
        return Kind(name)
    return Kind(name, tuple(read_kind(part) for part in _parts(inside.removesuffix(")"))))


def _parts(text: str) -> Iterator[str]:
    depth, start = 0, 0
    for index, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            yield text[start:index]
            start = index + 1
    if text.strip():
        yield text[start:]


class Functions:
    """A set of functions: overloads by name."""

    def __init__(self) -> None:
        self.overloads: dict[str, list[Overload]] = {}

    def overload(self, *texts: str, cost: Callable[..., float] | None = None) -> Callable[[F], F]:
        """Register the decorated Python for each signature."""

        def register(run: F) -> F:
            for text in texts:
                function, member, params, result = signature(text)
                entry = Overload(function, member, params, result, run, cost)
                self.overloads.setdefault(function, []).append(entry)
            return run

        return register

    def merged(self, *others: Functions) -> Functions:
        """All functions of these sets."""
        result = Functions()
        for one in (self, *others):
            for name, overloads in one.overloads.items():
                result.overloads.setdefault(name, []).extend(overloads)
        return result
