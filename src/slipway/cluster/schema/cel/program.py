"""Compiled CEL: the checked tree turned into Python closures over one frame, and run within a cost limit.

A frame is a list: cost so far, the limit, then a slot for each variable. Costs follow cel-go's units roughly:
one per operation, a tenth per character looked at, the body's cost per round of a macro.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from slipway.cluster.schema.cel import syntax
from slipway.cluster.schema.cel.checker import Checked, check
from slipway.cluster.schema.cel.kinds import Functions, Kind, Overload, holds
from slipway.cluster.schema.cel.library import KUBERNETES
from slipway.cluster.schema.cel.loops import compile_macro
from slipway.cluster.schema.cel.parser import parse
from slipway.cluster.schema.cel.problems import (
    CompileError,
    CostExceeded,
    EvaluationError,
    InstantiationError,
    Issue,
)
from slipway.cluster.schema.cel.syntax import Node
from slipway.cluster.schema.cel.values import NONE, Optional, TypeValue, checked_int, equal, has_key, same_set

Frame = list[Any]
Run = Callable[[Frame], Any]

PER_CALL_LIMIT = 1_000_000
_COST, _LIMIT, _FIRST = 0, 1, 2
_CONVERSIONS = frozenset({"int", "uint", "double", "bool", "string", "bytes", "timestamp", "duration"})
_SCALARS = frozenset({"int", "uint", "double", "string", "bytes", "bool"})
_TYPE_VALUES = {
    "null": "null_type",
    "timestamp": "google.protobuf.Timestamp",
    "duration": "google.protobuf.Duration",
}


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression. `uses` says which declared variables occur in it."""

    source: str
    kind: Kind
    uses: frozenset[str]
    checked: Checked
    _run: Run
    _slots: tuple[str, ...]
    _size: int
    _base_cost: int

    def evaluate(self, bindings: Mapping[str, Any], limit: float = PER_CALL_LIMIT) -> Any:
        """The value for these variables; raises EvaluationError or CostExceeded."""
        return self.evaluate_with_cost(bindings, limit)[0]

    def evaluate_with_cost(
        self, bindings: Mapping[str, Any], limit: float = PER_CALL_LIMIT
    ) -> tuple[Any, int]:
        """The value and what it cost."""
        frame: Frame = [self._base_cost, limit, *(bindings[name] for name in self._slots)]
        frame.extend([None] * (self._size - len(frame)))
        try:
            value = self._run(frame)
        except RecursionError:
            raise EvaluationError("expression nests too deeply") from None
        return value, int(frame[_COST])


def compile(expression: str, variables: Mapping[str, Kind], functions: Functions = KUBERNETES) -> Program:
    """A program for an expression over declared variables; raises CompileError with cel-go's texts."""
    try:
        checked = check(expression, _parsed(expression), variables, functions)
        compiler = Compiler(checked, variables)
        run = compiler.visit(checked.root)
    except RecursionError:
        raise CompileError(expression, [Issue(0, "expression recursion limit exceeded: 250")]) from None
    return Program(
        source=expression,
        kind=checked.kind,
        uses=frozenset(checked.uses),
        checked=checked,
        _run=run,
        _slots=compiler.declared,
        _size=compiler.size,
        _base_cost=compiler.cost,
    )


@lru_cache(maxsize=512)
def _parsed(expression: str) -> Node:
    return parse(expression)


class Compiler:
    """Turns nodes into closures; `cost` counts the operations outside of macros' bodies."""

    def __init__(self, checked: Checked, variables: Mapping[str, Kind]) -> None:
        self.checked = checked
        self.declared = tuple(name for name in variables if name in checked.uses)
        self.slots: list[dict[str, int]] = [{name: _FIRST + i for i, name in enumerate(self.declared)}]
        self.size = _FIRST + len(self.declared)
        self.cost = 0

    def kind(self, node: Node) -> Kind:
        return self.checked.kinds[node]

    def new_slot(self) -> int:
        self.size += 1
        return self.size - 1

    def visit(self, node: Node) -> Run:
        self.cost += not isinstance(node, syntax.Constant)
        run: Run = getattr(self, f"visit_{type(node).__name__.lower()}")(node)
        return run

    def visit_constant(self, node: syntax.Constant) -> Run:
        value = node.value
        return lambda frame: value

    def visit_name(self, node: syntax.Name) -> Run:
        for scope in reversed(self.slots):
            if node.name in scope:
                slot = scope[node.name]
                return lambda frame: frame[slot]
        return _type_value(self.kind(node))

    def visit_select(self, node: syntax.Select) -> Run:
        if node in self.checked.qualified:
            name = self.checked.qualified[node]
            slot = self.slots[0].get(name)
            return _type_value(self.kind(node)) if slot is None else lambda frame: frame[slot]
        kind = self.kind(node.operand)
        operand = self.visit(node.operand)
        if kind.fields is None:
            return _select_any(operand, node)
        key = kind.json_names.get(node.field, node.field)
        convert = kind.fields[node.field].convert if node.field in kind.fields else None
        if node.test:
            return lambda frame: key in operand(frame)
        if node.optional:
            return _select_optional(operand, key, convert)
        return _select_field(operand, key, convert)

    def visit_index(self, node: syntax.Index) -> Run:
        operand, key = self.visit(node.operand), self.visit(node.key)
        optional = node.optional
        if optional or self.kind(node.operand).name in ("optional_type", "dyn"):
            return lambda frame: index_any(operand(frame), key(frame), optional)
        if self.kind(node.operand).name == "list" and self.kind(node.key).name == "int":
            return _index_list(operand, key)
        return lambda frame: index(operand(frame), key(frame))

    def visit_logic(self, node: syntax.Logic) -> Run:
        operands = [self.visit(operand) for operand in node.operands]
        run = operands[0]
        for operand in operands[1:]:
            run = _logic(run, operand, decisive=node.operator == "_||_")
        return run

    def visit_conditional(self, node: syntax.Conditional) -> Run:
        condition, then, otherwise = (
            self.visit(part) for part in (node.condition, node.then, node.otherwise)
        )

        def run(frame: Frame) -> Any:
            decided = condition(frame)
            if decided is True:
                return then(frame)
            if decided is False:
                return otherwise(frame)
            raise EvaluationError("no such overload")

        return run

    def visit_listliteral(self, node: syntax.ListLiteral) -> Run:
        items = [self.visit(item) for item in node.items]
        self.cost += 10
        if not node.optional:
            return lambda frame: [item(frame) for item in items]
        optional = node.optional

        def run(frame: Frame) -> list[Any]:
            result = []
            for position, item in enumerate(items):
                value = item(frame)
                if position in optional:
                    if value.present:
                        result.append(value.value)
                else:
                    result.append(value)
            return result

        return run

    def visit_mapliteral(self, node: syntax.MapLiteral) -> Run:
        entries = [(self.visit(key), self.visit(value), optional) for key, value, optional in node.entries]
        self.cost += 30

        def run(frame: Frame) -> dict[Any, Any]:
            result: dict[Any, Any] = {}
            for key_of, value_of, optional in entries:
                key, value = key_of(frame), value_of(frame)
                if isinstance(key, float | list | dict | bytes) or key is None:
                    raise EvaluationError("unsupported key type")
                if optional:
                    if not value.present:
                        continue
                    value = value.value
                result[key] = value
            return result

        return run

    def visit_call(self, node: syntax.Call) -> Run:
        target = [] if node.target is None or node in self.checked.qualified else [node.target]
        arguments = [*target, *node.args]
        runs = [self.visit(argument) for argument in arguments]
        kinds = [self.kind(argument) for argument in arguments]
        fast = _fast_operator(node.function, runs, kinds)
        if fast is not None:
            return fast
        overloads = self.checked.overloads[node]
        if node.function in _CONVERSIONS and isinstance(node.args[0], syntax.Constant):
            return self.constant_conversion(overloads, node.args[0].value)
        if node.function in ("or", "orValue"):
            return _optional_or(node.function, runs[0], runs[1])
        if len(overloads) == 1 and not any(_is_open(kind) for kind in kinds):
            return _direct(overloads[0], runs)
        return _dispatching(overloads, runs)

    def constant_conversion(self, overloads: list[Overload], literal: Any) -> Run:
        """Conversions of literals happen once, here, and fail here."""
        try:
            value = overloads[0].run(literal)
        except EvaluationError as error:
            raise InstantiationError(str(error)) from None
        return lambda frame: value

    def visit_macro(self, node: syntax.Macro) -> Run:
        source = self.visit(node.range)
        scope = {name: self.new_slot() for name in node.variables}
        self.slots.append(scope)
        outside, self.cost = self.cost, 0
        bodies = [self.visit(arg) for arg in node.args]
        body_cost, self.cost = self.cost + 3, outside
        self.slots.pop()
        if node.name in ("optMap", "optFlatMap"):
            self.cost += body_cost
        return compile_macro(node.name, source, tuple(scope.values()), bodies, body_cost)


def _is_open(kind: Kind) -> bool:
    """Whether what kind it is shows at run time only."""
    return kind.name == "dyn" or (
        kind.name in ("list", "map", "optional_type") and any(map(_is_open, kind.params))
    )


def _type_value(kind: Kind) -> Run:
    name = kind.params[0].name
    value = TypeValue(_TYPE_VALUES.get(name, name))
    return lambda frame: value


def no_such_key(key: Any) -> EvaluationError:
    return EvaluationError(f"no such key: {key}")


def _select_field(operand: Run, key: str, convert: Callable[[Any], Any] | None) -> Run:
    if convert is None:

        def select(frame: Frame) -> Any:
            try:
                return operand(frame)[key]
            except KeyError:
                raise no_such_key(key) from None

        return select

    def select_converted(frame: Frame) -> Any:
        try:
            value = operand(frame)[key]
        except KeyError:
            raise no_such_key(key) from None
        return None if value is None else convert(value)

    return select_converted


def _select_optional(operand: Run, key: str, convert: Callable[[Any], Any] | None) -> Run:
    def select(frame: Frame) -> Optional:
        value = operand(frame)
        if key not in value:
            return NONE
        found = value[key]
        return Optional(True, found if convert is None or found is None else convert(found))

    return select


def _select_any(operand: Run, node: syntax.Select) -> Run:
    key, test, optional = node.field, node.test, node.optional

    def select(frame: Frame) -> Any:
        value = operand(frame)
        if isinstance(value, Optional):
            if not value.present:
                return False if test else NONE
            value = value.value
            found = isinstance(value, dict) and key in value
            if test:
                return found
            return Optional(True, value[key]) if found else NONE
        found = isinstance(value, dict) and key in value
        if test:
            return found
        if optional:
            return Optional(True, value[key]) if found else NONE
        if not found:
            raise no_such_key(key)
        return value[key]

    return select


def _index_list(operand: Run, key: Run) -> Run:
    def run(frame: Frame) -> Any:
        values, at = operand(frame), key(frame)
        if 0 <= at < len(values):
            return values[at]
        raise EvaluationError(f"index out of bounds: {at}")

    return run


def index(container: Any, key: Any) -> Any:
    """`container[key]`."""
    if isinstance(container, list):
        if isinstance(key, bool) or not isinstance(key, int | float) or key != int(key):
            raise EvaluationError("no such overload")
        if 0 <= key < len(container):
            return container[int(key)]
        raise EvaluationError(f"index out of bounds: {int(key)}")
    if isinstance(container, dict):
        if isinstance(key, list | dict) or key is None:
            raise EvaluationError("unsupported key type")
        if has_key(container, key):
            return container[key]
        raise no_such_key("true" if key is True else "false" if key is False else key)
    raise EvaluationError("no such overload")


def index_any(container: Any, key: Any, optional: bool) -> Any:
    """`container[key]` or `container[?key]` where the container may be optional."""
    if isinstance(container, Optional):
        return index_any(container.value, key, True) if container.present else NONE
    if not optional:
        return index(container, key)
    if isinstance(container, list):
        return Optional(True, container[key]) if 0 <= key < len(container) else NONE
    if isinstance(container, dict):
        return Optional(True, container[key]) if has_key(container, key) else NONE
    raise EvaluationError("no such overload")


def _logic(left: Run, right: Run, decisive: bool) -> Run:
    """`a || b` (decisive: true) or `a && b` (false): either side may decide, whatever the other's error."""

    other = not decisive

    def run(frame: Frame) -> Any:
        try:
            first = left(frame)
        except EvaluationError as error:
            with suppress(EvaluationError):
                if right(frame) is decisive:
                    return decisive
            raise error from None
        if first is decisive:
            return decisive
        second = right(frame)
        if second is decisive:
            return decisive
        if first is other and second is other:
            return other
        raise EvaluationError("no such overload")

    return run


def _optional_or(function: str, left: Run, right: Run) -> Run:
    def run(frame: Frame) -> Any:
        first = left(frame)
        if not isinstance(first, Optional):
            raise EvaluationError("no such overload")
        if first.present:
            return first if function == "or" else first.value
        return right(frame)

    return run


def _fast_operator(function: str, runs: list[Run], kinds: list[Kind]) -> Run | None:
    """The commonest operators on scalars of known kinds without a call in between."""
    if function in ("_==_", "_!=_"):
        return _equality(function == "_==_", runs, kinds)
    if len(runs) != 2:
        return None
    a, b = runs
    name = kinds[0].name
    if name != kinds[1].name or name not in ("int", "double", "string", "uint"):
        return None
    if function == "_<_":
        return lambda frame: a(frame) < b(frame)
    if function == "_<=_":
        return lambda frame: a(frame) <= b(frame)
    if function == "_>_":
        return lambda frame: a(frame) > b(frame)
    if function == "_>=_":
        return lambda frame: a(frame) >= b(frame)
    if function == "_+_" and name == "int":
        return lambda frame: checked_int(a(frame) + b(frame))
    if function == "_-_" and name == "int":
        return lambda frame: checked_int(a(frame) - b(frame))
    return None


def _equality(wanted: bool, runs: list[Run], kinds: list[Kind]) -> Run:
    a, b = runs
    if all(kind.name in _SCALARS for kind in kinds):
        if wanted:
            return lambda frame: a(frame) == b(frame)
        return lambda frame: a(frame) != b(frame)
    compare = same_set if any(kind.unordered for kind in kinds) else equal
    return lambda frame: compare(a(frame), b(frame)) is wanted


def _charge(frame: Frame, cost: float) -> None:
    frame[_COST] += cost
    if frame[_COST] > frame[_LIMIT]:
        raise CostExceeded


def _direct(overload: Overload, runs: list[Run]) -> Run:
    call, cost = overload.run, overload.cost
    if cost is not None:

        def charged(frame: Frame) -> Any:
            values = [run(frame) for run in runs]
            _charge(frame, cost(*values))
            return call(*values)

        return charged
    if len(runs) == 1:
        only = runs[0]
        return lambda frame: call(only(frame))
    if len(runs) == 2:
        first, second = runs
        return lambda frame: call(first(frame), second(frame))
    return lambda frame: call(*[run(frame) for run in runs])


def _dispatching(overloads: list[Overload], runs: list[Run]) -> Run:
    """Which overload it is shows when the values are there."""

    def run(frame: Frame) -> Any:
        values = [run(frame) for run in runs]
        for overload in overloads:
            if all(holds(param, value) for param, value in zip(overload.params, values, strict=True)):
                if overload.cost is not None:
                    _charge(frame, overload.cost(*values))
                try:
                    return overload.run(*values)
                except (TypeError, AttributeError):
                    # A list of dyn held something that the function cannot take.
                    raise EvaluationError("no such overload") from None
        raise EvaluationError("no such overload")

    return run
