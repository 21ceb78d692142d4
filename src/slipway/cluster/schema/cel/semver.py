"""Semantic versions (semver 2.0.0) in CEL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Any, ClassVar

from slipway.cluster.schema.cel.kinds import Functions
from slipway.cluster.schema.cel.problems import EvaluationError
from slipway.cluster.schema.cel.values import Opaque

SEMVER = Functions()
overload = SEMVER.overload
_NUMBER = "(0|[1-9][0-9]*)"
_FORM = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?",
    re.ASCII,
)


def _traverse(text: Any, *_: Any) -> float:
    return len(text) / 10


@total_ordering
@dataclass(frozen=True, slots=True)
class Semver(Opaque):
    """Build metadata does not count in comparisons."""

    type_name: ClassVar[str] = "kubernetes.Semver"
    numbers: tuple[int, int, int]
    prerelease: tuple[str, ...]

    def _key(self) -> tuple[Any, ...]:
        parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.prerelease)
        return (self.numbers, not self.prerelease, parts)

    def __lt__(self, other: Semver) -> bool:
        return self._key() < other._key()


def parse_semver(text: str, normalize: bool = False) -> Semver:
    """The version; `normalize` takes `v1.2`, `01.2.3` too."""
    if normalize:
        text = _normalized(text)
    found = _FORM.fullmatch(text)
    if found is None:
        if text.count(".") < 2:
            raise EvaluationError("No Major.Minor.Patch elements found")
        raise EvaluationError(f'Invalid character(s) found in version "{text}"')
    prerelease = tuple(found[4].split(".")) if found[4] else ()
    if any(part.isdigit() and len(part) > 1 and part[0] == "0" for part in prerelease):
        raise EvaluationError(f'Numeric PreRelease version must not contain leading zeroes "{found[4]}"')
    return Semver((int(found[1]), int(found[2]), int(found[3])), prerelease)


def _normalized(text: str) -> str:
    text = text.removeprefix("v")
    parts = text.split(".", 2)
    for index, part in enumerate(parts):
        stripped = part.lstrip("0")
        if len(part) > 1 and stripped != part:
            parts[index] = stripped if stripped[:1].isdigit() else "0" + stripped
    if len(parts) < 3:
        if "-" in parts[-1] or "+" in parts[-1]:
            raise EvaluationError("short version cannot contain PreRelease/Build meta data")
        parts += ["0"] * (3 - len(parts))
    return ".".join(parts)


@overload("semver(string) kubernetes.Semver", "semver(string, bool) kubernetes.Semver", cost=_traverse)
def _semver(text: str, normalize: bool = False) -> Semver:
    return parse_semver(text, normalize)


@overload("isSemver(string) bool", "isSemver(string, bool) bool", cost=_traverse)
def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        parse_semver(text, normalize)
    except EvaluationError:
        return False
    return True


@overload("kubernetes.Semver.isGreaterThan(kubernetes.Semver) bool")
def _is_greater_than(a: Semver, b: Semver) -> bool:
    return b < a


@overload("kubernetes.Semver.isLessThan(kubernetes.Semver) bool")
def _is_less_than(a: Semver, b: Semver) -> bool:
    return a < b


@overload("kubernetes.Semver.compareTo(kubernetes.Semver) int")
def _compare_to(a: Semver, b: Semver) -> int:
    return (b < a) - (a < b)


@overload("kubernetes.Semver.major() int")
def _major(value: Semver) -> int:
    return value.numbers[0]


@overload("kubernetes.Semver.minor() int")
def _minor(value: Semver) -> int:
    return value.numbers[1]


@overload("kubernetes.Semver.patch() int")
def _patch(value: Semver) -> int:
    return value.numbers[2]
