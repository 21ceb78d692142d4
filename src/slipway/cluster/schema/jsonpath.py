"""JSON paths in kubectl's dialect, as the server evaluates them for printer columns, scale and field selectors.

`.spec.replicas`, `.metadata.labels.app\\.kubernetes\\.io/name`, `['a.b']`, `[0]`, `[-1:]`, `[*]`, `[a,b]`, `..name`,
`[?(@.type=="Ready")]`. Missing fields give nothing (AllowMissingKeys). Follows k8s.io/client-go `util/jsonpath`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

Step = Callable[[Any], Iterator[Any]]


class InvalidJSONPath(ValueError):
    """Not a JSON path of this dialect."""


@lru_cache(maxsize=1024)
def compile_path(path: str) -> JSONPath:
    """The compiled path; raises `InvalidJSONPath`."""
    return JSONPath(path)


class JSONPath:
    """A compiled JSON path."""

    __slots__ = ("_steps", "text")

    def __init__(self, path: str) -> None:
        self.text = path
        self._steps = _Reader(path).read()

    def find(self, value: Any) -> list[Any]:
        """All values at the path, in order."""
        found = [value]
        for step in self._steps:
            found = [inner for outer in found for inner in step(outer)]
        return found


def to_text(value: Any) -> str:
    """A value as a text column prints it: strings as they are, objects and lists as JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    return str(value)


_FIELD = re.compile(r"(?:\\.|[^\\.\[\]{}$@'\"\s|,?()&=<>!])+")
_COMPARISON = re.compile(r"\s*(==|!=|<=|>=|<|>)\s*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


class _Reader:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def read(self) -> list[Step]:
        if self.text[:1] in ("$", "@"):
            self.at = 1
        steps: list[Step] = []
        while self.at < len(self.text):
            steps.append(self.step())
        return steps

    def fail(self, why: str) -> InvalidJSONPath:
        return InvalidJSONPath(f"JSON path {self.text!r}: {why} at {self.at}")

    def step(self) -> Step:
        if self.text.startswith("..", self.at):
            self.at += 2
            if self.text.startswith("[", self.at):
                return _descend(self.bracket())
            return _descend(_field(self.name()))
        char = self.text[self.at]
        if char == ".":
            self.at += 1
            if self.at == len(self.text):
                return _self
            if self.text.startswith("[", self.at):
                return self.bracket()
            if self.text.startswith("*", self.at):
                self.at += 1
                return _each
            return _field(self.name())
        if char == "[":
            return self.bracket()
        raise self.fail("expected . or [")

    def name(self) -> str:
        found = _FIELD.match(self.text, self.at)
        if found is None:
            raise self.fail("expected a field name")
        self.at = found.end()
        return re.sub(r"\\(.)", r"\1", found[0])

    def bracket(self) -> Step:
        if self.text.startswith("[?(", self.at):
            self.at += 3
            step = self.filter()
            if not self.text.startswith(")]", self.at):
                raise self.fail("expected )]")
            self.at += 2
            return step
        end = self.closing()
        inside = self.text[self.at + 1 : end]
        self.at = end + 1
        parts = _split(inside)
        steps = [self.part(part.strip()) for part in parts]
        return steps[0] if len(steps) == 1 else _union(steps)

    def closing(self) -> int:
        quote = ""
        for index in range(self.at + 1, len(self.text)):
            char = self.text[index]
            if quote:
                if char == quote and self.text[index - 1] != "\\":
                    quote = ""
            elif char in "'\"":
                quote = char
            elif char == "]":
                return index
        raise self.fail("unterminated array")

    def part(self, part: str) -> Step:
        if part == "*":
            return _each
        if len(part) > 1 and part[0] == part[-1] == "'":  # in double quotes it is no path
            return _field(re.sub(r"\\(.)", r"\1", part[1:-1]))
        if re.fullmatch(r"-?\d+", part):
            return _index(int(part))
        if re.fullmatch(r"(-?\d*)(:-?\d*){1,2}", part):
            return _slice([int(number) if number else None for number in part.split(":")])
        if _FIELD.fullmatch(part):
            return _field(re.sub(r"\\(.)", r"\1", part))
        raise self.fail(f"invalid array index {part}")

    def filter(self) -> Step:
        left = self.operand()
        found = _COMPARISON.match(self.text, self.at)
        if found is None:
            return _filter(lambda item: bool(left(item)))
        self.at = found.end()
        return _filter(_comparison(left, found[1], self.operand()))

    def operand(self) -> Callable[[Any], list[Any]]:
        while self.text.startswith(" ", self.at):
            self.at += 1
        char = self.text[self.at : self.at + 1]
        if char in ("@", "$"):
            self.at += 1
            steps: list[Step] = []
            while self.at < len(self.text) and self.text[self.at] in ".[":
                steps.append(self.step())
            return lambda item: _walk(item, steps)
        if char and char in "'\"":
            end = self.text.find(char, self.at + 1)
            if end < 0:
                raise self.fail("unterminated quoted string")
            literal: Any = self.text[self.at + 1 : end]
            self.at = end + 1
        elif number := _NUMBER.match(self.text, self.at):
            self.at = number.end()
            literal = float(number[0]) if "." in number[0] else int(number[0])
        elif word := re.compile(r"true|false").match(self.text, self.at):
            self.at = word.end()
            literal = word[0] == "true"
        else:
            raise self.fail("expected @, a text or a number")
        return lambda item: [literal]


def _split(text: str) -> list[str]:
    """At commas outside quotes."""
    return re.findall(r"(?:'(?:\\.|[^'])*'|\"(?:\\.|[^\"])*\"|[^,'\"])+", text) or [""]


def _walk(value: Any, steps: list[Step]) -> list[Any]:
    found = [value]
    for step in steps:
        found = [inner for outer in found for inner in step(outer)]
    return found


def _self(value: Any) -> Iterator[Any]:
    yield value


def _field(name: str) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and name in value:
            yield value[name]

    return step


def _index(index: int) -> Step:
    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return step


def _slice(bounds: list[int | None]) -> Step:
    window = slice(*bounds)

    def step(value: Any) -> Iterator[Any]:
        if isinstance(value, list):
            yield from value[window]

    return step


def _each(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from (value[key] for key in sorted(value))
    elif isinstance(value, list):
        yield from value


def _union(steps: list[Step]) -> Step:
    def step(value: Any) -> Iterator[Any]:
        for inner in steps:
            yield from inner(value)

    return step


def _descend(inner: Step) -> Step:
    def step(value: Any) -> Iterator[Any]:
        yield from inner(value)
        for child in _each(value):
            yield from step(child)

    return step


def _filter(holds: Callable[[Any], bool]) -> Step:
    def step(value: Any) -> Iterator[Any]:
        items = value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
        yield from (item for item in items if holds(item))

    return step


def _comparison(
    left: Callable[[Any], list[Any]], operator: str, right: Callable[[Any], list[Any]]
) -> Callable[[Any], bool]:
    def holds(item: Any) -> bool:
        lefts, rights = left(item), right(item)
        if not lefts or not rights:
            return False
        a, b = lefts[0], rights[0]
        if operator in ("==", "!="):
            return (a == b and isinstance(a, bool) is isinstance(b, bool)) is (operator == "==")
        try:
            return bool({"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[operator])
        except TypeError:
            return False

    return holds
