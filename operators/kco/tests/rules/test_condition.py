"""The truth table of conditions over every kind of value."""

import pytest

from kco.rules.condition import holds, still_beyond
from kco.state.value import MISSING

KINDS = {
    "missing": MISSING,
    "null": None,
    "true": True,
    "false": False,
    "one": 1,
    "float": 2.5,
    "text": "on",
    "digits": "3",
    "list": ["on", 1],
    "object": {"on": 1},
}
# condition, expected value: the kinds for which it holds; for all others it must not.
TABLE = [
    ("equals", 1, {"one"}),
    ("equals", 1.0, {"one"}),
    ("equals", True, {"true"}),
    ("equals", 0, set()),
    ("equals", None, {"null"}),
    ("equals", "3", {"digits"}),
    ("equals", ["on", 1.0], {"list"}),
    ("equals", {"on": 1}, {"object"}),
    ("not_equals", 1, set(KINDS) - {"one", "missing"}),
    ("not_equals", None, set(KINDS) - {"null", "missing"}),
    ("greater_than", 0, {"one", "float"}),
    ("greater_than", 1, {"float"}),
    ("greater_or_equal", 1, {"one", "float"}),
    ("less_than", 5, {"one", "float"}),
    ("less_than", 1, set()),
    ("less_or_equal", 1, {"one"}),
    ("contains", "on", {"text", "list", "object"}),
    ("contains", 1, {"list"}),
    ("contains", True, set()),
    ("in", [1, "on", None], {"one", "text", "null"}),
    ("in", [], set()),
    ("matches", "^o.$", {"text"}),
    ("matches", "[0-9]", {"digits"}),
    ("exists", None, set(KINDS) - {"missing", "null"}),
    ("not_exists", None, {"missing", "null"}),
]


@pytest.mark.parametrize(("condition", "expected", "kinds"), TABLE)
def test_28_each_condition_holds_for_exactly_these_kinds(
    condition: str, expected: object, kinds: set[str]
) -> None:
    found = {kind for kind, actual in KINDS.items() if holds(condition, actual, expected)}
    assert found == kinds


def test_28_missing_satisfies_no_comparison() -> None:
    for condition, expected, _ in TABLE:
        if condition != "not_exists":
            assert not holds(condition, MISSING, expected)


def test_28_a_hostile_regular_expression_runs_in_linear_time() -> None:
    assert not holds("matches", "a" * 50_000 + "!", "^(a+)+$")


def test_30_a_cleared_threshold_needs_a_number_on_the_right_side() -> None:
    assert still_beyond("greater_than", 75, 70)
    assert not still_beyond("greater_than", 70, 70)
    assert still_beyond("less_than", 5, 10)
    assert not still_beyond("less_than", MISSING, 10)
    assert not still_beyond("greater_than", True, 0)
