"""The fields of a value as its shape has them, and sets of fields brought in line with a shape."""

from __future__ import annotations

from collections import Counter
from typing import Any

from slipway.cluster.patching.fields import FieldSet, Path, field_element
from slipway.cluster.patching.places import UNKNOWN, element_of, form_of, is_leaf, items_of, member_of
from slipway.cluster.schema.shape import Shape


def fields_of(value: Any, shape: Shape) -> FieldSet:
    """Every leaf and list item that the value mentions."""
    found = FieldSet()
    _collect(value, shape, (), found)
    return found


def _collect(value: Any, shape: Shape, path: Path, found: FieldSet) -> None:
    form = form_of(shape, value)
    if is_leaf(shape, form):
        found.insert(path)
    elif form == "map" and isinstance(value, dict):
        for name, item in value.items():
            below = (*path, field_element(name))
            _collect(item, member_of(shape, name) or UNKNOWN, below, found)
            if item is None or item == {} or name not in shape.properties:
                found.insert(below)
    elif form == "list" and isinstance(value, list):
        items = [(element_of(shape, item), item) for item in value]
        times = Counter(element for element, _ in items)
        for element, item in items:
            found.insert((*path, element))
            if times[element] == 1:
                _collect(item, items_of(shape), (*path, element), found)


def with_named_fields(fields: FieldSet, shape: Shape) -> FieldSet:
    """The set together with every declared field on the way to one of its paths."""
    declared = {
        element
        for element in fields.children
        if element.startswith("f:") and shape.kind != "array" and element[2:] in shape.properties
    }
    children = {}
    for element, child in fields.children.items():
        if element.startswith("f:") and shape.kind != "array":
            below = member_of(shape, element[2:]) or UNKNOWN
        else:
            below = items_of(shape) if element.startswith("k:") else UNKNOWN
        children[element] = with_named_fields(child, below)
    return FieldSet(fields.members | declared, children)


def reconciled(fields: FieldSet, shape: Shape) -> FieldSet:
    """The set as it is after what it looks into became a leaf: the leaf instead of all that was in it."""
    leaves = FieldSet()
    _leaves_with_children(fields, shape, (), leaves)
    return fields.without_all_of(leaves) | leaves if leaves else fields


def _leaves_with_children(fields: FieldSet, shape: Shape, path: Path, leaves: FieldSet) -> None:
    for element in fields.members | fields.children.keys():
        child = fields.children.get(element)
        if element.startswith("f:"):
            if shape.kind == "array":
                continue
            below = member_of(shape, element[2:])
        else:
            below = shape.items if shape.kind == "array" else None
        if below is None or below.kind == "any" or (below.kind == "object" and not below.properties):
            continue
        is_atomic = element in fields.members and child is None
        here = (*path, element)
        if below.kind == "array" and below.list_type == "atomic":
            if not is_atomic:
                leaves.insert(here)
        elif below.kind in ("object", "map") and below.map_type == "atomic":
            if not is_atomic and child:
                leaves.insert(here)
        elif child is not None:
            _leaves_with_children(child, below, here, leaves)
