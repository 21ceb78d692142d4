"""What a place of a value is, as its `Shape` has it: one leaf, or something that is looked into.

A leaf is a scalar, an atomic list or map. What is looked into are the fields of an object, the keys of a map, the items
of a list by value or by keys. Where the shape knows nothing, lists are leaves and maps are looked into. This is what
server-side apply stands on: `checking`, `shaped_fields`, `comparing` and `merging` all walk through places. Behaviour
follows sigs.k8s.io/structured-merge-diff `typed` v6 (facts only).
"""

from __future__ import annotations

import json
from typing import Any, Final, Literal

from slipway.cluster.patching.fields import key_element, value_element
from slipway.cluster.schema.shape import UNSET, Shape

ABSENT: Final = UNSET
UNKNOWN: Final = Shape()  # of what a schema says nothing about
_ATOMIC_JSON: Final = Shape(map_type="atomic")
Form = Literal["map", "list", "scalar"]


def form_of(shape: Shape, value: Any) -> Form:
    """How a value is looked at here. Null, and what does not fit, are looked at as the shape has it."""
    match shape.kind:
        case "object" | "map":
            return "map"
        case "array":
            return "list"
        case "any" | "int-or-string":
            if isinstance(value, list):
                return "list" if shape.kind == "any" else "scalar"
            if isinstance(value, dict) or value is None or value is ABSENT:
                return "map" if shape.kind == "any" else "scalar"
            return "scalar"
    return "scalar"


def member_of(shape: Shape, name: str) -> Shape | None:
    """The shape of a field or key; None if there is no such field."""
    if name in shape.properties:
        return shape.properties[name]
    if shape.additional is not None:
        return shape.additional
    if shape.kind == "any":
        return _ATOMIC_JSON if shape.map_type == "atomic" else UNKNOWN
    return UNKNOWN if shape.preserve_unknown or not shape.properties else None


def items_of(shape: Shape) -> Shape:
    return shape.items or UNKNOWN


def is_leaf(shape: Shape, form: Form) -> bool:
    if form == "list":
        return shape.kind == "any" or shape.list_type == "atomic"
    return form == "scalar" or shape.map_type == "atomic"


def element_of(shape: Shape, item: Any) -> str:
    """The path element of a list item. ValueError says why it has none."""
    if shape.list_type != "map":
        if isinstance(item, dict):
            raise ValueError("associative list without keys has an element that's a map type")
        if isinstance(item, list):
            raise ValueError("not supported: associative list with lists as elements")
        if item is None:
            raise ValueError("associative list without keys has an element that's an explicit null")
        return value_element(item)
    if item is None:
        raise ValueError("associative list with keys may not have a null element")
    if not isinstance(item, dict):
        raise ValueError("associative list with keys may not have non-map elements")
    keys = {}
    for name in shape.list_map_keys:
        value = item[name] if name in item else _default(items_of(shape), name)
        if value is not UNSET:
            keys[name] = value
    if not keys:
        names = "[" + " ".join(json.dumps(name) for name in shape.list_map_keys) + "]"
        raise ValueError(
            f"associative list with keys has an element that omits all key fields {names} "
            "(and doesn't have default values for any key fields)"
        )
    return key_element(keys)


def _default(shape: Shape, name: str) -> Any:
    member = shape.properties.get(name)
    if member is None:
        return UNSET
    return member.zero if member.default is UNSET else member.default


def content_of(value: Any, form: Form) -> Any:
    """The value as a map or list; an empty one if it is none."""
    kind: type[Any] = dict if form == "map" else list
    return value if isinstance(value, kind) else kind()
