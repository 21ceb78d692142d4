"""What CEL sees of a value that a structural schema describes: kinds made from shapes, JSON turned into values.

Follows apiserver `pkg/cel/common/schemas.go`: fields of types that CEL cannot see are left out, names that are
not CEL identifiers are escaped, limits come from the schema or from the largest possible request.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from slipway.cluster.schema.cel import kinds
from slipway.cluster.schema.cel.kinds import Kind
from slipway.cluster.schema.cel.lexer import RESERVED
from slipway.cluster.schema.cel.problems import EvaluationError
from slipway.cluster.schema.cel.times import parse_duration, parse_timestamp
from slipway.cluster.schema.cel.values import Duration, Timestamp
from slipway.cluster.schema.shape import UNSET, Shape

MOST_BYTES = 3 * 1024 * 1024  # of a request
_RESERVED = RESERVED | {"true", "false", "null", "in"}
_ESCAPES = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
# Of a value of a string format: smallest and largest size in JSON.
_TIMES = {"duration": (3, 32), "date": (12, 12), "date-time": (21, 37)}


def kind_of(shape: Shape, root: bool = False, name: str = "selfType") -> Kind | None:
    """The kind of values of this shape; None if rules cannot see them. `root`: of a resource."""
    found = _kind(shape, root, name)
    return None if found is None else found[0]


def smallest_size(shape: Shape, root: bool = False) -> int:
    """The fewest bytes of JSON that a value of this shape takes."""
    found = _kind(shape, root, "selfType")
    return 0 if found is None else found[1]


def escape(name: str) -> str | None:
    """A property name as a CEL identifier; None if there is none for it."""
    if not name or name[0].isdigit() or not re.fullmatch(r"[A-Za-z0-9_./-]+", name, re.ASCII):
        return None
    if name in _RESERVED:
        return f"__{name}__"
    return re.sub(r"__|[./-]", lambda found: _ESCAPES[found[0]], name)


def _kind(shape: Shape, root: bool, name: str) -> tuple[Kind, int] | None:
    """The kind, and the smallest size of a value in JSON."""
    types = shape.rules.get("type", ())
    if shape.kind == "int-or-string":
        limit = shape.rules.get("maxLength")
        return Kind("dyn", limit=MOST_BYTES - 2 if limit is None else limit * 4), 1
    if types == ("array",):
        return _list(shape, name)
    if types == ("object",):
        if shape.kind == "map":
            return _map(shape, name) if shape.additional is not None else None
        return _object(shape, root, name)
    if types == ("string",):
        return _string(shape)
    if types == ("boolean",):
        return kinds.BOOL, 4
    if types == ("integer",):
        return Kind("int", convert=_to_int), 1
    if types == ("number",):
        return Kind("double", convert=float), 1
    return None


def _to_int(value: int | float) -> int:
    return int(value)


def _list(shape: Shape, name: str) -> tuple[Kind, int] | None:
    if shape.items is None:
        return None
    found = _kind(shape.items, shape.items.embedded, f"{name}.@idx")
    if found is None:
        return None
    item, size = found
    most = shape.rules.get("maxItems")
    limit = (MOST_BYTES - 2) // (size + 1) if most is None else max(most, 0)
    unordered = shape.list_type in ("set", "map")
    return kinds.list_of(item, limit=limit, unordered=unordered, convert=_each(item)), 2


def _map(shape: Shape, name: str) -> tuple[Kind, int] | None:
    assert shape.additional is not None
    found = _kind(shape.additional, shape.additional.embedded, f"{name}.@elem")
    if found is None:
        return None
    value, size = found
    most = shape.rules.get("maxProperties")
    limit = (MOST_BYTES - 2) // (size + 6) if most is None else max(most, 0)
    # Upstream's estimates take keys to have no length.
    return kinds.map_of(Kind("string", limit=0), value, limit=limit, convert=_each_value(value)), 2


def _each(item: Kind) -> Callable[[Any], Any] | None:
    convert = item.convert
    if convert is None:
        return None
    return lambda values: [None if value is None else convert(value) for value in values]


def _each_value(value: Kind) -> Callable[[Any], Any] | None:
    convert = value.convert
    if convert is None:
        return None
    return lambda values: {key: None if one is None else convert(one) for key, one in values.items()}


_NAME = Shape(kind="string", rules={"type": ("string",)})
_METADATA = Shape(
    kind="object", rules={"type": ("object",)}, properties={"name": _NAME, "generateName": _NAME}
)


def _object(shape: Shape, root: bool, name: str) -> tuple[Kind, int]:
    properties = shape.properties
    if root:
        properties = {**properties, "kind": _NAME, "apiVersion": _NAME, "metadata": _METADATA}
    fields: dict[str, Kind] = {}
    json_names: dict[str, str] = {}
    size = 2
    for key, child in properties.items():
        identifier = escape(key)
        found = _kind(child, child.embedded, f"{name}.{identifier}")
        if found is None:
            continue
        if identifier is not None:
            fields[identifier] = found[0]
            if identifier != key:
                json_names[identifier] = key
            if key in _RESERVED:  # since 1.31 by its own name, too
                fields[key] = found[0]
        if key in shape.required and child.default is UNSET:
            size += len(key) + found[1] + 4
    return Kind(name, fields=fields, json_names=json_names), size


def _string(shape: Shape) -> tuple[Kind, int]:
    most = shape.rules.get("maxLength")
    form = shape.format
    if form == "byte":
        limit = MOST_BYTES - 2 if most is None else max(most, 0)
        return Kind("bytes", limit=limit, convert=_to_bytes), 2
    if form in _TIMES:
        smallest, largest = _TIMES[form]
        if form == "duration":
            return Kind("duration", limit=largest, convert=_to_duration), smallest
        return Kind("timestamp", limit=largest, convert=_to_timestamp), smallest
    if most is not None:
        return Kind("string", limit=max(most, 0) * 4), 2
    texts = [one for one in shape.rules.get("enum", ()) if isinstance(one, str)]
    return Kind("string", limit=max(map(len, texts)) if texts else MOST_BYTES - 2), 2


def _to_bytes(value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise EvaluationError(f"failed to decode base64: {error}") from None


def _to_duration(value: str) -> Duration:
    return parse_duration(value)


@lru_cache(maxsize=256)
def _to_timestamp(value: str) -> Timestamp:
    return parse_timestamp(value if "T" in value.upper() else f"{value}T00:00:00Z")
