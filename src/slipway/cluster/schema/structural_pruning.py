"""Dropping what a structural schema does not know: unknown fields, and nulls where null is not allowed."""

from __future__ import annotations

from typing import Any

from slipway.cluster.schema.shape import UNSET, Shape

_TYPE_AND_META = frozenset({"apiVersion", "kind", "metadata"})


def prune(obj: Any, shape: Shape, *, root: bool = True) -> list[str]:
    """Remove the fields of `obj` that `shape` does not know, in place; `root` keeps apiVersion, kind, metadata.

    Returns the removed paths as strict and warning field validation print them, sorted: `spec.list[0].foo`.
    """
    removed: list[str] = []
    _prune(obj, shape, "", removed, embedded=root or shape.embedded)
    removed.sort()
    return removed


def _prune(value: Any, shape: Shape, path: str, removed: list[str], embedded: bool | None = None) -> None:
    if isinstance(value, dict):
        _prune_object(value, shape, path, removed, shape.embedded if embedded is None else embedded)
    elif isinstance(value, list):
        items = shape.items
        if items is None:
            if shape.preserve_unknown:
                return
            items = _NOTHING
        for index, item in enumerate(value):
            if isinstance(item, dict | list):
                if shape.preserve_unknown:
                    _skip(item, items, f"{path}[{index}]", removed)
                else:
                    _prune(item, items, f"{path}[{index}]", removed)


def _prune_object(value: dict[str, Any], shape: Shape, path: str, removed: list[str], embedded: bool) -> None:
    unknown: list[str] = []
    properties = shape.properties
    for key, child in value.items():
        if embedded and key in _TYPE_AND_META:
            continue
        known = properties.get(key) or shape.additional
        if known is not None:
            if isinstance(child, dict | list):
                _prune(child, known, f"{path}.{key}" if path else key, removed)
        elif not shape.preserve_unknown:
            unknown.append(key)
    for key in unknown:
        del value[key]
        if path or key not in _TYPE_AND_META:
            removed.append(f"{path}.{key}" if path else key)


def _skip(value: Any, shape: Shape, path: str, removed: list[str]) -> None:
    """Below `x-kubernetes-preserve-unknown-fields`: only what is specified is looked into."""
    if isinstance(value, dict):
        for key, child in value.items():
            if shape.embedded and key in _TYPE_AND_META:
                continue
            known = shape.properties.get(key) or shape.additional
            if known is not None and isinstance(child, dict | list):
                _prune(child, known, f"{path}.{key}", removed)
    elif isinstance(value, list) and shape.items is not None:
        for index, item in enumerate(value):
            _skip(item, shape.items, f"{path}[{index}]", removed)


_NOTHING = Shape(kind="object")


def drop_nulls(value: Any, shape: Shape | None) -> None:
    """Remove, in place, nulls of fields that are neither nullable nor have a default (which will replace them)."""
    if isinstance(value, dict):
        stray = []
        for key, child in value.items():
            known = None if shape is None else shape.properties.get(key) or shape.additional
            if child is None:
                if known is not None and not known.nullable and known.default is UNSET:
                    stray.append(key)
            elif known is not None and isinstance(child, dict | list):
                drop_nulls(child, known)
        for key in stray:
            del value[key]
    elif isinstance(value, list) and shape is not None and shape.items is not None:
        for item in value:
            if isinstance(item, dict | list):
                drop_nulls(item, shape.items)
