"""Values of one shape made into another: merged with what an applier says, or without the fields that it gave up."""

from __future__ import annotations

from collections import deque
from typing import Any

from slipway.cluster.patching.fields import FieldSet, field_element
from slipway.cluster.patching.places import (
    ABSENT,
    UNKNOWN,
    content_of,
    element_of,
    form_of,
    is_leaf,
    items_of,
    member_of,
)
from slipway.cluster.schema.shape import Shape


def merge(old: Any, config: Any, shape: Shape) -> Any:
    """The old value with everything that `config` says; nothing is removed. ABSENT if nothing is left.

    Lists whose items `config` mentions get its order, others keep theirs.
    """
    form = form_of(shape, old if config is ABSENT else config)
    before, after = content_of(old, form), content_of(config, form)
    if is_leaf(shape, form) or (not before and not after):
        return old if config is ABSENT else config
    if form == "map":
        merged = {
            name: merge(before.get(name, ABSENT), after.get(name, ABSENT), member_of(shape, name) or UNKNOWN)
            for name in dict.fromkeys([*before, *after])
        }
        return {name: value for name, value in merged.items() if value is not ABSENT} or ABSENT
    return _merge_lists(before, after, shape) or ABSENT


def _merge_lists(old: list[Any], config: list[Any], shape: Shape) -> list[Any]:
    left = [(element_of(shape, item), item) for item in old]
    right = [(element_of(shape, item), item) for item in config]
    before: dict[str, Any] = {}
    for element, item in left:
        before[element] = None if element in before else item  # items that come twice do not merge
    after = dict(right)
    shared = deque(element for element in after if element in before)
    taken: set[str] = set()
    merged: list[Any] = []

    def take(element: str, item: Any, change: Any) -> None:
        value = merge(item, change, items_of(shape))
        if value is not ABSENT:
            merged.append(value)

    i = j = 0
    while i < len(left) or j < len(right):
        if i < len(left) and j < len(right):
            element = left[i][0]
            if element == right[j][0]:
                taken.add(element)
                take(element, before[element], after[element])
                shared.popleft()
                i, j = i + 1, j + 1
                continue
            if element in after and shared and shared[0] != element:
                i += 1  # a shared item, but not the one whose turn it is
                continue
        if i < len(left):
            element = left[i][0]
            if element not in after:
                take(element, left[i][1], ABSENT)
                i += 1
                continue
            if element in taken:
                i += 1
        if j < len(right):
            element = right[j][0]
            taken.add(element)
            take(element, before.get(element, ABSENT), after[element])
            j += 1
            if shared and shared[0] == element:
                shared.popleft()
    return merged


def remove(value: Any, unwanted: FieldSet, shape: Shape) -> Any:
    """The value without these fields and items; None where nothing is left of an object or list."""
    form = form_of(shape, value)
    if form == "scalar":
        return value
    if form == "list":
        if not isinstance(value, list) or is_leaf(shape, form):
            return None
        kept = [
            _remove_below(item, element, unwanted, items_of(shape))
            for item in value
            if (element := element_of(shape, item)) not in unwanted.members
        ]
        return kept or None
    if not isinstance(value, dict) or shape.map_type == "atomic":
        return None
    left = {
        name: _remove_below(item, field_element(name), unwanted, member_of(shape, name) or UNKNOWN)
        for name, item in value.items()
        if field_element(name) not in unwanted.members
    }
    return left or None


def _remove_below(value: Any, element: str, unwanted: FieldSet, shape: Shape) -> Any:
    below = unwanted.below(element)
    return remove(value, below, shape) if below else value
