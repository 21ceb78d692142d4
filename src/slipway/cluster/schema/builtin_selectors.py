"""Which field selectors each kind understands, and what they compare: `data/field-selectors.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import orjson

from slipway.cluster.schema.builtin import DATA
from slipway.cluster.schema.resource import Resource


@dataclass(frozen=True, slots=True)
class SelectableField:
    """Where a selector finds its value: the first of `paths` that says something, else `absent`."""

    paths: tuple[tuple[str, ...], ...]
    absent: str = ""

    def value_of(self, item: Mapping[str, Any]) -> str:
        """The text that a selector is compared with."""
        for path in self.paths:
            value: Any = item
            for step in path:
                value = value.get(step) if isinstance(value, Mapping) else None
            if value is not None and value != "":
                return str(value).lower() if isinstance(value, bool) else str(value)
        return self.absent


def field_selectors(resource: Resource) -> Mapping[str, SelectableField]:
    """Every selector that a kind supports; anything else is a 400. A custom resource has name and namespace
    here, and what its CRD's `selectableFields` adds."""
    kinds = _kinds()
    name = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    return kinds["any"] if resource.custom else kinds.get(name, kinds["any"])


@cache
def _kinds() -> dict[str, dict[str, SelectableField]]:
    table = orjson.loads((DATA / "field-selectors.json").read_bytes())
    rows = {"any": table["any"], **table["kinds"]}
    return {kind: {selector: _field(parts) for selector, parts in row.items()} for kind, row in rows.items()}


def _field(parts: list[Any]) -> SelectableField:
    """`["status.succeeded", {"absent": "0"}]`: paths, then what an absent value counts as."""
    paths = tuple(tuple(part.split(".")) for part in parts if isinstance(part, str))
    absent = next((part["absent"] for part in parts if isinstance(part, dict)), "")
    return SelectableField(paths, absent)
