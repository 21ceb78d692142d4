"""Whether a change is Normal or a Warning: by the TargetApp's own table, else by whole words of the value."""

import re
from typing import Any

from kco.spec.path import covers, parse_path
from kco.spec.targetapp import Severity
from kco.state.diff import Change
from kco.state.value import MISSING, json_equal

NORMAL, WARNING = "Normal", "Warning"

# Words that mean trouble when they stand alone: "down" does, "download" does not.
TROUBLE = frozenset(
    [
        "unhealthy",
        "degraded",
        "down",
        "failed",
        "failing",
        "failure",
        "error",
        "fatal",
        "critical",
        "crashed",
        "crash",
        "offline",
        "unavailable",
        "unreachable",
        "broken",
        "corrupt",
        "corrupted",
        "dead",
        "stuck",
        "panic",
        "outage",
        "timeout",
        "bootstrap",
        "catchup",
    ]
)
_NEGATIONS = frozenset(["no", "not", "none", "without", "zero"])
_ERROR_FIELDS = frozenset(["error", "errors", "lasterror", "failure", "exception"])
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def severity(change: Change, table: list[Severity]) -> str:
    """The Event type for one change; the first fitting row of the table wins."""
    for row in table:
        if covers(parse_path(row.field), change.path) and _fits(row, change.new):
            return row.type
    name = next((step for step in reversed(change.path) if isinstance(step, str)), "")
    if name.lower().replace("_", "") in _ERROR_FIELDS:
        return NORMAL if change.new in (MISSING, None, "", False) or change.new == [] else WARNING
    return WARNING if isinstance(change.new, str) and _troubled(change.new) else NORMAL


def _fits(row: Severity, value: Any) -> bool:
    return "value" not in row.model_fields_set or (value is not MISSING and json_equal(row.value, value))


def _troubled(text: str) -> bool:
    words = [word.lower() for word in _WORD.findall(text[:1000])]
    for position, word in enumerate(words):
        if word in TROUBLE and (position == 0 or words[position - 1] not in _NEGATIONS):
            return True
    return False
