"""Server-side apply: what the recorded vectors do not show, and laws for any configuration."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.cluster.patching.apply import FieldManager, MissingVersion
from slipway.cluster.patching.comparing import compare
from slipway.cluster.patching.custom_shape import with_object_fields
from slipway.cluster.patching.fields import FieldSet, text_of
from slipway.cluster.patching.json_values import copied, same
from slipway.cluster.patching.merging import merge
from slipway.cluster.patching.shaped_fields import fields_of
from slipway.cluster.schema.builtin import shape_of
from slipway.cluster.schema.shape import Shape
from slipway.cluster.schema.structural import shape_of_schema
from slipway.cluster.status import StatusError

T1, T2, T3 = "2026-11-21T03:00:00Z", "2026-11-21T03:00:01Z", "2026-11-21T03:00:02Z"
CONFIG_MAPS = FieldManager("", "v1", "ConfigMap", shape_of("", "v1", "ConfigMap"))
SCHEMA = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "a": {"type": "string"},
                "n": {"type": "integer"},
                "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                "whole": {"type": "array", "items": {"type": "string"}},
                "ports": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["port", "protocol"],
                    "items": {
                        "type": "object",
                        "properties": {
                            "port": {"type": "integer"},
                            "protocol": {"type": "string", "default": "TCP"},
                            "name": {"type": "string"},
                        },
                    },
                },
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
            },
        }
    },
}
SHAPE = with_object_fields(shape_of_schema(SCHEMA))
THINGS = FieldManager("x.dev", "v1", "Thing", SHAPE)


def config_map(data: Any = None, **metadata: Any) -> dict[str, Any]:
    obj: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", **metadata}}
    return {**obj, "data": data} if data is not None else obj


def thing(**spec: Any) -> dict[str, Any]:
    return {"apiVersion": "x.dev/v1", "kind": "Thing", "metadata": {"name": "t"}, "spec": spec}


def owners(obj: dict[str, Any]) -> dict[str, Any]:
    return {entry["manager"]: entry["fieldsV1"] for entry in obj["metadata"].get("managedFields", [])}


def stored(obj: dict[str, Any]) -> dict[str, Any]:
    return {**obj, "metadata": {**obj["metadata"], "uid": "u"}}


def test_a_field_that_its_only_applier_drops_is_removed() -> None:
    one = CONFIG_MAPS.apply(None, config_map({"x": "1", "y": "2"}), "m", False, T1)
    two = CONFIG_MAPS.apply(stored(one), config_map({"x": "1"}), "m", False, T2)
    assert two["data"] == {"x": "1"}
    assert owners(two) == {"m": {"f:data": {"f:x": {}}}}
    assert two["metadata"]["managedFields"][0]["time"] == T2


def test_applying_the_same_again_changes_nothing_not_even_the_time() -> None:
    one = stored(CONFIG_MAPS.apply(None, config_map({"x": "1"}), "m", False, T1))
    assert CONFIG_MAPS.apply(one, config_map({"x": "1"}), "m", False, T2) == one


def test_a_value_that_an_updater_owns_conflicts_and_force_takes_it() -> None:
    one = CONFIG_MAPS.update(None, config_map({"x": "1"}), "up", T1)
    with pytest.raises(StatusError) as conflict:
        CONFIG_MAPS.apply(stored(one), config_map({"x": "2"}), "m", False, T2)
    assert conflict.value.to_object() == {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'Apply failed with 1 conflict: conflict with "up" using v1: .data.x',
        "reason": "Conflict",
        "details": {
            "causes": [
                {
                    "reason": "FieldManagerConflict",
                    "message": 'conflict with "up" using v1',
                    "field": ".data.x",
                }
            ]
        },
        "code": 409,
    }
    forced = CONFIG_MAPS.apply(stored(one), config_map({"x": "2"}), "m", True, T2)
    assert owners(forced) == {"m": {"f:data": {"f:x": {}}}, "up": {"f:data": {}}}


def test_several_conflicts_are_listed_by_manager() -> None:
    obj = CONFIG_MAPS.apply(None, config_map({"x": "1", "y": "1"}), "b", False, T1)
    obj = CONFIG_MAPS.apply(stored(obj), config_map({"z": "1"}), "a", False, T1)
    with pytest.raises(StatusError) as conflict:
        CONFIG_MAPS.apply(stored(obj), config_map({"x": "2", "y": "2", "z": "2"}), "m", False, T2)
    assert conflict.value.message == (
        'Apply failed with 3 conflicts: conflicts with "a":\n- .data.z\n'
        'conflicts with "b":\n- .data.x\n- .data.y'
    )


@pytest.mark.parametrize(
    ("config", "code", "message"),
    [
        ({"data": {}}, 400, "invalid object type: /, Kind="),
        ({"apiVersion": "v1", "kind": "Secret"}, 400, "invalid object type: /v1, Kind=Secret"),
        (config_map({}, managedFields=[]), 400, "metadata.managedFields must be nil"),
        (
            {**config_map(), "foo": 1},
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .foo: field not declared in schema",
        ),
        (
            config_map({"a": 1}),
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .data.a: expected string, "
            "got &value.valueUnstructured{Value:1}",
        ),
        (
            config_map(["a"]),
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .data: expected map, got &{[a]}",
        ),
        (
            config_map(None, finalizers=["a/b", "a/b"]),
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .metadata.finalizers: "
            'duplicate entries for key [="a/b"]',
        ),
        (
            config_map(None, finalizers=[None]),
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .metadata.finalizers: element 0: "
            "associative list without keys has an element that's an explicit null",
        ),
        (
            config_map(None, ownerReferences=[{"a": 1}]),
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): "
            '.metadata.ownerReferences[uid=""].a: field not declared in schema',
        ),
        (
            config_map({"a": {"b": True}, "c": 1.5, "d": ["x"]}),
            500,
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): errors:\n"
            '  .data.a: expected string, got &value.valueUnstructured{Value:map[string]interface {}{"b":true}}\n'
            "  .data.c: expected string, got &value.valueUnstructured{Value:1.5}\n"
            '  .data.d: expected string, got &value.valueUnstructured{Value:[]interface {}{"x"}}',
        ),
    ],
)
def test_a_bad_configuration_is_answered_as_a_real_server_does(config: Any, code: int, message: str) -> None:
    with pytest.raises(StatusError) as failure:
        CONFIG_MAPS.apply(None, config, "m", False, T1)
    assert (failure.value.code, failure.value.message) == (code, message)


def test_items_of_a_list_map_find_each_other_by_their_keys_and_defaulted_keys() -> None:
    one = THINGS.apply(None, thing(ports=[{"port": 80, "name": "a"}]), "m", False, T1)
    two = THINGS.apply(stored(one), thing(ports=[{"port": 80, "protocol": "UDP"}]), "n", False, T2)
    assert two["spec"]["ports"] == [{"port": 80, "name": "a"}, {"port": 80, "protocol": "UDP"}]
    assert list(owners(two)["m"]["f:spec"]["f:ports"]) == ['k:{"port":80,"protocol":"TCP"}']
    three = THINGS.apply(stored(two), thing(), "m", False, T3)
    assert three["spec"]["ports"] == [{"port": 80, "protocol": "UDP"}]


def test_what_was_there_before_the_first_apply_belongs_to_nobody_in_particular() -> None:
    live = {**config_map({"x": "1"}), "metadata": {"name": "a", "uid": "u"}}
    after = CONFIG_MAPS.apply(live, config_map({"y": "1"}), "m", False, T1)
    assert owners(after)["before-first-apply"] == {"f:data": {".": {}, "f:x": {}}}


@pytest.mark.parametrize("cleared", [[], [{}]])
def test_empty_managed_fields_in_an_update_clear_them_until_the_next_apply(cleared: Any) -> None:
    one = stored(CONFIG_MAPS.update(None, config_map({"x": "1"}), "up", T1))
    two = CONFIG_MAPS.update(one, config_map({"x": "1"}, uid="u", managedFields=cleared), "up", T2)
    assert "managedFields" not in two["metadata"]
    three = CONFIG_MAPS.update(two, config_map({"x": "2"}, uid="u"), "up", T3)
    assert "managedFields" not in three["metadata"]


def test_at_most_ten_updaters_are_kept_and_the_oldest_are_joined() -> None:
    obj = CONFIG_MAPS.update(None, config_map({"k0": "v"}), "up0", T1)
    for number in range(1, 13):
        data = {**obj["data"], f"k{number}": "v"}
        sent = {**obj, "data": data}
        obj = CONFIG_MAPS.update(stored(obj), sent, f"up{number:02}", f"2026-11-21T03:00:{number:02}Z")
    managers = owners(obj)
    assert len(managers) == 10
    assert managers["ancient-changes"]["f:data"].keys() == {".", "f:k0", "f:k1", "f:k2", "f:k3"}


def test_a_managed_fields_list_that_cannot_be_read_is_replaced_by_the_stored_one() -> None:
    one = stored(CONFIG_MAPS.update(None, config_map({"x": "1"}), "up", T1))
    bad = [{"manager": "q", "operation": "Nothing", "apiVersion": "v1"}]
    two = CONFIG_MAPS.update(one, config_map({"x": "1"}, uid="u", managedFields=bad), "z", T2)
    assert owners(two) == owners(one)


def test_kubectl_moves_from_client_side_to_server_side_apply_without_conflict() -> None:
    annotation = "kubectl.kubernetes.io/last-applied-configuration"
    client = '{"apiVersion":"v1","data":{"x":"1"},"kind":"ConfigMap","metadata":{"name":"a"}}'
    live = stored(
        CONFIG_MAPS.update(
            None, config_map({"x": "1"}, annotations={annotation: client}), "kubectl-apply", T1
        )
    )
    with pytest.raises(StatusError, match="kubectl-apply"):
        CONFIG_MAPS.apply(live, config_map({"x": "2"}), "someone", False, T2)
    after = CONFIG_MAPS.apply(live, config_map({"x": "2"}), "kubectl", False, T2)
    assert after["data"] == {"x": "2"}
    assert after["metadata"]["annotations"][annotation] == (
        '{"apiVersion":"v1","data":{"x":"2"},"kind":"ConfigMap","metadata":{"name":"a"}}\n'
    )


@pytest.mark.parametrize("nonsense", ["[" * 5000, '{"a":' * 5000, "9" * 5000])
def test_an_annotation_that_no_client_wrote_accounts_for_nothing(nonsense: str) -> None:
    annotation = "kubectl.kubernetes.io/last-applied-configuration"
    made = config_map({"x": "1"}, annotations={annotation: nonsense})
    live = stored(CONFIG_MAPS.update(None, made, "kubectl-apply", T1))
    with pytest.raises(StatusError, match="kubectl-apply"):
        CONFIG_MAPS.apply(live, config_map({"x": "2"}), "kubectl", False, T2)


class TwoVersions:
    """v1 calls the field `a` what v2 calls `b`."""

    shapes: ClassVar = {
        "x.dev/v1": with_object_fields(
            shape_of_schema({"type": "object", "properties": {"a": {"type": "string"}}})
        ),
        "x.dev/v2": with_object_fields(
            shape_of_schema({"type": "object", "properties": {"b": {"type": "string"}}})
        ),
    }

    def shape(self, api_version: str) -> Shape:
        if api_version not in self.shapes:
            raise MissingVersion(api_version)
        return self.shapes[api_version]

    def convert(self, obj: dict[str, Any], api_version: str) -> dict[str, Any]:
        self.shape(api_version)
        old, new = ("a", "b") if api_version.endswith("v2") else ("b", "a")
        converted = {k: v for k, v in obj.items() if k != old}
        if old in obj:
            converted[new] = obj[old]
        return {**converted, "apiVersion": api_version}


def test_owners_in_another_version_are_found_through_conversion() -> None:
    versions = TwoVersions()
    v1 = FieldManager("x.dev", "v1", "T", versions.shapes["x.dev/v1"], versions=versions)
    v2 = FieldManager("x.dev", "v2", "T", versions.shapes["x.dev/v2"], versions=versions)
    config = {"apiVersion": "x.dev/v1", "kind": "T", "metadata": {"name": "t"}, "a": "1"}
    one = stored(v1.apply(None, config, "m", False, T1))
    seen = versions.convert(one, "x.dev/v2")
    with pytest.raises(StatusError) as conflict:
        v2.apply(seen, {**seen, "metadata": {"name": "t"}, "b": "2"}, "n", False, T2)
    assert conflict.value.details == {
        "causes": [{"reason": "FieldManagerConflict", "message": 'conflict with "m"', "field": ".a"}]
    }
    dropped = v2.apply(
        seen, {"apiVersion": "x.dev/v2", "kind": "T", "metadata": {"name": "t"}}, "m", False, T2
    )
    assert "b" not in dropped


def test_owners_in_a_version_that_is_gone_are_forgotten() -> None:
    obj = stored(CONFIG_MAPS.update(None, config_map({"x": "1"}), "up", T1))
    obj["metadata"]["managedFields"][0]["apiVersion"] = "v0"
    after = CONFIG_MAPS.apply(obj, config_map({"x": "2"}), "m", False, T2)
    assert owners(after) == {"m": {"f:data": {"f:x": {}}}}


def test_a_list_that_became_atomic_is_owned_as_a_whole() -> None:
    one = stored(THINGS.apply(None, thing(tags=["x", "y"]), "m", False, T1))
    schema = copied(SCHEMA)
    schema["properties"]["spec"]["properties"]["tags"]["x-kubernetes-list-type"] = "atomic"
    atomic = FieldManager("x.dev", "v1", "Thing", with_object_fields(shape_of_schema(schema)))
    after = atomic.apply(one, thing(n=1), "o", False, T2)
    assert owners(after)["m"] == {"f:spec": {"f:tags": {}}}


# Laws

words = st.sampled_from(["x", "y", "z"])
ports = st.lists(
    st.fixed_dictionaries(
        {"port": st.sampled_from([80, 81])}, optional={"protocol": st.just("UDP"), "name": words}
    ),
    max_size=3,
    unique_by=lambda item: (item["port"], item.get("protocol")),
)
specs = st.fixed_dictionaries(
    {},
    optional={
        "a": words,
        "n": st.integers(0, 2),
        "tags": st.lists(words, max_size=3, unique=True),
        "whole": st.lists(words, max_size=3),
        "ports": ports,
        "labels": st.dictionaries(words, words, max_size=3),
    },
)


@given(specs, specs)
@settings(max_examples=150)
def test_applying_twice_is_applying_once(first: Any, second: Any) -> None:
    live = stored(THINGS.apply(None, thing(**first), "other", False, T1))
    once = THINGS.apply(live, thing(**second), "m", True, T2)
    assert same(THINGS.apply(once, thing(**second), "m", False, T3), once)


@given(specs, specs)
@settings(max_examples=150)
def test_no_leaf_is_owned_by_two_who_disagree_and_inputs_are_not_changed(first: Any, second: Any) -> None:
    live = stored(THINGS.apply(None, thing(**first), "other", False, T1))
    saved, config = copied(live), thing(**second)
    after = THINGS.apply(live, config, "m", True, T2)
    applied = fields_of(config, SHAPE)
    changed = compare(live, after, SHAPE).modified
    theirs = FieldSet.from_json(owners(after).get("other", {}))
    assert not (theirs & changed & applied)
    assert same(live, saved)
    assert same(config, thing(**second))


@given(specs, specs)
@settings(max_examples=150)
def test_managers_of_different_fields_never_conflict(first: Any, second: Any) -> None:
    second = {name: value for name, value in second.items() if name not in first}
    live = stored(THINGS.apply(None, thing(**first), "other", False, T1))
    after = THINGS.apply(live, thing(**second), "m", False, T2)
    for name, value in {**first, **second}.items():
        assert after["spec"][name] == value


@given(specs)
@settings(max_examples=100)
def test_dropping_everything_leaves_what_was_before(spec: Any) -> None:
    spec = {k: v for k, v in spec.items() if k == "whole" or v != []}  # nobody owns an empty list of items
    one = stored(THINGS.apply(None, thing(**spec), "m", False, T1))
    empty = {k: v for k, v in thing().items() if k != "spec"}
    after = THINGS.apply(one, empty, "m", False, T2)
    assert not after.get("spec")
    assert "m" not in owners(after)


@given(specs, specs)
@settings(max_examples=100)
def test_a_merge_holds_all_that_the_configuration_says_and_merging_again_adds_nothing(
    old: Any, new: Any
) -> None:
    merged = merge(thing(**old), thing(**new), SHAPE)
    assert same(merge(merged, thing(**new), SHAPE), merged)
    differs = compare(thing(**new), merged, SHAPE)
    assert not differs.modified
    assert not differs.removed


@given(specs, specs)
@settings(max_examples=100)
def test_a_comparison_with_itself_is_empty_and_swapping_sides_swaps_added_and_removed(
    old: Any, new: Any
) -> None:
    assert not any(
        getattr(compare(copied(old), old, SHAPE.properties["spec"]), part)
        for part in ("added", "modified", "removed")
    )
    there, back = compare(thing(**old), thing(**new), SHAPE), compare(thing(**new), thing(**old), SHAPE)
    assert there.added == back.removed
    assert there.modified == back.modified


@given(specs)
@settings(max_examples=100)
def test_a_set_of_fields_survives_being_written_and_read(spec: Any) -> None:
    fields = fields_of(thing(**spec), SHAPE)
    assert FieldSet.from_json(fields.to_json()) == fields
    assert all(path in fields for path in fields)


def test_paths_and_elements_are_spelt_and_ordered_as_upstream_does() -> None:
    fields = FieldSet.from_json(
        {
            "f:b": {},
            "i:10": {},
            "i:9": {},
            'v:"<x>"': {},
            'k:{"p":"TCP","a":8.0}': {".": {}, "f:n": {}},
            "f:a": {},
            "x:?": {},
        }
    )
    assert list(fields.to_json()) == [
        "f:a",
        "f:b",
        'k:{"a":8,"p":"TCP"}',
        'v:"\\u003cx\\u003e"',
        "i:9",
        "i:10",
    ]
    assert [text_of(path) for path in fields] == [
        ".a",
        ".b",
        '[a=8,p="TCP"]',
        '[="<x>"]',
        "[9]",
        "[10]",
        '[a=8,p="TCP"].n',
    ]


@pytest.mark.parametrize(
    "bad",
    [
        {"f": {}},
        {"fx": {}},
        {"k:[1]": {}},
        {"v:{": {}},
        {"v:" + "[" * 5000: {}},
        {"k:" + '{"a":' * 5000: {}},
        {"i:x": {}},
        [],
        {"f:a": 1},
    ],
)
def test_fields_that_cannot_be_read_are_refused(bad: Any) -> None:
    with pytest.raises(ValueError, match=r"key|expected|colon"):
        FieldSet.from_json(bad)
