"""JSON patch: what each operation does, what is refused and how, and what never changes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.patching.json_patch import apply_json_patch, unknown_json_patch_fields
from slipway.cluster.patching.json_values import copied, same
from slipway.cluster.status import StatusError

MAP = {"data": {"x": "1", "y": "2"}, "metadata": {"labels": {"l": "1"}}}
LIST = {"spec": ["a", "b", "c"]}


def op(kind: str, path: str, **more: Any) -> dict[str, Any]:
    return {"op": kind, "path": path, **more}


@pytest.mark.parametrize(
    ("document", "operation", "expected"),
    [
        (MAP, op("add", "/data/z", value="3"), {**MAP, "data": {"x": "1", "y": "2", "z": "3"}}),
        (MAP, op("add", "/data", value={"only": "this"}), {**MAP, "data": {"only": "this"}}),
        (
            MAP,
            op("add", "/metadata/labels/a~1b~0", value="1"),
            {**MAP, "metadata": {"labels": {"l": "1", "a/b~": "1"}}},
        ),
        (MAP, op("add", "/data/z"), {**MAP, "data": {"x": "1", "y": "2", "z": None}}),
        (MAP, op("replace", "/data/nope", value="1"), {**MAP, "data": {"x": "1", "y": "2", "nope": "1"}}),
        (MAP, op("move", "/data/m", **{"from": "/data/x"}), {**MAP, "data": {"m": "1", "y": "2"}}),
        (
            MAP,
            op("copy", "/data/m", **{"from": "/data/none"}),
            {**MAP, "data": {"x": "1", "y": "2", "m": None}},
        ),
        (MAP, op("remove", "/metadata/labels"), {"data": MAP["data"], "metadata": {}}),
        (MAP, op("replace", "", value={"a": 1}), {"a": 1}),
        (MAP, op("test", "", value=MAP), MAP),
        (MAP, op("test", "/data/none", value=None), MAP),
        (MAP, op("test", "/data/none"), MAP),
        (LIST, op("add", "/spec/-", value="d"), {"spec": ["a", "b", "c", "d"]}),
        (LIST, op("add", "/spec/3", value="d"), {"spec": ["a", "b", "c", "d"]}),
        (LIST, op("add", "/spec/0", value="d"), {"spec": ["d", "a", "b", "c"]}),
        (LIST, op("add", "/spec/-1", value="d"), {"spec": ["a", "b", "c", "d"]}),
        (LIST, op("remove", "/spec/-1"), {"spec": ["a", "b"]}),
        (LIST, op("replace", "/spec/1", value=7), {"spec": ["a", 7, "c"]}),
        (LIST, op("move", "/spec/0", **{"from": "/spec/2"}), {"spec": ["c", "a", "b"]}),
    ],
)
def test_an_operation_gives(document: Any, operation: Any, expected: Any) -> None:
    assert same(apply_json_patch(document, [operation]), expected)


@pytest.mark.parametrize(
    "operation",
    [
        op("test", "/data/x", value="2"),
        op("test", "/data/x"),
        op("test", "/data/none", value="1"),
        op("remove", "/data/none"),
        op("remove", "/none/x"),
        op("add", "/none/x", value=1),
        op("add", "", value={}),
        op("move", "/data/m", **{"from": "/data/none"}),
        op("move", "/data/x/inside", **{"from": "/data/x"}),
        op("move", "/data/m"),
        op("bogus", "/data/x"),
        op("replace", "", value="text"),
        {"path": "/data/x", "value": "1"},
        {"op": "add", "value": "1"},
        op("add", "/data/x/deeper", value=1),
        None,
    ],
)
def test_what_does_not_apply_is_one_and_the_same_422(operation: Any) -> None:
    with pytest.raises(StatusError) as failure:
        apply_json_patch(MAP, [operation])
    assert failure.value.to_object() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": "the server rejected our request due to an error in our request",
        "reason": "Invalid",
        "details": {},
        "code": 422,
    }


def test_copies_of_copies_end_before_they_fill_the_memory() -> None:
    copies = [op("copy", f"/spec/{number}", **{"from": "/spec"}) for number in range(40)]
    with pytest.raises(StatusError, match="rejected our request"):
        apply_json_patch({"spec": {"x": "y" * 1000}}, copies)
    assert apply_json_patch({"spec": {"x": "y" * 1000}}, copies[:10])


def test_a_document_does_not_become_deeper_than_a_body_may_be() -> None:
    inside = op("copy", "/spec/a/b", **{"from": "/spec"})
    apply_json_patch({"spec": {"a": {}}}, [inside] * 10)
    with pytest.raises(StatusError, match="rejected our request"):
        apply_json_patch({"spec": {"a": {}}}, [inside, op("copy", "/spec/a/b/a", **{"from": "/spec"})] * 200)


@pytest.mark.parametrize("path", ["/spec/4", "/spec/-5", "/spec/x", "/spec/1_0", "/spec/ 1", "/spec/"])
def test_an_index_outside_the_list_is_refused(path: str) -> None:
    with pytest.raises(StatusError, match="rejected our request"):
        apply_json_patch(LIST, [op("add", path, value=1)])


@pytest.mark.parametrize(("left", "right"), [(1, 1.0), (1, True), (0, False), ("1", 1), ([], {}), (None, 0)])
def test_a_test_keeps_types_apart(left: Any, right: Any) -> None:
    with pytest.raises(StatusError):
        apply_json_patch({"a": left}, [op("test", "/a", value=right)])


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (
            {"a": 1},
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
        ),
        (
            "text",
            "error decoding patch: json: cannot unmarshal string into Go value of type []handlers.jsonPatchOp",
        ),
        (
            [1],
            "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp",
        ),
        (
            [{"op": "add", "path": 1}],
            "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.path of type string",
        ),
    ],
)
def test_what_is_no_json_patch_is_a_bad_request(patch: Any, message: str) -> None:
    with pytest.raises(StatusError) as failure:
        apply_json_patch(MAP, patch)
    assert (failure.value.code, failure.value.reason, failure.value.message) == (400, "BadRequest", message)


def test_more_than_ten_thousand_operations_are_too_large() -> None:
    with pytest.raises(StatusError) as failure:
        apply_json_patch(MAP, [op("test", "/data/x", value="1")] * 10001)
    assert (failure.value.code, failure.value.reason) == (413, "RequestEntityTooLarge")


def test_unknown_members_of_operations_are_named_with_their_place() -> None:
    operations = [op("add", "/a", value=1), {"op": "add", "path": "/b", "Value": 1, "why": "x"}]
    assert unknown_json_patch_fields(operations) == [
        'json patch unknown field "[1].Value"',
        'json patch unknown field "[1].why"',
    ]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a", "b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "b", "~", "/", "0"]), inner, max_size=3)
    ),
    max_leaves=12,
)
documents = st.dictionaries(st.sampled_from(["a", "b", "~", "/"]), json_values, max_size=4)
pointers = st.lists(st.sampled_from(["a", "b", "~0", "~1", "0", "1", "-", "-1"]), max_size=4).map(
    lambda tokens: "".join("/" + token for token in tokens)
)
operations = st.builds(
    lambda kind, path, source, value: {"op": kind, "path": path, "from": source, "value": value},
    st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]),
    pointers,
    pointers,
    json_values,
)


@given(documents, st.lists(operations, max_size=4))
def test_any_patch_applies_or_is_refused_and_changes_neither_argument(document: Any, patch: Any) -> None:
    before = copied(document), copied(patch)
    try:
        result, code = apply_json_patch(document, patch), 200
    except StatusError as failure:
        result, code = None, failure.code
    assert code in (200, 422)
    if code == 200:
        assert same(apply_json_patch(document, [*patch, op("test", "", value=result)]), result)
    assert same(document, before[0])
    assert same(patch, before[1])


@given(documents, json_values)
def test_what_was_added_passes_the_test_for_it_and_can_be_removed(document: Any, value: Any) -> None:
    document.pop("new", None)
    patch = [op("add", "/new", value=value), op("test", "/new", value=value), op("remove", "/new")]
    assert same(apply_json_patch(document, patch), document)
