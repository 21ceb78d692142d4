"""Filling in the defaults of a structural schema, on the way in and whenever a stored object is read."""

from __future__ import annotations

import copy
from typing import Any

from slipway.cluster.schema.shape import UNSET, Shape


def apply_defaults(value: Any, shape: Shape) -> None:
    """Set absent fields, and nulls of fields that are not nullable, to their defaults, in place.

    Idempotent. Defaults inside a defaulted object are applied too.
    """
    if isinstance(value, dict):
        for key, known in shape.properties.items():
            if known.default is not UNSET and (
                key not in value or (value[key] is None and not known.nullable)
            ):
                value[key] = copy.deepcopy(known.default)
        for key, child in value.items():
            inner = shape.properties.get(key)
            if inner is None:
                inner = shape.additional
                if inner is None:
                    continue
                if child is None and not inner.nullable:
                    child = value[key] = None if inner.default is UNSET else copy.deepcopy(inner.default)
            if isinstance(child, dict | list):
                apply_defaults(child, inner)
    elif isinstance(value, list) and shape.items is not None:
        items = shape.items
        for index, item in enumerate(value):
            if item is None and not items.nullable and items.default is not UNSET:
                item = value[index] = copy.deepcopy(items.default)
            if isinstance(item, dict | list):
                apply_defaults(item, items)
