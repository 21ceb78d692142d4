"""Defaults of built-in kinds: most are rows of `data/defaults.json`, the rest are in `defaults_computed`.

Applied to a decoded object (`decoding`), in which what Go takes for unset is absent. Outer types come before the
types inside them, and within a type the table before what is computed, as upstream has it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from slipway.cluster.schema.builtin import DEFAULT_MINOR, definition_of, definitions
from slipway.cluster.schema.defaults_computed import COMPUTED
from slipway.cluster.schema.go_fields import go_struct

JsonObject = dict[str, Any]
Rule = Callable[[JsonObject], None]
_TABLE = Path(__file__).parent / "data" / "defaults.json"


def apply_builtin_defaults(
    obj: JsonObject, group: str, version: str, kind: str, minor: str = DEFAULT_MINOR
) -> None:
    """Set, in place, every default of a built-in kind. Raises UnknownKind."""
    _apply(obj, definition_of(group, version, kind, minor), minor)


def _apply(obj: JsonObject, definition: str, minor: str) -> None:
    for rule in _rules(definition):
        rule(obj)
    for name, (form, inner) in _nested(definition, minor).items():
        for value in _held(obj.get(name), form):
            _apply(value, inner, minor)


def _held(value: Any, form: str) -> Iterator[JsonObject]:
    if form == "one":
        values: Any = [value]
    elif form == "list":
        values = value if isinstance(value, list) else ()
    else:
        values = value.values() if isinstance(value, dict) else ()
    return (item for item in values if isinstance(item, dict))


@cache
def _rules(definition: str) -> tuple[Rule, ...]:
    rows = _table().get(definition, ())
    return (*(_rule_of(row, definition) for row in rows), *COMPUTED.get(definition, ()))


@cache
def _nested(definition: str, minor: str) -> dict[str, tuple[str, str]]:
    """The fields that hold types with defaults, directly or deeper: how they hold them, and which."""
    found: dict[str, tuple[str, str]] = {}
    for name, form, inner in _references(definition, minor):
        if _has_rules(inner, minor):
            found[name] = (form, inner)
    return found


def _references(definition: str, minor: str) -> Iterator[tuple[str, str, str]]:
    for name, part in definitions(minor).get(definition, {}).get("properties", {}).items():
        for form, place in (
            ("one", part),
            ("list", part.get("items")),
            ("map", part.get("additionalProperties")),
        ):
            if isinstance(place, dict) and "ref" in place:
                yield name, form, place["ref"]


@cache
def _has_rules(definition: str, minor: str) -> bool:
    seen, waiting = {definition}, [definition]
    while waiting:
        name = waiting.pop()
        if _rules(name):
            return True
        for _, _, inner in _references(name, minor):
            if inner not in seen:
                seen.add(inner)
                waiting.append(inner)
    return False


@cache
def _table() -> dict[str, list[JsonObject]]:
    found: dict[str, list[JsonObject]] = orjson.loads(_TABLE.read_bytes())["types"]
    return found


def _rule_of(row: JsonObject, definition: str) -> Rule:
    conditions = [(path.split("."), value) for path, value in row.get("when", {}).items()]
    settings = [
        (path.split("."), json.dumps(value), _unset(definition, path.replace("?", "").split(".")))
        for path, value in row["set"].items()
    ]

    def rule(obj: JsonObject) -> None:
        if all(_found(obj, path) == value for path, value in conditions):
            for path, value, unset in settings:
                _set(obj, path, value, unset)

    return rule


def _found(obj: Any, path: list[str]) -> Any:
    for name in path:
        obj = obj.get(name) if isinstance(obj, dict) else None
    return obj


def _unset(definition: str, path: list[str]) -> tuple[Any, ...]:
    """The values that count as none: of what is no pointer in Go, also its zero value."""
    field = go_struct(definition)[path[0]]
    if len(path) > 1:
        return _unset(field.schema["ref"], path[1:])
    return (None,) if field.pointer or field.go_type in ("int32", "int64", "bool") else (None, "")


def _set(obj: JsonObject, path: list[str], value: str, unset: tuple[Any, ...]) -> None:
    """Set what is unset; objects on the way are made, but for those whose name ends in `?`."""
    for step in path[:-1]:
        name = step.removesuffix("?")
        if obj.get(name) is None:
            if step.endswith("?"):
                return
            obj[name] = {}
        obj = obj[name]
    if obj.get(path[-1]) in unset:
        obj[path[-1]] = json.loads(value)
