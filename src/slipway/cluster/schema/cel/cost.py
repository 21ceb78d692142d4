"""The worst case of an expression, guessed before it runs from how large its inputs may be.

Follows cel-go's `checker/cost.go`: one unit for a name, a selection or a call, a tenth per character looked at,
the body times the size of its range for a macro. What is not known to be bounded counts as unbounded.
"""

from __future__ import annotations

from slipway.cluster.schema.cel import syntax
from slipway.cluster.schema.cel.checker import Checked
from slipway.cluster.schema.cel.kinds import Kind
from slipway.cluster.schema.cel.syntax import Node

UNBOUNDED = 2**64 - 1
_SCALARS = frozenset(
    {"bool", "int", "uint", "double", "null", "timestamp", "duration", "type", "optional_type"}
)
_OVER_ELEMENTS = frozenset({"isSorted", "sum", "max", "min", "indexOf", "lastIndexOf", "join"})
_COMPARISONS = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"})
# What names a place in the object that is looked at.
_PATHS = (syntax.Name, syntax.Select, syntax.Index)
# What one round of a macro costs besides its body, by how cel-go expands it.
_ROUND = {"all": 3, "exists": 4, "existsOne": 2, "map": 12, "filter": 13, "transformList": 12}


class _Sized:
    """Stands for a value of which only the size is known, so that overloads' own cost functions can be asked."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return min(self.size, 2**62)

    def __float__(self) -> float:
        return float(self.size)


def estimate_cost(checked: Checked) -> int:
    """The largest cost that one evaluation can have."""
    return min(_Estimator(checked).cost(checked.root), UNBOUNDED)


class _Estimator:
    def __init__(self, checked: Checked) -> None:
        self.checked = checked
        self.sizes: dict[Node, int] = {}

    def kind(self, node: Node) -> Kind:
        return self.checked.kinds[node]

    def size(self, node: Node) -> int:
        """How many characters or items the node's value has at most."""
        if node in self.sizes:
            return self.sizes[node]
        kind = self.kind(node)
        if kind.limit is not None:
            return kind.limit
        if isinstance(node, _PATHS) and (kind.fields is not None or kind.name in _SCALARS):
            return 0  # upstream asks the schema, which gives objects and scalars no length
        return 1 if kind.name in _SCALARS or ("." in kind.name and kind.fields is None) else UNBOUNDED

    def cost(self, node: Node) -> int:
        found: int = getattr(self, f"cost_{type(node).__name__.lower()}")(node)
        return min(found, UNBOUNDED)

    def cost_constant(self, node: syntax.Constant) -> int:
        return 0

    def cost_name(self, node: syntax.Name) -> int:
        return 1

    def cost_select(self, node: syntax.Select) -> int:
        if node in self.checked.qualified:
            return 1
        operand = self.cost(node.operand)
        return operand if node.test else operand + 1

    def cost_index(self, node: syntax.Index) -> int:
        return self.cost(node.operand) + self.cost(node.key) + 1

    def cost_logic(self, node: syntax.Logic) -> int:
        return sum(self.cost(operand) for operand in node.operands)

    def cost_conditional(self, node: syntax.Conditional) -> int:
        branches = max(self.cost(node.then), self.cost(node.otherwise))
        self.sizes[node] = max(self.size(node.then), self.size(node.otherwise))
        return self.cost(node.condition) + branches

    def cost_listliteral(self, node: syntax.ListLiteral) -> int:
        return 10 + sum(self.cost(item) for item in node.items)

    def cost_mapliteral(self, node: syntax.MapLiteral) -> int:
        return 30 + sum(self.cost(key) + self.cost(value) for key, value, _ in node.entries)

    def cost_structliteral(self, node: syntax.StructLiteral) -> int:
        return 40 + sum(self.cost(value) for _, value, _ in node.fields)

    def cost_call(self, node: syntax.Call) -> int:
        target = [] if node.target is None or node in self.checked.qualified else [node.target]
        args = [*target, *node.args]
        total = sum(self.cost(arg) for arg in args)
        sizes = [self.size(arg) for arg in args]
        if node.function in _COMPARISONS:
            return total + -(-min(sizes) // 10)
        if node.function == "_+_" and self.kind(node).name in ("string", "bytes", "list"):
            self.sizes[node] = min(sum(sizes), UNBOUNDED)
            return total + (1 if self.kind(node).name == "list" else max(self.sizes[node] // 10, 1))
        if node.function == "dyn":
            self.sizes[node] = sizes[0]
            return total + 1
        if node.function == "matches" and len(sizes) == 2:
            return total + -(-(sizes[0] + 1) // 10) * -(-sizes[1] // 4)
        if node.function == "contains" and len(sizes) == 2:
            return total + -(-sizes[0] // 10) * -(-sizes[1] // 10)
        if node.function in _OVER_ELEMENTS and target and self.kind(target[0]).name == "list":
            return total + self.over_elements(self.kind(target[0]).params[0], sizes[0])
        if node.function == "split" and target:
            self.sizes[node] = sizes[0]
            return total + max(2 * (sizes[0] // 10), 1)
        extra = 1
        for overload in self.checked.overloads.get(node, ()):
            if overload.cost is not None:
                extra = max(extra, int(overload.cost(*map(_Sized, sizes))))
        if target and self.kind(node).limit is None and self.kind(node) == self.kind(target[0]):
            self.sizes[node] = sizes[0]  # trim, lowerAscii, sort, …: no longer than what they are called on
        return total + extra

    def over_elements(self, item: Kind, count: int) -> int:
        """Looking at every element of a list, texts character by character."""
        if item.name not in ("string", "bytes"):
            return count
        return count * max((UNBOUNDED if item.limit is None else item.limit) // 10, 1)

    def cost_macro(self, node: syntax.Macro) -> int:
        total = self.cost(node.range) + 1
        body = sum(self.cost(arg) for arg in node.args)
        if node.name in ("optMap", "optFlatMap"):
            return total + body + 1
        size = self.size(node.range)
        self.sizes[node] = 1 if self.kind(node).name == "bool" else size
        return total + size * (body + _ROUND.get(node.name, 12))
