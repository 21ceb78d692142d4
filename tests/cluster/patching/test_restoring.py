"""Patched documents that no longer fit: the words are those that a real 1.37 server used for these patches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.patching.json_values import printed
from slipway.cluster.schema.decoding import decode
from slipway.cluster.schema.go_scalars import NotDecodable


def complaint(document: dict[str, Any]) -> str:
    try:
        decode(document, "apps", "v1", "Deployment", style="unstructured")
    except NotDecodable as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("patched", "why"),
    [
        ({"metadata": {"labels": "invalid"}}, "cannot restore map from string"),
        ({"metadata": {"labels": {"a": 1}}}, "cannot convert int64 to string"),
        ({"metadata": {"finalizers": "invalid"}}, "cannot restore slice from string"),
        ({"metadata": {"finalizers": [1, None]}}, "cannot convert int64 to string"),
        ({"metadata": 5}, "cannot restore struct from: int64"),
        ({"spec": "x"}, "cannot restore struct from: string"),
        ({"spec": {"replicas": "x"}}, "unrecognized type: int32"),
        ({"spec": {"replicas": 1.5}}, "cannot convert float64 to int32"),
        ({"spec": {"replicas": 2.0}}, ""),
        ({"spec": {"paused": "x"}}, "unrecognized type: bool"),
        ({"spec": {"template": {"spec": {"containers": "x"}}}}, "cannot restore slice from string"),
        ({"spec": {"template": {"spec": {"nodeName": 5}}}}, "cannot convert int64 to string"),
        ({"spec": {"strategy": {"rollingUpdate": {"maxSurge": "25%"}}}, "unknown": 1}, ""),
    ],
)
def test_the_first_value_of_a_wrong_type_is_explained(patched: dict[str, Any], why: str) -> None:
    assert complaint(patched) == why


def test_values_are_printed_as_go_prints_them() -> None:
    patch = {"spec": {"b": [1, None, "x"], "a": {"t": True}}, "m": {}}
    assert printed(patch) == "map[m:map[] spec:map[a:map[t:true] b:[1 <nil> x]]]"


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(spec=values, labels=values, replicas=values)
def test_any_document_gets_an_answer(spec: Any, labels: Any, replicas: Any) -> None:
    for document in ({"spec": spec}, {"metadata": {"labels": labels}}, {"spec": {"replicas": replicas}}):
        assert isinstance(complaint(document), str)
        assert isinstance(printed(document), str)
