"""Fields that a write through a resource or sub-resource never changes, so that its managers never own them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path as FilePath
from typing import Any

import orjson

from slipway.cluster.patching.fields import FieldSet, field_path

Filter = Callable[[FieldSet], FieldSet]
_DATA = FilePath(__file__).parent / "data" / "reset-fields.json"


@cache
def reset_filter(resource: str, subresource: str, *, has_status: bool, custom: bool = False) -> Filter:
    """What is left of a set of fields in a write through `resource` ("deployments.apps") and sub-resource.

    `has_status` says whether the resource has a `status` sub-resource.
    """
    data = _read()
    only = data["only"].get(resource, {}).get(subresource)
    if only is not None and not custom:
        patterns = [tuple(pattern) for pattern in only]
        return lambda fields: _matching(fields, patterns)
    row: list[list[str]] | None = None
    if not custom:
        row = data["resources"].get(resource, {}).get(subresource)
    if row is None and has_status:
        row = data["custom" if custom else "status"].get(subresource)
    if not row:
        return lambda fields: fields
    excluded = FieldSet.of(*(field_path(*names) for names in row))
    return lambda fields: fields.without_all_of(excluded)


def _matching(fields: FieldSet, patterns: list[tuple[str, ...]]) -> FieldSet:
    """The paths that begin as one of the patterns do or are themselves on the way; `*` is any element."""
    if any(not pattern for pattern in patterns):
        return fields

    def rests(element: str) -> list[tuple[str, ...]]:
        return [pattern[1:] for pattern in patterns if pattern[0] in ("*", element.removeprefix("f:"))]

    children = {
        element: _matching(child, rest)
        for element, child in fields.children.items()
        if (rest := rests(element))
    }
    return FieldSet(
        (element for element in fields.members if rests(element)),
        {element: child for element, child in children.items() if child},
    )


@cache
def _read() -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(_DATA.read_bytes())
    return found
