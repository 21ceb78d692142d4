"""Strategic merge patch on the shapes of real kinds: merge keys, every directive, order, and its errors."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.patching.json_values import copied, same
from slipway.cluster.patching.strategic_merge import apply_strategic_merge_patch
from slipway.cluster.schema.builtin import shape_of
from slipway.cluster.status import StatusError

CONFIG_MAP = shape_of("", "v1", "ConfigMap")
DEPLOYMENT = shape_of("apps", "v1", "Deployment")
SERVICE = shape_of("", "v1", "Service")

ONE = {
    "name": "one",
    "image": "i1",
    "args": ["x", "y"],
    "env": [{"name": "E", "value": "1"}, {"name": "F", "value": "2"}],
    "ports": [{"containerPort": 80, "name": "h"}, {"containerPort": 81}],
}
TWO = {"name": "two", "image": "i2"}


def deployment(**pod: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": pod}}}


def patched_pod(before: dict[str, Any], patch: dict[str, Any]) -> Any:
    result = apply_strategic_merge_patch(deployment(**before), deployment(**patch), DEPLOYMENT)
    return result["spec"]["template"]["spec"]


@pytest.mark.parametrize(
    ("patch", "expected"),
    [
        ([{"name": "one", "image": "new"}], [{**ONE, "image": "new"}, TWO]),
        ([{"name": "three"}], [{"name": "three"}, ONE, TWO]),
        ([{"$patch": "replace"}, {"name": "only"}], [{"name": "only"}]),
        ([{"$patch": "delete", "name": "one"}], [TWO]),
        ([{"$patch": "delete", "name": "none"}], [ONE, TWO]),
        ([{"$patch": "replace"}], []),
        ([{"name": "two", "$patch": "replace"}], []),
        ([{"name": "one", "args": ["z"]}], [{**ONE, "args": ["z"]}, TWO]),
        ([{"name": "one", "args": None}], [{k: v for k, v in ONE.items() if k != "args"}, TWO]),
        (
            [{"name": "one", "ports": [{"containerPort": 80, "name": "hh"}]}],
            [{**ONE, "ports": [{"containerPort": 80, "name": "hh"}, {"containerPort": 81}]}, TWO],
        ),
        (
            [{"name": "one", "env": [{"name": "E", "value": "9"}, {"name": "G", "value": "3"}]}],
            [
                {
                    **ONE,
                    "env": [
                        {"name": "E", "value": "9"},
                        {"name": "G", "value": "3"},
                        {"name": "F", "value": "2"},
                    ],
                },
                TWO,
            ],
        ),
    ],
)
def test_a_list_with_a_merge_key_becomes(patch: Any, expected: Any) -> None:
    before = {"containers": [ONE, TWO]}
    assert patched_pod(before, {"containers": patch})["containers"] == expected


def test_a_list_without_merge_strategy_is_replaced() -> None:
    before = {"tolerations": [{"key": "k", "operator": "Exists"}]}
    assert patched_pod(before, {"tolerations": [{"key": "o"}]}) == {"tolerations": [{"key": "o"}]}


def test_null_removes_a_member_and_a_null_inside_a_new_value_is_dropped() -> None:
    before = {"volumes": [{"name": "v", "emptyDir": {}}]}
    patch = {"volumes": [{"name": "v", "emptyDir": None, "hostPath": {"path": "/x", "type": None}}]}
    assert patched_pod(before, patch) == {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}


def test_retain_keys_clears_the_members_that_it_does_not_name() -> None:
    before = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert apply_strategic_merge_patch(before, patch, DEPLOYMENT) == {
        "spec": {"strategy": {"type": "Recreate"}}
    }


def test_an_object_with_patch_replace_is_taken_as_it_is_and_one_with_patch_delete_is_emptied() -> None:
    before = {"spec": {"selector": {"matchLabels": {"a": "b"}}, "replicas": 1}}
    replaced = {"spec": {"$patch": "replace", "paused": True}}
    deleted = {"spec": {"selector": {"$patch": "delete"}}}
    assert apply_strategic_merge_patch(before, replaced, DEPLOYMENT) == {"spec": {"paused": True}}
    assert apply_strategic_merge_patch(before, deleted, DEPLOYMENT) == {
        "spec": {"selector": {}, "replicas": 1}
    }


def test_primitive_lists_are_joined_pruned_and_ordered() -> None:
    def finalizers(before: list[str], **patch: Any) -> Any:
        patch = {name.replace("__", "$").replace("_", "/"): value for name, value in patch.items()}
        document = {"metadata": {"finalizers": before}}
        return apply_strategic_merge_patch(document, {"metadata": patch}, CONFIG_MAP)["metadata"][
            "finalizers"
        ]

    assert finalizers(["a", "b"], finalizers=["c", "b"]) == ["c", "a", "b"]
    assert finalizers(["a", "b"], __deleteFromPrimitiveList_finalizers=["a", "zz"]) == ["b"]
    assert finalizers(["b"], __setElementOrder_finalizers=["c", "b"], finalizers=["c"]) == ["c", "b"]
    assert finalizers(["a", "b", "c"], __setElementOrder_finalizers=["c", "a"]) == ["b", "c", "a"]


def test_the_stated_order_of_items_wins_and_unnamed_items_keep_their_place() -> None:
    before = {"containers": [{"name": n} for n in "abcd"]}
    order = [{"name": "c"}, {"name": "a"}]
    patch = {"$setElementOrder/containers": order, "containers": [{"name": "a", "image": "i"}]}
    assert [item["name"] for item in patched_pod(before, patch)["containers"]] == ["b", "c", "a", "d"]


def test_ports_of_a_service_merge_by_port() -> None:
    before = {"spec": {"ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]}}
    patch = {"spec": {"ports": [{"port": 81, "nodePort": 30000}, {"port": 80, "$patch": "delete"}]}}
    after = apply_strategic_merge_patch(before, patch, SERVICE)
    assert after == {"spec": {"ports": [{"port": 81, "name": "b", "nodePort": 30000}]}}


@pytest.mark.parametrize(
    ("pod", "code", "reason", "message"),
    [
        (
            {"containers": [{"image": "noname"}]},
            500,
            "",
            "map: map[image:noname] does not contain declared merge key: name",
        ),
        (
            {"containers": [{"$patch": "bogus", "name": "one"}]},
            500,
            "",
            "unknown patch type: bogus in map: map[$patch:bogus name:one]",
        ),
        (
            {"containers": [{"$patch": "merge", "name": "one"}]},
            500,
            "",
            "merging lists cannot yet be specified in the patch",
        ),
        (
            {"containers": ["one"]},
            500,
            "",
            "list element types are not identical: [[map[image:i2 name:two]] [one]]",
        ),
        ({"$retainKeys": "x", "hostname": "h"}, 400, "BadRequest", "invalid patch format of retainKeys"),
        ({"$retainKeys": ["x"], "hostname": "h"}, 400, "BadRequest", "invalid patch format of retainKeys"),
        ({"$deleteFromPrimitiveList": ["x"]}, 400, "BadRequest", "invalid patch format of primitive list"),
        (
            {"$setElementOrder/containers": [{"name": "x"}], "containers": [{"name": "two"}]},
            500,
            "",
            "The order in patch list:\n[map[name:two]]\n doesn't match $setElementOrder list:\n[map[name:x]]\n",
        ),
        (
            {"$setElementOrder/nope": []},
            500,
            "",
            'unable to find api field in struct PodSpec for the json field "nope"',
        ),
    ],
)
def test_a_bad_patch_is_answered_as_upstream_words_it(pod: Any, code: int, reason: str, message: str) -> None:
    with pytest.raises(StatusError) as failure:
        patched_pod({"containers": [TWO]}, pod)
    assert (failure.value.code, failure.value.reason, failure.value.message) == (code, reason, message)


containers = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("abcd")},
        optional={
            "image": st.sampled_from("ij"),
            "env": st.lists(
                st.fixed_dictionaries(
                    {"name": st.sampled_from("xyz")}, optional={"value": st.sampled_from("12")}
                ),
                max_size=3,
                unique_by=lambda item: item["name"],
            ),
        },
    ),
    max_size=4,
    unique_by=lambda item: item["name"],
)


@given(containers, containers)
def test_merging_containers_twice_is_merging_them_once_and_keeps_names_unique(
    before: Any, patch: Any
) -> None:
    saved = copied(before), copied(patch)
    once = patched_pod({"containers": before}, {"containers": patch})
    names = [item["name"] for item in once["containers"]]
    assert sorted(names) == sorted({item["name"] for item in [*before, *patch]})
    assert same(patched_pod(once, {"containers": patch}), once)
    assert same(before, saved[0])
    assert same(patch, saved[1])


@given(containers)
def test_deleting_every_item_by_name_leaves_an_empty_list(before: Any) -> None:
    patch = [{"name": item["name"], "$patch": "delete"} for item in before]
    assert patched_pod({"containers": before}, {"containers": patch}) == {"containers": []}
