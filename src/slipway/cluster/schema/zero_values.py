"""What an answer shows where an object is silent: Go writes some fields even when they are empty.

`data/<minor>/zero-values.json.gz` lists, for each Go type, the fields without `omitempty` and the nested structs
(`resources: {}`, `status: {}`, `lastTimestamp: null`), so that our objects look as those of a real server.
"""

from __future__ import annotations

import zlib
from functools import cache
from typing import Any

import orjson

from slipway.cluster.schema.builtin import DATA, DEFAULT_MINOR, definition_of, definitions

JsonObject = dict[str, Any]


def fill_zero_values(
    obj: JsonObject, group: str, version: str, kind: str, minor: str = DEFAULT_MINOR
) -> None:
    """Add to a built-in object, in place, every field that Go writes always."""
    _fill(obj, definition_of(group, version, kind, minor), minor)


def zero_values(definition: str, minor: str = DEFAULT_MINOR) -> JsonObject:
    """The fields of a published type that Go always writes; `{}` stands for a nested struct."""
    return _zeros(minor).get(definition, {})


def blank_object(group: str, version: str, kind: str, minor: str = DEFAULT_MINOR) -> JsonObject:
    """The object as Go makes a new one: only zero values."""
    obj: JsonObject = {"kind": kind, "apiVersion": f"{group}/{version}" if group else version}
    fill_zero_values(obj, group, version, kind, minor)
    return obj


def _fill(obj: JsonObject, definition: str, minor: str) -> None:
    zeros, nested = _plan(definition, minor)
    for name, zero in zeros.items():
        if name not in obj or (obj[name] is None and zero is not None):
            obj[name] = {} if zero == {} else zero
    for name, (form, inner) in nested.items():
        value = obj.get(name)
        if form == "one" and isinstance(value, dict):
            _fill(value, inner, minor)
        elif form == "list" and isinstance(value, list):
            for item in value:
                if isinstance(item, dict):
                    _fill(item, inner, minor)
        elif form == "map" and isinstance(value, dict):
            for item in value.values():
                if isinstance(item, dict):
                    _fill(item, inner, minor)


@cache
def _plan(definition: str, minor: str) -> tuple[JsonObject, dict[str, tuple[str, str]]]:
    """The zero values of a type, and which of its fields hold types that have some, or hold more types."""
    nested: dict[str, tuple[str, str]] = {}
    for name, part in definitions(minor)[definition].get("properties", {}).items():
        for form, place in (
            ("one", part),
            ("list", part.get("items", {})),
            ("map", part.get("additionalProperties", {})),
        ):
            if isinstance(place, dict) and "ref" in place and _has_zeros(place["ref"], minor):
                nested[name] = (form, place["ref"])
    return _zeros(minor).get(definition, {}), nested


def _has_zeros(definition: str, minor: str) -> bool:
    """Whether the type or one inside it has zero values."""
    seen = {definition}
    waiting = [definition]
    while waiting:
        name = waiting.pop()
        if name in _zeros(minor):
            return True
        for part in definitions(minor)[name].get("properties", {}).values():
            for place in (part, part.get("items", {}), part.get("additionalProperties", {})):
                if isinstance(place, dict) and place.get("ref", name) not in seen:
                    seen.add(place["ref"])
                    waiting.append(place["ref"])
    return False


@cache
def _zeros(minor: str) -> dict[str, JsonObject]:
    packed = (DATA / minor / "zero-values.json.gz").read_bytes()
    found: dict[str, JsonObject] = orjson.loads(zlib.decompress(packed, 31))["types"]
    return found
