"""What can go wrong with a CEL expression: issues found when it is compiled, errors when it is evaluated."""

from __future__ import annotations

from dataclasses import dataclass


class EvaluationError(Exception):
    """An error value: `&&`, `||` and the macros may absorb it, else it is the result."""


class CostExceeded(Exception):
    """The expression did more work than its limit allows; nothing absorbs this."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


class InstantiationError(ValueError):
    """A checked expression of which a constant part cannot be evaluated."""

    def __init__(self, why: str) -> None:
        super().__init__(f"program instantiation failed: {why}")


@dataclass(frozen=True, slots=True)
class Issue:
    """One fault in a source text, at an offset in it."""

    at: int
    message: str


class CompileError(ValueError):
    """The expression cannot be compiled; the text is what cel-go prints."""

    def __init__(self, source: str, issues: list[Issue]) -> None:
        self.source = source
        self.issues = issues
        super().__init__("\n".join(_show(source, issue) for issue in sorted(issues, key=lambda one: one.at)))


def _show(source: str, issue: Issue) -> str:
    before = source[: issue.at]
    line = before.count("\n") + 1
    column = issue.at - (before.rfind("\n") + 1)
    text = source.split("\n")[line - 1].replace("\t", " ") if source else ""
    return f"ERROR: <input>:{line}:{column + 1}: {issue.message}\n | {text}\n | {'.' * column}^"
