"""What a cell is made of, and the register of the functions that columns.json names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from slipway.cluster.server.printers.durations import human_duration, parse_timestamp

Object = dict[str, Any]


def value_at(obj: Any, path: str) -> Any:
    """The value at a dotted path; None where anything on the way is missing."""
    for name in path.split("."):
        if not isinstance(obj, dict):
            return None
        obj = obj.get(name)
    return obj


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that a row is about, at a moment. `value` is what stands at the cell's `at`."""

    obj: Object
    now: float
    value: Any = None

    def at(self, path: str) -> Any:
        return value_at(self.obj, path)

    def items(self, path: str) -> list[Any]:
        """The list at a path, empty when there is none."""
        found = value_at(self.obj, path)
        return found if isinstance(found, list) else []

    def since(self, timestamp: Any, absent: str = "<unknown>") -> str:
        """How long ago, in words."""
        moment = parse_timestamp(timestamp)
        return absent if moment is None else human_duration(self.now - moment)


CellFunction = Callable[[Subject], Any]
CELLS: dict[str, CellFunction] = {}


def cell(function: CellFunction) -> CellFunction:
    """Make a function known to columns.json under its own name."""
    CELLS[function.__name__] = function
    return function


def condition(conditions: Any, kind: str) -> Object | None:
    """The condition of a type."""
    if isinstance(conditions, list):
        for found in conditions:
            if isinstance(found, dict) and found.get("type") == kind:
                return found
    return None


def condition_is_true(conditions: Any, kind: str) -> bool:
    found = condition(conditions, kind)
    return found is not None and found.get("status") == "True"


def with_more(shown: list[str], count: int, limit: int) -> str:
    """A list that ends in `+ N more...` when it is longer than what is shown."""
    text = ",".join(shown[:limit])
    if count > limit:
        return f"{text} + {count - limit} more..."
    return text or "<unset>"
