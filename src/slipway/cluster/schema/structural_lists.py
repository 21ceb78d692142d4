"""Uniqueness in lists of `x-kubernetes-list-type` set and map."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from slipway.cluster.schema.shape import Shape
from slipway.cluster.status import FieldError


def duplicates(value: Any, shape: Shape, path: str = "") -> Iterator[FieldError]:
    """One error for the second of each group of equal items (sets) or of items with equal keys (maps)."""
    if isinstance(value, dict):
        for key, child in value.items():
            if isinstance(child, dict | list):
                known = shape.properties.get(key)
                if known is not None:
                    yield from duplicates(child, known, f"{path}.{key}" if path else key)
                elif shape.additional is not None:
                    yield from duplicates(child, shape.additional, f"{path}[{key}]")
    elif isinstance(value, list):
        if shape.list_type == "set":
            for index in _repeated(value):
                yield FieldError("FieldValueDuplicate", f"{path}[{index}]", value[index])
        elif shape.list_type == "map":
            yield from _map_duplicates(value, shape, path)
        if shape.items is not None:
            for index, item in enumerate(value):
                if isinstance(item, dict | list):
                    yield from duplicates(item, shape.items, f"{path}[{index}]")


def list_map_key(item: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    """The key fields that an item of a list map has."""
    return {key: item[key] for key in keys if key in item} if isinstance(item, dict) else {}


def identity(value: Any) -> str:
    """A text equal for equal JSON values only (unlike Python, where `1 == True`)."""
    return json.dumps(value, sort_keys=True)


def _map_duplicates(value: list[Any], shape: Shape, path: str) -> Iterator[FieldError]:
    for index, item in enumerate(value):
        if item is not None and not isinstance(item, dict):
            why = "must be an object for an array of list-type map"
            yield FieldError("FieldValueInvalid", f"{path}[{index}]", item, why)
            return
    found = [list_map_key(item, shape.list_map_keys) for item in value]
    for index in _repeated(found):
        yield FieldError("FieldValueDuplicate", f"{path}[{index}]", found[index])


def _repeated(items: list[Any]) -> list[int]:
    """The index of the second of each group of equal items (later ones are not reported, as upstream)."""
    seen: dict[str, int] = {}
    repeated = []
    for index, item in enumerate(items):
        key = identity(item)
        times = seen[key] = seen.get(key, 0) + 1
        if times == 2:
            repeated.append(index)
    return repeated
