"""Decoding, JSON equality, paths and differences."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kco.spec.path import parse_path, spell_path
from kco.state.decode import GraphqlErrors, NotJson, decode
from kco.state.diff import diff
from kco.state.digest import digest
from kco.state.value import MISSING, json_equal, values_at

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc", min_size=1, max_size=2), inner, max_size=3)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (b"", NotJson, "not JSON"),
        (b"<html>", NotJson, "not JSON"),
        (b'{"data": {"x": NaN}}', NotJson, "not JSON"),
        (b'{"data": {"x": Infinity}}', NotJson, "not JSON"),
        (b"\xff\xfe", NotJson, "not JSON"),
        (b"[]", NotJson, "JSON list"),
        (b"true", NotJson, "JSON boolean"),
        (b"{}", NotJson, "no data and no errors"),
        (b'{"data": [1]}', NotJson, "data is a JSON list"),
        (b'{"data": null, "errors": [{"message": "boom"}]}', GraphqlErrors, "boom"),
        (b'{"data": null}', NotJson, "no data"),
        (b'{"data": {"a": ' + b"[" * 100 + b"]" * 100 + b"}}", NotJson, "deeper than 64"),
        (b'{"data": {"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}", NotJson, "JSON|nested"),
    ],
)
def test_23_each_odd_answer_has_a_defined_result(body: bytes, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        decode(body)


def test_23_partial_data_counts_with_its_errors_beside_it() -> None:
    decoded = decode(b'{"data": {"x": 1}, "errors": [{"message": "half"}]}')
    assert decoded.state == {"x": 1}
    assert decoded.errors == ("half",)


def test_23_whole_numbers_of_64_bits_stay_exact_and_the_last_of_two_keys_counts() -> None:
    assert decode(b'{"data": {"x": 9223372036854775807, "y": 1, "y": 2}}').state == {"x": 2**63 - 1, "y": 2}


@given(json_values, json_values)
def test_27_no_difference_exactly_where_values_are_equal_as_json(old: Any, new: Any) -> None:
    assert (diff(old, new) == []) == json_equal(old, new)
    assert diff(old, old) == []


@given(json_values, json_values)
def test_27_every_difference_names_a_place_where_the_values_differ(old: Any, new: Any) -> None:
    for change in diff(old, new):
        before, after = (values_at(state, change.path) if change.path else [state] for state in (old, new))
        assert before == [change.old] or before[0] is change.old
        assert after == [change.new] or after[0] is change.new


@pytest.mark.parametrize(
    ("old", "new", "fields"),
    [
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, ["a"]),
        ({"a": None}, {"a": {"b": 1}}, ["a"]),
        ({"a": {"b": 1}}, {"a": None}, ["a"]),
        ({"a": [1, 2]}, {"a": [1, 3, 4]}, ["a[1]", "a[2]"]),
        ({"a": [1]}, {"a": {"0": 1}}, ["a"]),
        ({"a": 1}, {}, ["a"]),
        ({"b": 1, "a": 1}, {"a": 2, "b": 2}, ["a", "b"]),
    ],
)
def test_27_differences_of_each_kind(old: Any, new: Any, fields: list[str]) -> None:
    assert [change.field for change in diff(old, new)] == fields


def test_27_missing_is_not_null() -> None:
    (change,) = diff({"a": None}, {})
    assert change.old is None
    assert change.new is MISSING


@given(st.lists(st.sampled_from(["a", "b_1", 0, 12, "*"]), min_size=1, max_size=5))
def test_31_paths_are_read_as_they_are_written(steps: list[Any]) -> None:
    assert parse_path(spell_path(tuple(steps))) == tuple(steps) or isinstance(steps[0], int)


@pytest.mark.parametrize("text", ["", ".", "a.", "a..b", "a[", "a[x]", "a b", "[0", "a.[0]", "ä"])
def test_33_a_broken_path_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(ValueError, match="path"):
        parse_path(text)


def test_02_a_fingerprint_is_the_same_for_equal_states() -> None:
    assert digest({"a": 1, "b": [2.0]}) == digest({"b": [2], "a": 1.0})
    assert digest({"a": 1}) != digest({"a": True})
