"""The tree of a CEL expression. Macros are nodes of their own; they are not expanded into folds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(slots=True, eq=False)
class Node:
    """`at` is the offset in the source to which messages point."""

    at: int


@dataclass(slots=True, eq=False)
class Constant(Node):
    value: Any


@dataclass(slots=True, eq=False)
class Name(Node):
    """An identifier, or a dotted name if the checker found that it is one. `absolute`: written with a dot first."""

    name: str
    absolute: bool = False


@dataclass(slots=True, eq=False)
class Select(Node):
    """`operand.field`, `operand.?field`; `test` is `has(operand.field)`."""

    operand: Node
    field: str
    optional: bool = False
    test: bool = False


@dataclass(slots=True, eq=False)
class Index(Node):
    """`operand[key]`, `operand[?key]`."""

    operand: Node
    key: Node
    optional: bool = False


@dataclass(slots=True, eq=False)
class Call(Node):
    """A function or operator (`_+_`, `!_`, `@in`); `target` is what it was called on."""

    function: str
    target: Node | None
    args: list[Node]


@dataclass(slots=True, eq=False)
class Logic(Node):
    """`&&` or `||` over all operands of one chain."""

    operator: Literal["_&&_", "_||_"]
    operands: list[Node]


@dataclass(slots=True, eq=False)
class Conditional(Node):
    condition: Node
    then: Node
    otherwise: Node


@dataclass(slots=True, eq=False)
class ListLiteral(Node):
    items: list[Node]
    optional: set[int] = field(default_factory=set)  # indexes written with ?


@dataclass(slots=True, eq=False)
class MapLiteral(Node):
    entries: list[tuple[Node, Node, bool]]  # key, value, written with ?


@dataclass(slots=True, eq=False)
class StructLiteral(Node):
    """`Object{field: value}`."""

    name: str
    fields: list[tuple[str, Node, bool]]


MacroName = Literal[
    "all",
    "exists",
    "existsOne",
    "map",
    "filter",
    "transformList",
    "transformMap",
    "transformMapEntry",
    "sortBy",
    "optMap",
    "optFlatMap",
]


@dataclass(slots=True, eq=False)
class Macro(Node):
    """`range.macro(variables, args)`. With two variables the first is the index or key, the second the value."""

    name: MacroName
    range: Node
    variables: tuple[str, ...]
    args: list[Node]  # predicate; or [filter,] transform
