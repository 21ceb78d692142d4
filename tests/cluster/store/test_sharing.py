"""Sharing gives back the same text, made of parts that were there already."""

from __future__ import annotations

import copy
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.store import Put, Store
from slipway.cluster.store.sharing import Sharing

scalars = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([0.0, 1.0]) | st.sampled_from("abc")
)
parts = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=12,
)
values = st.dictionaries(st.sampled_from("pqr"), parts, max_size=3)


@given(st.lists(values, max_size=12), st.integers(1, 4))
def test_every_value_comes_back_as_the_same_text(history: list[dict[str, Any]], limit: int) -> None:
    sharing, previous, kept = Sharing(limit), None, []
    for value in history:
        before = copy.deepcopy(value)
        previous = sharing.of(value, previous)
        assert orjson.dumps(previous) == orjson.dumps(value) == orjson.dumps(before)
        kept.append((previous, orjson.dumps(before)))
    assert all(orjson.dumps(shared) == text for shared, text in kept)


def test_what_an_update_left_alone_is_the_previous_states_own() -> None:
    store = Store()
    spec = {"containers": [{"name": "c", "image": "nginx"}]}
    (old,) = store.commit(Put("pods", "a", lambda _: {"spec": spec, "status": {}}, 0))
    again = copy.deepcopy(spec)
    (new,) = store.commit(Put("pods", "a", lambda _: {"spec": again, "status": {"phase": "Running"}}, 1))
    assert new.value["spec"] is old.value["spec"]


def test_what_comes_a_third_time_is_kept_once() -> None:
    sharing = Sharing()
    made = [sharing.of({"spec": {"items": [1, 2, {"a": "b"}]}}, None)["spec"] for _ in range(4)]
    assert made[3] is made[2] is made[1]


def test_integers_that_json_hardly_holds_are_left_as_they_are() -> None:
    value = {"spec": {"number": 2**70}}
    assert Sharing().of(value, {"spec": {"number": 2**70}}) == value


def test_true_one_and_one_point_zero_stay_apart() -> None:
    sharing = Sharing()
    before = sharing.of({"spec": {"a": 1}}, None)
    assert sharing.of({"spec": {"a": True}}, before)["spec"]["a"] is True
    assert type(sharing.of({"spec": {"a": 1.0}}, before)["spec"]["a"]) is float


def test_a_short_string_is_kept_once_from_its_second_time_on() -> None:
    sharing = Sharing()
    first, second = (
        sharing.of(orjson.loads(b'{"spec":{"nodeName":"node-1","n":%d}}' % n), None) for n in (1, 2)
    )
    assert second["spec"]["nodeName"] is first["spec"]["nodeName"]
