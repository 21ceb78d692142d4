"""The shape of an object: a tree of `Shape`, the one form in which built-in kinds and CRDs are understood.

`builtin` makes shapes from the published OpenAPI definitions, `structural` from a CRD's schema; defaulting,
pruning and validation here, and `patching` above, read nothing else. A shape may contain itself
(JSONSchemaProps does), so walk it along a value, never on its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: Final = _Unset()

Kind = Literal[
    "object",  # named properties
    "map",  # any keys, values of shape `additional`
    "array",
    "string",
    "integer",
    "number",
    "boolean",
    "int-or-string",
    "any",  # nothing is known: kept whole
]


@dataclass(slots=True, eq=False)
class Shape:
    """What is allowed at one place. The merge facts come from `x-kubernetes-*`."""

    kind: Kind = "any"
    type_name: str = ""  # Go type of a built-in ("PodSpec", "Quantity", "Time"), for messages
    format: str = ""  # OpenAPI format: int32, int64, date-time, byte, …
    properties: dict[str, Shape] = field(default_factory=dict)
    items: Shape | None = None
    additional: Shape | None = None
    required: tuple[str, ...] = ()
    default: Any = UNSET
    # Built-ins only: what an answer shows where the object is silent, since Go writes the field always
    # ({} for a nested struct, 0, "", False).
    zero: Any = UNSET
    nullable: bool = False
    preserve_unknown: bool = False  # x-kubernetes-preserve-unknown-fields
    embedded: bool = False  # x-kubernetes-embedded-resource
    # For lists: how server-side apply merges them.
    list_type: Literal["atomic", "set", "map"] = "atomic"
    list_map_keys: tuple[str, ...] = ()
    # For objects and maps: "atomic" is replaced whole by server-side apply.
    map_type: Literal["granular", "atomic"] = "granular"
    # For strategic merge patch; "" in patch_strategy means replace.
    patch_strategy: tuple[str, ...] = ()  # of "merge", "replace", "retainKeys"
    patch_merge_key: str = ""
    # Value validation keywords of a CRD schema (minimum, pattern, enum, oneOf, x-kubernetes-validations, …),
    # as they stand in the schema.
    rules: dict[str, Any] = field(default_factory=dict)
    description: str = ""
