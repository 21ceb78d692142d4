"""`x-kubernetes-validations`: a schema's CEL rules, compiled once and applied to objects.

Messages, transition rules, budgets and ratcheting follow apiextensions-apiserver `pkg/apiserver/schema/cel` at
1.37: rules that speak of `oldSelf` run only where an old value corresponds (same field, same key of a list map)
unless `optionalOldSelf` is set; what was wrong before and did not change is let through.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from slipway.cluster.schema import cel
from slipway.cluster.schema.cel import kinds
from slipway.cluster.schema.cel.declared import kind_of
from slipway.cluster.schema.cel.kinds import Kind
from slipway.cluster.schema.cel.values import NONE, Optional
from slipway.cluster.schema.shape import Shape
from slipway.cluster.schema.structural_lists import identity, list_map_key
from slipway.cluster.status import FieldError

RUNTIME_BUDGET = 10_000_000
_LONGEST_MESSAGE = 5 * 1024
_NO_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"
_BLOCKING = frozenset(
    {
        "FieldValueNotSupported",
        "FieldValueRequired",
        "FieldValueTooLong",
        "FieldValueTooMany",
        "FieldValueTypeInvalid",
    }
)


@dataclass(slots=True)
class Rule:
    """One rule, compiled. `problem` says why it could not be; `field_path` is relative, `a.b[c]`."""

    source: dict[str, Any]
    program: cel.Program | None = None
    message_program: cel.Program | None = None
    problem: str = ""
    message_problem: str = ""
    field_path: str = ""

    @property
    def uses_old(self) -> bool:
        return self.program is not None and "oldSelf" in self.program.uses

    @property
    def optional_old(self) -> bool:
        return bool(self.source.get("optionalOldSelf"))

    @property
    def shown(self) -> str:
        """How messages name the rule."""
        return str(self.source.get("message") or self.source.get("rule") or "").strip()


@dataclass(slots=True)
class RuleNode:
    """The rules of one place in a schema and of those below it."""

    shape: Shape
    kind: Kind | None
    rules: list[Rule] = field(default_factory=list)
    all_of: list[RuleNode] = field(default_factory=list)
    items: RuleNode | None = None
    additional: RuleNode | None = None
    properties: dict[str, RuleNode] = field(default_factory=dict)

    @property
    def type_shown(self) -> str:
        return ",".join(self.shape.rules.get("type", ())) if self.shape.kind != "int-or-string" else ""

    @property
    def empty(self) -> bool:
        return not (self.rules or self.all_of or self.items or self.additional or self.properties)


class _BudgetSpent(Exception):
    """No further rule may run."""


def rule_errors(
    obj: Any,
    shape: Shape,
    old: Any = None,
    errors_so_far: list[FieldError] | None = None,
    *,
    root: bool = True,
) -> list[FieldError]:
    """What the rules of a schema say of `obj`, on update of `old` if that is given; `root`: of a resource.

    Nothing runs if `errors_so_far` has one that a rule could trip over; then one error says so.
    """
    node = rule_tree(shape, root)
    if node is None:
        return []
    if any(error.reason in _BLOCKING for error in errors_so_far or ()):
        why = (
            "some validation rules were not checked because the object was invalid; "
            "correct the existing errors to complete validation"
        )
        return [FieldError("FieldValueInvalid", "<nil>", None, why)]
    run = _Run()
    unchanged = None if old is None else _Unchanged(old, obj)
    try:
        run.visit(node, "", obj, old, unchanged, None)
    except _BudgetSpent:
        pass
    return run.errors


@lru_cache(maxsize=256)
def rule_tree(shape: Shape, root: bool = True) -> RuleNode | None:
    """The compiled rules of a schema; None if it has none."""
    if not _has_rules(shape):
        return None
    return _node(shape, shape, kind_of(shape, root))


def _has_rules(shape: Shape) -> bool:
    if shape.rules.get("x-kubernetes-validations"):
        return True
    nested = [shape.items, shape.additional, *shape.properties.values()]
    return any(child is not None and _has_rules(child) for child in nested)


def _node(shape: Shape, spine: Shape, kind: Kind | None) -> RuleNode | None:
    """`shape` has the rules; `spine`, the same except inside allOf, has the structure."""
    node = RuleNode(spine, kind, compile_rules(shape, spine, kind))
    if shape.items is not None and spine.items is not None:
        node.items = _node(shape.items, spine.items, kind.params[0] if kind and kind.name == "list" else None)
    if shape.additional is not None and spine.additional is not None:
        inner = kind.params[1] if kind and kind.name == "map" else None
        node.additional = _node(shape.additional, spine.additional, inner)
    for name, child in shape.properties.items():
        known = spine.properties.get(name)
        if known is None or (inner := kind_of(known, known.embedded)) is None:
            continue
        found = _node(child, known, inner)
        if found is not None:
            node.properties[name] = found
    for branch in shape.rules.get("allOf", ()):
        found = _node(branch, spine, kind)
        if found is not None:
            node.all_of.append(found)
    return None if node.empty else node


def compile_rules(shape: Shape, spine: Shape, kind: Kind | None) -> list[Rule]:
    """The rules that stand at one place."""
    found = []
    for source in shape.rules.get("x-kubernetes-validations", ()):
        rule = Rule(source)
        if kind is None:
            rule.problem = "failed to convert to declType for CEL validation rules"
        elif (source.get("rule") or "").strip():
            _compile(rule, kind)
        rule.field_path = _relative_path(source.get("fieldPath") or "", spine)
        found.append(rule)
    return found


def _compile(rule: Rule, kind: Kind) -> None:
    old = kinds.optional_of(kind) if rule.optional_old else kind
    try:
        rule.program = cel.compile(rule.source["rule"], {"self": kind, "oldSelf": old})
        if rule.program.kind.name != "bool":
            rule.program, rule.problem = None, "cel expression must evaluate to a bool"
            return
    except cel.CompileError as error:
        rule.problem = f"compilation failed: {error}"
        return
    except cel.InstantiationError as error:
        rule.problem = str(error)
        return
    text = rule.source.get("messageExpression")
    if text:
        try:
            rule.message_program = cel.compile(text, {"self": kind, "oldSelf": old})
            if rule.message_program.kind.name != "string":
                rule.message_program, rule.message_problem = (
                    None,
                    "messageExpression must evaluate to a string",
                )
        except cel.CompileError as error:
            rule.message_problem = f"messageExpression compilation failed: {error}"
        except cel.InstantiationError as error:
            rule.message_problem = str(error).replace("program", "messageExpression", 1)


_PATH_PART = re.compile(r"\.([^.\[\]']+)|\['((?:[^'\\]|\\.)*)'\]")


def _relative_path(json_path: str, shape: Shape) -> str:
    """`.a['b']` as field paths have it; nothing if the schema has no such field."""
    try:
        return valid_field_path(json_path, shape) if json_path else ""
    except ValueError:
        return ""


def valid_field_path(json_path: str, shape: Shape) -> str:
    """A rule's `fieldPath` (`.a.b`, `.m['key']`) as a field path; ValueError if it leads nowhere in `shape`."""
    path, at = "", 0
    while at < len(json_path):
        part = _PATH_PART.match(json_path, at)
        if part is None:
            raise ValueError(f"expected [ or . but got: {json_path[at:]}")
        name = part[1] if part[1] is not None else re.sub(r"\\(.)", r"\1", part[2])
        at = part.end()
        if shape.properties:
            if name not in shape.properties:
                raise ValueError("does not refer to a valid field")
            shape, path = shape.properties[name], f"{path}.{name}" if path else name
        elif shape.additional is not None:
            shape, path = shape.additional, f"{path}[{name}]"
        else:
            raise ValueError("does not refer to a valid field")
    return path


class _Unchanged:
    """Whether a value equals the old one; found out when asked for."""

    __slots__ = ("_answer", "_new", "_old")

    def __init__(self, old: Any, new: Any) -> None:
        self._old, self._new = old, new
        self._answer: bool | None = None

    def __call__(self) -> bool:
        if self._answer is None:
            self._answer = identity(self._old) == identity(self._new)
        return self._answer


class _Run:
    """One object going through a tree of rules."""

    def __init__(self) -> None:
        self.errors: list[FieldError] = []
        self.budget = RUNTIME_BUDGET

    def visit(
        self,
        node: RuleNode,
        path: str,
        value: Any,
        old: Any,
        unchanged: Callable[[], bool] | None,
        parent: Callable[[], bool] | None,
    ) -> None:
        """`unchanged` compares with the corresponding old value, `parent` is that of the nearest place above."""
        if value is None:
            return
        if node.rules:
            self.apply(node, path, value, old, unchanged or parent)
        for branch in node.all_of:
            self.visit(branch, path, value, old, None, parent)
        if isinstance(value, dict):
            self.visit_map(node, path, value, old if isinstance(old, dict) else {}, unchanged, parent)
        elif isinstance(value, list) and node.items is not None:
            olds = _old_items(node.shape, old)
            for index, item in enumerate(value):
                key = identity(list_map_key(item, node.shape.list_map_keys))
                before = olds.get(key)
                same = None if before is None or unchanged is None else _Unchanged(before, item)
                self.visit(node.items, f"{path}[{index}]", item, before, same, unchanged or parent)

    def visit_map(
        self,
        node: RuleNode,
        path: str,
        value: dict[str, Any],
        old: dict[str, Any],
        unchanged: Callable[[], bool] | None,
        parent: Callable[[], bool] | None,
    ) -> None:
        for key, child in value.items():
            below = node.properties.get(key)
            where = f"{path}.{key}" if path else key
            if below is None:
                below, where = node.additional, f"{path}[{key}]"
            if below is None:
                continue
            correlated = unchanged is not None and key in old
            same = _Unchanged(old[key], child) if correlated else None
            nearest = unchanged or parent
            if not path and parent is None and key in ("apiVersion", "kind"):
                same = nearest = None  # a change of version does not show, so it cannot be let through
            self.visit(below, where, child, old.get(key), same, nearest)

    def apply(
        self, node: RuleNode, path: str, value: Any, old: Any, unchanged: Callable[[], bool] | None
    ) -> None:
        if self.budget <= 0:
            self.spend_all(node, path)
        convert = node.kind.convert if node.kind is not None else None
        now = value if convert is None else convert(value)
        before = old if convert is None or old is None else convert(old)
        for rule in node.rules:
            for error in self.check(rule, node, path, value, now, before):
                if rule.uses_old or unchanged is None or not unchanged():
                    self.errors.append(error)

    def spend_all(self, node: RuleNode, path: str) -> None:
        self.errors.append(FieldError("FieldValueInvalid", path or "<nil>", node.type_shown, _NO_BUDGET))
        raise _BudgetSpent

    def check(
        self, rule: Rule, node: RuleNode, path: str, value: Any, now: Any, before: Any
    ) -> Iterator[FieldError]:
        here = path or "<nil>"
        if rule.problem:
            why = f"rule compile error: {rule.problem}"
            self.errors.append(FieldError("FieldValueInvalid", here, node.type_shown, why))
            return
        if rule.program is None or (rule.uses_old and before is None and not rule.optional_old):
            return
        bindings = {"self": now, "oldSelf": before}
        if rule.optional_old:
            bindings["oldSelf"] = NONE if before is None else Optional(True, before)
        try:
            passed, cost = rule.program.evaluate_with_cost(bindings)
        except cel.CostExceeded as error:
            why = f"'{error}': no further validation rules will be run due to call cost exceeds limit for rule: {rule.shown}"
            self.errors.append(FieldError("FieldValueInvalid", here, node.type_shown, why))
            raise _BudgetSpent from None
        except cel.EvaluationError as error:
            why = f"{error} evaluating rule: {rule.shown}"
            if str(error).startswith("no such overload"):
                why = f"'{error}': call arguments did not match a supported operator, function or macro signature for rule: {rule.shown}"
            self.errors.append(FieldError("FieldValueInvalid", here, node.type_shown, why))
            return
        if cost > self.budget:
            self.spend_all(node, path)
        self.budget -= cost
        if passed is not True:
            yield self.failure(rule, node, path, value, bindings)

    def failure(
        self, rule: Rule, node: RuleNode, path: str, value: Any, bindings: dict[str, Any]
    ) -> FieldError:
        field_path = ".".join(part for part in (path, rule.field_path) if part) or "<nil>"
        detail = self.message(rule, bindings)
        reason = rule.source.get("reason")
        if reason in ("FieldValueForbidden", "FieldValueRequired"):
            return FieldError(reason, field_path, "", detail)
        whole = node.type_shown in ("object", "array")
        shown = "" if whole else None  # objects and lists are not printed
        if reason == "FieldValueDuplicate":
            return FieldError("FieldValueDuplicate", field_path, value, shown=shown)
        return FieldError("FieldValueInvalid", field_path, value, detail, shown)

    def message(self, rule: Rule, bindings: dict[str, Any]) -> str:
        if rule.message_program is not None:
            try:
                text, cost = rule.message_program.evaluate_with_cost(bindings)
                self.budget -= cost
            except (cel.EvaluationError, cel.CostExceeded):
                text = ""
            text = text.strip() if isinstance(text, str) else ""
            if text and "\n" not in text and len(text.encode()) <= _LONGEST_MESSAGE:
                return text
        return str(rule.source.get("message") or "").strip() or f"failed rule: {rule.shown}"


def _old_items(shape: Shape, old: Any) -> dict[str, Any]:
    if shape.list_type != "map" or not isinstance(old, list):
        return {}
    return {identity(list_map_key(item, shape.list_map_keys)): item for item in old}
