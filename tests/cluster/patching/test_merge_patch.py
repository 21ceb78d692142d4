"""JSON merge patch: RFC 7386's own table, what the API server adds, and laws for any document."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.patching.json_values import copied, same
from slipway.cluster.patching.merge_patch import apply_merge_patch
from slipway.cluster.status import StatusError


@pytest.mark.parametrize(
    ("document", "patch", "expected"),
    [  # RFC 7386, appendix A, the rows whose patch is an object
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
        # beyond the RFC
        ({}, {"a": [{"b": None, "c": 1}, None]}, {"a": [{"c": 1}, None]}),
        ({"a": [1]}, {"a": [{"b": None}]}, {"a": [{}]}),
        ({"a": None}, {"a": {"b": None}}, {"a": {}}),
        ({"a": {"b": 1}}, {"a": "text"}, {"a": "text"}),
    ],
)
def test_a_merge_patch_gives(document: Any, patch: Any, expected: Any) -> None:
    assert same(apply_merge_patch(document, patch), expected)


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (
            [],
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
        (
            "a",
            "error decoding patch: json: cannot unmarshal string into Go value of type map[string]interface {}",
        ),
        (None, "Invalid JSON Patch"),
    ],
)
def test_a_merge_patch_that_is_no_object_is_a_bad_request(patch: Any, message: str) -> None:
    with pytest.raises(StatusError) as failure:
        apply_merge_patch({}, patch)
    assert (failure.value.code, failure.value.message) == (400, message)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=12,
)
documents = st.dictionaries(st.sampled_from("abc"), json_values, max_size=3)
patches = st.dictionaries(  # a null inside a list is dropped or not depending on what the list replaces
    st.sampled_from("abc"),
    st.recursive(
        st.none() | st.integers(0, 2) | st.lists(st.integers(0, 2), max_size=2),
        lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
        max_leaves=10,
    ),
    max_size=3,
)


@given(documents, patches)
def test_merging_twice_is_merging_once_and_changes_neither_argument(document: Any, patch: Any) -> None:
    before = copied(document), copied(patch)
    once = apply_merge_patch(document, patch)
    assert same(apply_merge_patch(once, patch), once)
    assert same(document, before[0])
    assert same(patch, before[1])


@given(documents)
def test_a_document_merged_into_nothing_loses_only_its_nulls(document: Any) -> None:
    assert "null" not in _kinds_in_objects(apply_merge_patch({}, document))


def _kinds_in_objects(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {"null"} if any(item is None for item in value.values()) else set()
        return own.union(*(_kinds_in_objects(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(_kinds_in_objects(item) for item in value))
    return set()
