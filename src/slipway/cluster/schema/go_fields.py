"""The Go structs behind the built-in kinds: their fields in order, and when Go leaves a field out.

Objects of a real server carry traces of these structs: the order of fields, empty values that disappear
(`omitempty`) or stay (pointers), and the type names in decoding errors. `data/<minor>/go-fields.json.gz` has them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson

from slipway.cluster.schema.builtin import DATA, DEFAULT_MINOR, definitions

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class GoField:
    """One field of a struct, as its JSON tag and its type have it."""

    name: str
    go_type: str  # of what a pointer points to
    pointer: bool
    omit_empty: bool
    omit_zero: bool
    embedded: str  # dotted names of the embedded structs that it comes from
    schema: JsonObject  # its part of the published definition

    @property
    def nullable(self) -> bool:
        """A null is a value of it, and not left out as it is of others."""
        return self.pointer or self.schema.get("type") in ("object", "array")


@cache
def go_struct(definition: str, minor: str = DEFAULT_MINOR) -> dict[str, GoField]:
    """The fields of a published type in the order of its struct; empty for a type with a JSON form of its own."""
    properties = definitions(minor).get(definition, {}).get("properties", {})
    fields: dict[str, GoField] = {}
    rows = _structs(minor).get(definition, ())
    if "kind" in properties and "apiVersion" in properties and all(row[0] != "kind" for row in rows):
        for name in ("kind", "apiVersion"):  # TypeMeta, which comes first
            fields[name] = GoField(name, "string", False, True, False, "", properties[name])
    for row in rows:
        name, flags, go_type = row[:3]
        embedded = row[3] if len(row) > 3 else ""
        fields[name] = GoField(
            name, go_type, "p" in flags, "e" in flags, "z" in flags, embedded, properties.get(name, {})
        )
    return fields


@cache
def _structs(minor: str) -> dict[str, list[list[str]]]:
    packed = (DATA / minor / "go-fields.json.gz").read_bytes()
    found: dict[str, list[list[str]]] = orjson.loads(zlib.decompress(packed, 31))["types"]
    return found
