"""Type checking: each node of an expression gets a kind, each call its overloads, faults their cel-go wording."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from slipway.cluster.schema.cel import kinds, syntax
from slipway.cluster.schema.cel.kinds import BOOL, DYN, INT, Bindings, Functions, Kind, Overload
from slipway.cluster.schema.cel.problems import CompileError, EvaluationError, Issue
from slipway.cluster.schema.cel.syntax import Node
from slipway.cluster.schema.cel.values import Uint

_TYPE_NAMES = {
    **{name: Kind(name) for name in ("bool", "int", "uint", "double", "string", "bytes", "dyn")},
    "list": kinds.list_of(DYN),
    "map": kinds.map_of(DYN, DYN),
    "type": Kind("type", (DYN,)),
    "null_type": kinds.NULL,
    "optional_type": kinds.optional_of(DYN),
    "google.protobuf.Timestamp": kinds.TIMESTAMP,
    "google.protobuf.Duration": kinds.DURATION,
    **{name: Kind(name) for name in ("net.IP", "net.CIDR")},
}
_ERROR = Kind("!error")
_NUMBERS = ("int", "uint", "double")
# Letters of format strings: the clause's name, what it takes in words, and by kind (nothing: anything).
_CLAUSES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "s": ("string", "", ()),
    "d": ("decimal", "integers", _NUMBERS),
    "f": ("fixed-point", "doubles", ("double",)),
    "e": ("scientific", "doubles", ("double",)),
    "b": ("binary", "integers and bools", ("int", "uint", "bool")),
    "x": ("hex", "integers, byte buffers, and strings", ("int", "uint", "string", "bytes")),
    "X": ("hex", "integers, byte buffers, and strings", ("int", "uint", "string", "bytes")),
    "o": ("octal", "integers", ("int", "uint")),
}


@dataclass(slots=True)
class Checked:
    """What the checker found out."""

    source: str
    root: Node
    kind: Kind
    kinds: dict[Node, Kind] = field(default_factory=dict)
    overloads: dict[Node, list[Overload]] = field(default_factory=dict)
    qualified: dict[Node, str] = field(
        default_factory=dict
    )  # nodes that are one dotted variable or type name
    uses: set[str] = field(default_factory=set)  # declared variables that occur


def check(source: str, root: Node, variables: Mapping[str, Kind], functions: Functions) -> Checked:
    """Kinds and overloads of all nodes; raises CompileError with every fault."""
    checker = _Checker(source, root, variables, functions)
    kind = checker.visit(root)
    if checker.issues:
        raise CompileError(source, checker.issues)
    checked = checker.checked
    checked.kinds = {node: checker.bindings.final(found) for node, found in checked.kinds.items()}
    checked.kind = checker.bindings.final(kind)
    return checked


class _Checker:
    def __init__(self, source: str, root: Node, variables: Mapping[str, Kind], functions: Functions) -> None:
        self.variables = variables
        self.functions = functions.overloads
        self.checked = Checked(source, root, DYN)
        self.issues: list[Issue] = []
        self.bindings = Bindings()
        self.scopes: list[dict[str, Kind]] = []
        self.formatting = 0  # how many calls of format() we are in: their lists may hold anything

    def fault(self, node: Node, message: str) -> Kind:
        self.issues.append(Issue(node.at, message))
        return _ERROR

    def show(self, kind: Kind) -> str:
        return str(self.bindings.final(kind)).replace("!error", "error")

    def visit(self, node: Node) -> Kind:
        method = getattr(self, f"visit_{type(node).__name__.lower()}")
        kind: Kind = self.bindings.resolve(method(node))
        self.checked.kinds[node] = kind
        return kind

    def visit_constant(self, node: syntax.Constant) -> Kind:
        value = node.value
        if value is None:
            return kinds.NULL
        name = {bool: "bool", int: "int", Uint: "uint", float: "double", str: "string", bytes: "bytes"}[
            type(value)
        ]
        return Kind(name, limit=len(value)) if isinstance(value, str | bytes) else Kind(name)

    def lookup(self, name: str) -> Kind | None:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        kind = self.variables.get(name)
        if kind is not None:
            self.checked.uses.add(name)
            return kind
        kind = _TYPE_NAMES.get(name)
        return None if kind is None else Kind("type", (kind,))

    def visit_name(self, node: syntax.Name) -> Kind:
        kind = self.lookup(node.name)
        if kind is None:
            return self.fault(node, f"undeclared reference to '{node.name}' (in container '')")
        return kind

    def qualified(self, node: Node) -> str:
        """The dotted name that the node spells, if its first part is not a variable."""
        parts: list[str] = []
        while isinstance(node, syntax.Select) and not node.test and not node.optional:
            parts.append(node.field)
            node = node.operand
        if not isinstance(node, syntax.Name) or any(node.name in scope for scope in self.scopes):
            return ""
        if node.name in self.variables:
            return ""
        return ".".join([node.name, *reversed(parts)])

    def visit_select(self, node: syntax.Select) -> Kind:
        name = self.qualified(node)
        if name and (kind := self.lookup(name)) is not None:
            self.checked.qualified[node] = name
            return kind
        operand = self.visit(node.operand)
        found = self.field(node, operand)
        if node.test:
            return BOOL
        if node.optional and found is not _ERROR:
            return found if found.name == "optional_type" else kinds.optional_of(found)
        return found

    def field(self, node: syntax.Select, operand: Kind) -> Kind:
        if operand is _ERROR or operand.name == "dyn" or operand.is_variable:
            return operand if operand is _ERROR else DYN
        if operand.name == "map":
            return operand.params[1]
        if operand.fields is not None:
            found = operand.fields.get(node.field)
            return found if found is not None else self.fault(node, f"undefined field '{node.field}'")
        if operand.name == "optional_type":
            inner = self.field(node, self.bindings.resolve(operand.params[0]))
            return inner if inner is _ERROR or inner.name == "optional_type" else kinds.optional_of(inner)
        return self.fault(node, f"type '{self.show(operand)}' does not support field selection")

    def visit_index(self, node: syntax.Index) -> Kind:
        operand, key = self.visit(node.operand), self.visit(node.key)
        if operand is _ERROR or key is _ERROR:
            return _ERROR
        inner = operand
        through_optional = operand.name == "optional_type"
        if through_optional:
            inner = self.bindings.resolve(operand.params[0])
        found: Kind | None = None
        if inner.name == "dyn" or inner.is_variable:
            found = DYN
        elif inner.name == "list" and self.bindings.assign(INT, key):
            found = inner.params[0]
        elif inner.name == "map" and self.bindings.assign(inner.params[0], key):
            found = inner.params[1]
        if found is None:
            function = "_[?_]" if node.optional else "_[_]"
            return self.no_overload(node, function, False, [operand, key])
        if node.optional or through_optional:
            return found if found.name == "optional_type" else kinds.optional_of(found)
        return found

    def no_overload(self, node: Node, function: str, member: bool, args: list[Kind]) -> Kind:
        shown = [self.show(arg) for arg in args]
        called = f"{shown[0]}.({', '.join(shown[1:])})" if member else f"({', '.join(shown)})"
        return self.fault(node, f"found no matching overload for '{function}' applied to '{called}'")

    def visit_logic(self, node: syntax.Logic) -> Kind:
        for operand in node.operands:
            kind = self.visit(operand)
            if kind is not _ERROR and not self.bindings.assign(BOOL, kind):
                self.fault(operand, f"expected type 'bool' but found '{self.show(kind)}'")
        return BOOL

    def visit_conditional(self, node: syntax.Conditional) -> Kind:
        found = [self.visit(part) for part in (node.condition, node.then, node.otherwise)]
        if _ERROR in found:
            return _ERROR
        result = self.join(found[1], found[2]) if self.bindings.assign(BOOL, found[0]) else None
        return result if result is not None else self.no_overload(node, "_?_:_", False, found)

    def join(self, a: Kind, b: Kind) -> Kind | None:
        """The kind of a value that is one or the other; None if they do not agree."""
        if a == b:
            return a
        for wanted, given in ((a, b), (b, a)):
            trial = self.bindings.copy()
            if trial.assign(wanted, given):
                self.bindings = trial
                return DYN if "dyn" in (a.name, b.name) else trial.resolve(wanted)
        return None

    def visit_listliteral(self, node: syntax.ListLiteral) -> Kind:
        item: Kind | None = None
        for index, child in enumerate(node.items):
            found = self.visit(child)
            if index in node.optional and found.name == "optional_type":
                found = found.params[0]
            item = self.element(child, item, found)
        # How long the texts in it are is not known to upstream's estimate of costs either.
        item = Kind(item.name) if item is not None and item.limit is not None and not item.params else item
        return kinds.list_of(item or kinds.fresh_variable(), limit=len(node.items))

    def visit_mapliteral(self, node: syntax.MapLiteral) -> Kind:
        key: Kind | None = None
        value: Kind | None = None
        for key_node, value_node, optional in node.entries:
            key = self.element(key_node, key, self.visit(key_node))
            found = self.visit(value_node)
            if optional and found.name == "optional_type":
                found = found.params[0]
            value = self.element(value_node, value, found)
        return kinds.map_of(
            key or kinds.fresh_variable(), value or kinds.fresh_variable(), limit=len(node.entries)
        )

    def element(self, node: Node, known: Kind | None, found: Kind) -> Kind:
        """Elements of one literal agree, or it is an error (upstream turns mixed literals off)."""
        if known is None or known is _ERROR or found is _ERROR:
            return found
        joined = self.join(known, found)
        if joined is None and self.formatting:
            return DYN
        if joined is None:
            return self.fault(node, f"expected type '{self.show(known)}' but found '{self.show(found)}'")
        return joined

    def visit_structliteral(self, node: syntax.StructLiteral) -> Kind:
        for _, value, _ in node.fields:
            self.visit(value)
        return self.fault(node, f"undeclared reference to '{node.name}' (in container '')")

    def visit_call(self, node: syntax.Call) -> Kind:
        function, target = node.function, node.target
        if target is not None:
            name = self.qualified(target)
            if name and f"{name}.{function}" in self.functions:
                self.checked.qualified[node] = f"{name}.{function}"
                return self.resolve(node, f"{name}.{function}", False, [self.visit(arg) for arg in node.args])
        args = [] if target is None else [self.visit(target)]
        self.formatting += function == "format"
        args += [self.visit(arg) for arg in node.args]
        self.formatting -= function == "format"
        if function not in self.functions:
            return self.fault(node, f"undeclared reference to '{function}' (in container '')")
        return self.resolve(node, function, target is not None, args)

    def resolve(self, node: syntax.Call, function: str, member: bool, args: list[Kind]) -> Kind:
        if _ERROR in args:
            return _ERROR
        matching: list[Overload] = []
        result: Kind | None = None
        chosen = self.bindings
        for overload in self.functions[function]:
            if overload.member is not member or len(overload.params) != len(args):
                continue
            params, produced = overload.instance()
            trial = self.bindings.copy()
            if all(trial.assign(param, arg) for param, arg in zip(params, args, strict=True)):
                matching.append(overload)
                produced = trial.resolve(produced)
                if result is None:
                    result, chosen = produced, trial
                elif result != produced:
                    result = DYN
        if result is None:
            return self.no_overload(node, function, member, args)
        self.bindings = chosen
        self.checked.overloads[node] = matching
        self.literal_faults(node, function)
        return result

    def literal_faults(self, node: syntax.Call, function: str) -> None:
        """Literals that cannot be read are found here, not at every evaluation."""
        args = node.args
        if function in ("duration", "timestamp") and len(args) == 1:
            literal = args[0]
            if isinstance(literal, syntax.Constant) and isinstance(literal.value, str):
                from slipway.cluster.schema.cel.times import parse_duration, parse_timestamp

                read = parse_duration if function == "duration" else parse_timestamp
                try:
                    read(literal.value)
                except EvaluationError:
                    self.fault(literal, f"invalid {function} argument")
        if function == "format" and node.target is not None:
            self.format_faults(node, node.target)
        if function == "matches" and isinstance(args[-1], syntax.Constant):
            from slipway.cluster.schema.regexp import InvalidPattern, compile_pattern

            try:
                compile_pattern(str(args[-1].value))
            except InvalidPattern:
                self.fault(args[-1], "invalid matches argument")

    def format_faults(self, node: syntax.Call, target: Node) -> None:
        """A constant format string with its arguments in a list literal is checked against them."""
        items = node.args[0]
        if not (isinstance(target, syntax.Constant) and isinstance(items, syntax.ListLiteral)):
            return
        used = 0
        for letter in re.findall(r"%(?:%|(?:\.[0-9]+)?(.?))", str(target.value), re.DOTALL):
            if not letter:
                continue
            if letter not in _CLAUSES:
                text = f'could not parse formatting clause: unrecognized formatting clause "{letter}"'
                self.fault(node, text)
                return
            if used >= len(items.items):
                self.fault(node, f"index {used} out of range")
                return
            name, takes, fitting = _CLAUSES[letter]
            given = self.checked.kinds[items.items[used]].name
            if fitting and given not in fitting and given != "dyn":
                text = (
                    f"error during formatting: {name} clause can only be used on {takes}, was given {given}"
                )
                self.fault(items.items[used], text)
            used += 1

    def visit_macro(self, node: syntax.Macro) -> Kind:
        source = self.visit(node.range)
        if source is _ERROR:
            for _ in node.variables:
                pass
            self.inside(node, [DYN] * len(node.variables))
            return _ERROR
        if node.name in ("optMap", "optFlatMap"):
            return self.optional_macro(node, source)
        variables = self.loop_variables(node, source)
        if variables is None:
            shown = self.show(source)
            text = f"expression of type '{shown}' cannot be range of a comprehension (must be list, map, or dynamic)"
            return self.fault(node.range, text)
        results = self.inside(node, variables)
        if _ERROR in results:
            return _ERROR
        return self.macro_result(node, source, results)

    def loop_variables(self, node: syntax.Macro, source: Kind) -> list[Kind] | None:
        if source.name == "list":
            item = source.params[0]
            return [item] if len(node.variables) == 1 else [INT, item]
        if source.name == "map" and node.name != "sortBy":
            return list(source.params[: len(node.variables)])
        if source.name == "dyn" or source.is_variable:
            return [DYN] * len(node.variables)
        return None

    def inside(self, node: syntax.Macro, variables: list[Kind]) -> list[Kind]:
        self.scopes.append(dict(zip(node.variables, variables, strict=True)))
        found = [self.visit(arg) for arg in node.args]
        self.scopes.pop()
        return found

    def macro_result(self, node: syntax.Macro, source: Kind, results: list[Kind]) -> Kind:
        filters = results if node.name in ("all", "exists", "existsOne", "filter") else results[:-1]
        for kind in filters:
            if not self.bindings.assign(BOOL, kind):
                text = f"expected type 'bool' but found '{self.show(kind)}'"
                if node.name in ("all", "exists"):
                    return self.fault(node.args[0], text)
                if node.name in ("map", "filter", "existsOne"):
                    item = source.params[0] if source.params else DYN
                    outcome = kinds.list_of(item if node.name == "filter" else results[-1])
                    pair = [INT, INT] if node.name == "existsOne" else [outcome, outcome]
                    return self.no_overload(node, "_?_:_", False, [kind, *pair])
                return self.fault(node, text)
        if node.name in ("all", "exists", "existsOne"):
            return BOOL
        if node.name == "filter":
            item = source.params[0] if source.params else DYN
            return kinds.list_of(item, limit=source.limit)
        if node.name in ("map", "transformList"):
            return kinds.list_of(results[-1], limit=source.limit)
        if node.name == "transformMap":
            key = source.params[0] if source.name == "map" else INT if source.name == "list" else DYN
            return kinds.map_of(key, results[-1], limit=source.limit)
        if node.name == "transformMapEntry":
            if results[-1].name == "map":
                return results[-1]
            return DYN if results[-1].name == "dyn" else self.fault(node, "expected a map literal")
        return source  # sortBy

    def optional_macro(self, node: syntax.Macro, source: Kind) -> Kind:
        if source.name not in ("optional_type", "dyn"):
            return self.no_overload(node, node.name, True, [source, DYN, DYN])
        inner = source.params[0] if source.params else DYN
        (result,) = self.inside(node, [inner])
        if result is _ERROR:
            return _ERROR
        if node.name == "optMap":
            return kinds.optional_of(result)
        if result.name in ("optional_type", "dyn"):
            return result if result.name == "optional_type" else kinds.optional_of(DYN)
        return self.no_overload(node, "_?_:_", False, [BOOL, result, kinds.optional_of(DYN)])
