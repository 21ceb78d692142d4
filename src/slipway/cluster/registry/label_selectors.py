"""Label selectors as text: parsed into requirements, refused in the API's words.

Grammar and messages: k8s.io/apimachinery pkg/labels/selector.go (facts only).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from slipway.cluster.schema import names

_TOKEN = re.compile(r"[ \t\r\n]*(==|!=|[=!(),<>]|[^ \t\r\n=!(),<>]+)")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_SPECIAL = frozenset({"", "=", "==", "!=", "(", ")", ",", "<", ">", "!"})
_OPERATORS = {"=": "In", "==": "In", "!=": "NotIn", "in": "In", "notin": "NotIn", ">": "Gt", "<": "Lt"}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term of a label selector."""

    key: str
    operator: str  # In, NotIn, Exists, DoesNotExist, Gt, Lt
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value is not None and value in self.values
            case "NotIn":
                return value is None or value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
        if value is None or not _INTEGER.fullmatch(value) or not _INTEGER.fullmatch(self.values[0]):
            return False
        number, bound = int(value), int(self.values[0])
        return number > bound if self.operator == "Gt" else number < bound


class _Parser:
    """Words are symbols and identifiers; "" stands for the end."""

    def __init__(self, text: str) -> None:
        self._words: list[str] = [*_TOKEN.findall(text), ""]
        self._position = 0

    def _peek(self) -> str:
        return self._words[min(self._position, len(self._words) - 1)]

    def _take(self) -> str:
        word = self._peek()
        self._position += 1
        return word

    def parse(self) -> tuple[Requirement, ...]:
        requirements: list[Requirement] = []
        if self._peek() == "":
            return ()
        if self._peek() in _SPECIAL - {"!"}:
            raise ValueError(f"found '{self._peek()}', expected: !, identifier, or 'end of string'")
        while True:
            try:
                requirements.append(self._requirement())
            except ValueError as error:
                raise ValueError(f"unable to parse requirement: {error}") from None
            separator = self._take()
            if separator == "":
                return tuple(requirements)
            if separator != ",":
                raise ValueError(f"found '{separator}', expected: ',' or 'end of string'")
            if self._peek() in _SPECIAL - {"!"}:
                raise ValueError(f"found '{self._peek()}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        negated = self._peek() == "!"
        if negated:
            self._take()
        key = self._identifier()
        problems = names.label_key(key)
        if problems:
            raise ValueError(f'<nil>: Invalid value: "{key}": {"; ".join(problems)}')
        if negated:
            return Requirement(key, "DoesNotExist")
        if self._peek() in {"", ","}:
            return Requirement(key, "Exists")
        word = self._take()
        if word not in _OPERATORS:
            raise ValueError(f"found '{word}', expected: in, notin, =, ==, !=, gt, lt")
        values = self._values() if word in {"in", "notin"} else (self._value(),)
        return _checked(Requirement(key, _OPERATORS[word], values))

    def _identifier(self) -> str:
        word = self._take()
        if word in _SPECIAL:
            raise ValueError(f"found '{word}', expected: identifier")
        return word

    def _value(self) -> str:
        return "" if self._peek() in {"", ","} else self._identifier()

    def _values(self) -> tuple[str, ...]:
        """A set in parentheses; nothing between commas is the empty value."""
        opening = self._take()
        if opening != "(":
            raise ValueError(f"found '{opening}' expected: '('")
        if self._peek() in _SPECIAL - {",", ")"}:
            raise ValueError(f"found '{self._peek()}', expected: ',', ')' or identifier")
        values: set[str] = set()
        while True:
            word = self._take()
            if word == ")":
                return tuple(sorted(values | {""}))
            if word == ",":
                values.add("")
                continue
            if word in _SPECIAL:
                raise ValueError(f"found '{word}', expected: ',', or identifier")
            values.add(word)
            after = self._take()
            if after == ")":
                return tuple(sorted(values))
            if after != ",":
                raise ValueError(f"found '{after}', expected: ',' or ')'")


def _checked(requirement: Requirement) -> Requirement:
    if requirement.operator in {"Gt", "Lt"} and not _INTEGER.fullmatch(requirement.values[0]):
        why = "for 'Gt', 'Lt' operators, the value must be an integer"
        raise ValueError(f'values[0]: Invalid value: "{requirement.values[0]}": {why}')
    for index, value in enumerate(requirement.values):
        problems = names.label_value(value)
        if problems:
            place = f"values[{index}][{requirement.key}]"
            raise ValueError(f'{place}: Invalid value: "{value}": {"; ".join(problems)}')
    return requirement


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """The requirements of a `labelSelector` query value; ValueError in the API's words if it is not one."""
    return _Parser(text).parse()
