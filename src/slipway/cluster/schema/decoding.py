"""Decoding of built-in objects as Go's structs do it: types checked, unknown fields dropped and named, values put
into their one spelling, empty values left out or written as Go does.

`decode` works on parsed JSON (`json_bodies.parse_json`, so that repeated members are known). Objects of custom
kinds are not decoded here but by `structural`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Final, Literal

from slipway.cluster.schema import go_scalars
from slipway.cluster.schema.builtin import DEFAULT_MINOR, definition_of
from slipway.cluster.schema.go_fields import GoField, go_struct
from slipway.cluster.schema.go_scalars import Mismatch, NotDecodable, json_type
from slipway.cluster.schema.json_bodies import RepeatedMembers
from slipway.cluster.schema.zero_values import zero_values
from slipway.cluster.status import StatusError, bad_request

JsonObject = dict[str, Any]
Style = Literal["json", "unstructured", "applied"]
_OBJECT_OF_ANY_FORM: Final = frozenset(
    {
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
        "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        "io.k8s.apimachinery.pkg.apis.meta.v1.Patch",
    }
)


@dataclass(slots=True)
class Decoded:
    """An object as the server keeps it, and what strict decoding has to say: `unknown field "spec.foo"`."""

    obj: JsonObject
    strict_errors: list[str] = field(default_factory=list)


def decode(
    obj: JsonObject,
    group: str,
    version: str,
    kind: str,
    *,
    style: Style = "json",
    minor: str = DEFAULT_MINOR,
) -> Decoded:
    """NotDecodable (its text is Go's) if a value has the wrong type.

    `style` says in whose words: those of encoding/json, or those of the conversion that strategic merge patch uses.
    The outcome of server-side apply is "applied": of custom objects upstream decodes nothing more then, and what is
    null stays.
    """
    decoder = _Decoder(style, minor)
    decoded = decoder.struct(obj, definition_of(group, version, kind, minor), kind, (), "")
    return Decoded(decoded, decoder.strict_errors)


def cannot_be_handled(kind: str, version: str, error: Exception | str, said: str = "") -> StatusError:
    """400 for a body that cannot be decoded; `kind` is what was asked for, `said` what the body says it is."""
    return bad_request(f'{said or kind} in version "{version}" cannot be handled as a {kind}: {error}')


def strict_decoding_error(texts: list[str]) -> str:
    return f"strict decoding error: {', '.join(texts)}"


class _Decoder:
    """One object being decoded. `path` is dotted names for type errors, `place` with indices for strict ones."""

    def __init__(self, style: Style, minor: str) -> None:
        self._style = style
        self._minor = minor
        self.strict_errors: list[str] = []

    def struct(
        self, value: JsonObject, definition: str, struct: str, path: tuple[str, ...], place: str
    ) -> JsonObject:
        fields = go_struct(definition, self._minor)
        found: JsonObject = {}
        before: JsonObject = {}  # fields that come again are decoded into what came before
        for name, item in self._members(value, place):
            described = fields.get(name)
            if described is None:
                self.strict_errors.append(f'unknown field "{_joined(place, name)}"')
            elif item is None:
                if described.nullable:
                    found.pop(name, None)
                    before.pop(name, None)
            else:
                if isinstance(value, RepeatedMembers):
                    item = before[name] = _decoded_into(before.get(name), item)
                below = (*path, *([described.embedded] if described.embedded else ()), name)
                try:
                    decoded = self._value(
                        item, described.schema, described.go_type, below, _joined(place, name), struct
                    )
                    found[name] = decoded
                except Mismatch as mismatch:
                    raise self._worded(mismatch, struct, below) from None
        return self._ordered(found, fields, definition)

    def _members(self, value: JsonObject, place: str) -> Iterator[tuple[str, Any]]:
        """The members; names of those that come again are noted where they come again."""
        if not isinstance(value, RepeatedMembers):
            yield from value.items()
            return
        seen: set[str] = set()
        for name, item in value.pairs:
            if name in seen:
                self.strict_errors.append(f'duplicate field "{_joined(place, name)}"')
            seen.add(name)
            yield name, item

    def _ordered(self, found: JsonObject, fields: dict[str, GoField], definition: str) -> JsonObject:
        """The fields in Go's order: without empty values that Go omits, with those that it always writes."""
        zeros = zero_values(definition, self._minor)
        result: JsonObject = {}
        for name, described in fields.items():
            if name in found:
                if not _is_omitted(found[name], described):
                    result[name] = found[name]
            elif name in zeros:
                zero = zeros[name]
                inner = described.schema.get("ref")
                result[name] = (
                    self._ordered({}, go_struct(inner, self._minor), inner) if zero == {} and inner else zero
                )
        return result

    def _value(
        self, value: Any, schema: JsonObject, go_type: str, path: tuple[str, ...], place: str, struct: str
    ) -> Any:
        reference = schema.get("ref")
        if reference is not None:
            return self._referred(value, reference, go_type, path, place)
        kind = schema.get("type")
        if kind == "array":
            return self._list(value, schema["items"], go_type, path, place, struct)
        if kind == "object" and "additionalProperties" in schema:
            return self._map(value, schema["additionalProperties"], go_type, path, place, struct)
        if kind in ("string", "integer", "number", "boolean"):
            if not go_scalars.fits(value, kind, schema.get("format", ""), self._style == "unstructured"):
                named = {"string": "string", "boolean": "bool", "number": "float64"}
                raise Mismatch(value, go_type, named.get(kind) or schema.get("format") or "int64")
            return go_scalars.decoded(value, schema.get("format", ""))
        return go_scalars.untyped(value)

    def _referred(self, value: Any, definition: str, go_type: str, path: tuple[str, ...], place: str) -> Any:
        name = definition.rpartition(".")[2]
        special = go_scalars.SPECIAL.get(definition)
        if special is not None:
            return special(value)
        if definition in _OBJECT_OF_ANY_FORM:
            return go_scalars.untyped(value)
        fields = go_struct(definition, self._minor)
        if not fields and not go_scalars.is_struct(definition, self._minor):
            return go_scalars.untyped(value)
        if not isinstance(value, dict):
            raise Mismatch(value, go_type)
        return self.struct(value, definition, name, path, place)

    def _list(
        self, value: Any, items: JsonObject, go_type: str, path: tuple[str, ...], place: str, struct: str
    ) -> Any:
        if not isinstance(value, list):
            raise Mismatch(value, go_type)
        inner = go_type.removeprefix("[]") if go_type.startswith("[]") else _named(items)
        return [
            self._null(items)
            if item is None
            else self._value(item, items, inner, path, f"{place}[{index}]", struct)
            for index, item in enumerate(value)
        ]

    def _map(
        self, value: Any, values: JsonObject, go_type: str, path: tuple[str, ...], place: str, struct: str
    ) -> Any:
        if not isinstance(value, dict):
            raise Mismatch(value, go_type)
        inner = go_type.partition("]")[2] if go_type.startswith("map[") else _named(values)
        found: JsonObject = {}
        for name, item in self._members(value, place):
            if item is None:
                found[name] = self._null(values)
            else:
                found[name] = self._value(item, values, inner, path, _joined(place, name), struct)
        return dict(sorted(found.items()))  # as Go writes maps

    def _null(self, schema: JsonObject) -> Any:
        """What a null among items or values becomes: the zero value of their type."""
        reference = schema.get("ref")
        if reference is not None:
            if reference in go_scalars.SPECIAL:
                return go_scalars.ZEROS[reference]
            return self._ordered({}, go_struct(reference, self._minor), reference)
        if schema.get("format") == "byte":
            return None
        return {"string": "", "integer": 0, "number": 0, "boolean": False}.get(schema.get("type", ""))

    def _worded(self, mismatch: Mismatch, struct: str, path: tuple[str, ...]) -> NotDecodable:
        if self._style == "unstructured":
            return NotDecodable(go_scalars.conversion_error(mismatch.value, mismatch.go_type, mismatch.kind))
        shown = json_type(mismatch.value)
        if shown == "number" and mismatch.go_type.startswith(("int", "uint", "float")):
            shown = f"number {go_scalars.literal(mismatch.value)}"
        return NotDecodable(
            f"json: cannot unmarshal {shown} into Go struct field {struct}.{'.'.join(path)} "
            f"of type {mismatch.go_type}"
        )


def _decoded_into(before: Any, value: Any) -> Any:
    """A value that comes again: Go decodes into the struct, map or slice that is there already."""
    if isinstance(before, dict) and isinstance(value, dict):
        return before | {name: _decoded_into(before.get(name), item) for name, item in value.items()}
    if isinstance(before, list) and isinstance(value, list):
        return [_decoded_into(*pair) for pair in zip_longest(before[: len(value)], value)]
    return value


def _joined(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _named(schema: JsonObject) -> str:
    """The Go type of items of a named slice or map type."""
    if "ref" in schema:
        package, _, name = schema["ref"].rpartition(".")
        return f"{package.rpartition('.')[2]}.{name}"
    kind = str(schema.get("type", ""))
    names = {"string": "string", "integer": str(schema.get("format", "int64")), "boolean": "bool"}
    return names.get(kind, "interface {}")


def _is_omitted(value: Any, described: GoField) -> bool:
    if described.omit_zero and not described.pointer:
        return value in (None, {}, "")
    if not described.omit_empty or described.pointer:
        return False
    if isinstance(value, bool):
        return not value
    if isinstance(value, dict):
        return not value and ("ref" not in described.schema)
    return value in ("", 0, None) or value == []
