"""Label selectors compare numbers as Go's strconv.ParseInt reads them."""

from __future__ import annotations

import pytest

from slipway.cluster.registry.label_selectors import parse_labels


@pytest.mark.parametrize(
    ("value", "chosen"),
    [("2", True), ("+2", True), ("1", False), ("-2", False), ("1_0", False), ("", False), ("two", False)],
)
def test_a_label_that_is_no_integer_is_greater_than_none(value: str, chosen: bool) -> None:
    (requirement,) = parse_labels("a>1")
    assert requirement.matches({"a": value}) is chosen
    assert requirement.matches({}) is False


@pytest.mark.parametrize("bound", ["1_0", "x", "٣", "1.5"])
def test_a_bound_that_is_no_integer_is_refused(bound: str) -> None:
    with pytest.raises(ValueError, match="the value must be an integer"):
        parse_labels(f"a>{bound}")
