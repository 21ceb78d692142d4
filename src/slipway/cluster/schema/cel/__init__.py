"""The Common Expression Language as Kubernetes 1.37 speaks it, compiled to Python closures.

A text becomes tokens (`lexer`), a tree (`parser`, `syntax`), a tree whose every node has a kind (`checker`,
`kinds`), closures (`program`, `loops`), and at last a value (`values`) or an error (`problems`). `library` says
which functions there are; `cost` guesses the worst case of an expression before it ever runs.
"""

from slipway.cluster.schema.cel.problems import (
    CompileError,
    CostExceeded,
    EvaluationError,
    InstantiationError,
)
from slipway.cluster.schema.cel.program import PER_CALL_LIMIT, Program, compile

__all__ = [
    "PER_CALL_LIMIT",
    "CompileError",
    "CostExceeded",
    "EvaluationError",
    "InstantiationError",
    "Program",
    "compile",
]
