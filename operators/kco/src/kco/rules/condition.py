"""Whether one comparison holds for one value: the truth table of all conditions.

Missing never satisfies a comparison (only `not_exists` is true for it), null is a value that `equals null`
finds, booleans are not numbers, strings are not numbers.

| condition | true for |
|---|---|
| equals, not_equals | JSON equality; not_equals needs a value to be there |
| greater_than, greater_or_equal, less_than, less_or_equal | two numbers |
| contains | a string within a string, an element of a list, a key of an object |
| in | a value that is in the given list |
| matches | a string in which the RE2 expression is found (anchor with ^ and $) |
| exists, not_exists | not null; null or missing |
| changed | a value that differs from the one of the poll before |
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kco.state.value import MISSING, is_number, json_equal


def holds(condition: str, actual: Any, expected: Any = None) -> bool:
    """Whether `actual` satisfies `condition` (all but changed and predicted, which need more than a value)."""
    return _TABLE[condition](actual, expected)


def compare(condition: str, actual: Any, bound: float) -> bool:
    """The four comparisons of numbers."""
    if not is_number(actual):
        return False
    if condition == "greater_than":
        return bool(actual > bound)
    if condition == "greater_or_equal":
        return bool(actual >= bound)
    if condition == "less_than":
        return bool(actual < bound)
    return bool(actual <= bound)


def still_beyond(condition: str, actual: Any, clear: float) -> bool:
    """Hysteresis: whether a comparison that held keeps holding until the value has passed `clear`."""
    if not is_number(actual):
        return False
    return bool(actual > clear) if condition.startswith("greater") else bool(actual < clear)


def _contains(actual: Any, expected: Any) -> bool:
    if isinstance(actual, str):
        return isinstance(expected, str) and expected in actual
    if isinstance(actual, list):
        return any(json_equal(item, expected) for item in actual)
    return isinstance(actual, dict) and isinstance(expected, str) and expected in actual


def _matches(actual: Any, expected: Any) -> bool:
    return isinstance(actual, str) and _pattern(expected).search(actual) is not None


@lru_cache(maxsize=512)
def _pattern(text: str) -> Any:
    # RE2 runs in linear time: no expression of a user's can stop the operator.
    import re2

    return re2.compile(text)


_TABLE: dict[str, Callable[[Any, Any], bool]] = {
    "equals": lambda actual, expected: actual is not MISSING and json_equal(actual, expected),
    "not_equals": lambda actual, expected: actual is not MISSING and not json_equal(actual, expected),
    "greater_than": lambda actual, bound: compare("greater_than", actual, bound),
    "greater_or_equal": lambda actual, bound: compare("greater_or_equal", actual, bound),
    "less_than": lambda actual, bound: compare("less_than", actual, bound),
    "less_or_equal": lambda actual, bound: compare("less_or_equal", actual, bound),
    "contains": lambda actual, expected: _contains(actual, expected),
    "in": lambda actual, expected: (
        actual is not MISSING and any(json_equal(actual, item) for item in expected)
    ),
    "matches": _matches,
    "exists": lambda actual, _: actual is not MISSING and actual is not None,
    "not_exists": lambda actual, _: actual is MISSING or actual is None,
}
