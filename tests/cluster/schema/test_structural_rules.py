"""`x-kubernetes-validations` on custom resources: messages, transition rules, ratcheting, budgets."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.cluster.schema.shape import Shape
from slipway.cluster.schema.structural import shape_of_schema, validate, validate_status


def schema_of(spec: dict[str, Any], *rules: dict[str, Any], **more: Any) -> Shape:
    spec = {"type": "object", **more, "properties": spec, "x-kubernetes-validations": list(rules)}
    return shape_of_schema(
        {
            "type": "object",
            "properties": {
                "spec": spec,
                "status": {"type": "object", "properties": {"n": {"type": "integer"}}},
            },
        }
    )


def errors(shape: Shape, spec: Any, old: Any = None) -> list[str]:
    before = (
        None if old is None else {"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "x"}, "spec": old}
    )
    after = {"apiVersion": "a/v1", "kind": "K", "metadata": {"name": "x"}, "spec": spec}
    return [str(error) for error in validate(after, shape, before)]


INTEGERS = {"min": {"type": "integer"}, "max": {"type": "integer"}}


def test_a_failed_rule_of_an_object_says_the_rule_or_its_message() -> None:
    shape = schema_of(
        INTEGERS,
        {"rule": "self.min <= self.max"},
        {"rule": "self.max < 100", "message": "too big"},
        {"rule": "self.min > 0", "messageExpression": "'min is %d'.format([self.min])"},
    )
    assert errors(shape, {"min": 1, "max": 2}) == []
    assert errors(shape, {"min": -5, "max": 200}) == [
        "spec: Invalid value: too big",
        "spec: Invalid value: min is -5",
    ]
    assert errors(shape, {"min": 2, "max": 1}) == ["spec: Invalid value: failed rule: self.min <= self.max"]


def test_a_failed_rule_of_a_scalar_shows_the_value() -> None:
    shape = schema_of(
        {"x": {"type": "string", "x-kubernetes-validations": [{"rule": "self.startsWith('a')"}]}}
    )
    assert errors(shape, {"x": "b"}) == ["spec.x: Invalid value: \"b\": failed rule: self.startsWith('a')"]


def test_reason_and_field_path_are_used() -> None:
    shape = schema_of(
        INTEGERS,
        {
            "rule": "has(self.min)",
            "reason": "FieldValueRequired",
            "fieldPath": ".min",
            "message": "give a min",
        },
        {"rule": "!has(self.max)", "reason": "FieldValueForbidden", "fieldPath": ".max", "message": "no max"},
    )
    assert errors(shape, {"max": 1}) == [
        "spec.min: Required value: give a min",
        "spec.max: Forbidden: no max",
    ]


def test_transition_rules_run_on_update_only() -> None:
    shape = schema_of(
        {
            "x": {
                "type": "string",
                "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "immutable"}],
            }
        }
    )
    assert errors(shape, {"x": "a"}) == []
    assert errors(shape, {"x": "a"}, {"x": "a"}) == []
    assert errors(shape, {"x": "b"}, {"x": "a"}) == ['spec.x: Invalid value: "b": immutable']
    assert errors(shape, {"x": "b"}, {}) == []  # nothing to compare with


def test_optional_old_self_runs_on_create_too() -> None:
    rule = {"rule": "oldSelf.hasValue() || self.min == 1", "optionalOldSelf": True}
    shape = schema_of(INTEGERS, rule)
    assert errors(shape, {"min": 1}) == []
    assert len(errors(shape, {"min": 2})) == 1
    assert errors(shape, {"min": 2}, {"min": 1}) == []


def test_items_of_list_maps_are_compared_by_key_and_of_other_lists_not_at_all() -> None:
    item = {
        "type": "object",
        "properties": {"k": {"type": "string"}, "v": {"type": "integer"}},
        "required": ["k"],
        "x-kubernetes-validations": [{"rule": "self.v >= oldSelf.v", "message": "v may only grow"}],
    }
    by_key = {
        "type": "array",
        "items": item,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
    }
    old = {"l": [{"k": "a", "v": 1}, {"k": "b", "v": 5}]}
    new = {"l": [{"k": "b", "v": 4}, {"k": "a", "v": 2}, {"k": "c", "v": 0}]}
    assert errors(schema_of({"l": by_key}), new, old) == ["spec.l[0]: Invalid value: v may only grow"]
    assert errors(schema_of({"l": {"type": "array", "items": item}}), new, old) == []


def test_what_was_wrong_before_and_did_not_change_is_let_through() -> None:
    shape = schema_of(
        {
            "x": {"type": "string", "maxLength": 2, "x-kubernetes-validations": [{"rule": "self != 'no'"}]},
            "y": {"type": "integer", "minimum": 5},
            "z": {"type": "string"},
        }
    )
    assert errors(shape, {"x": "no", "y": 1, "z": "new"}, {"x": "no", "y": 1, "z": "old"}) == []
    assert len(errors(shape, {"x": "no", "y": 2}, {"x": "no", "y": 1})) == 1
    assert len(errors(shape, {"x": "no"}, {"x": "ok"})) == 1
    assert errors(shape, {"x": "long"}, {"x": "long"}) == []
    assert errors(shape, {"y": True}, {"y": 1})  # true is not an unchanged 1


def test_a_rule_that_cannot_be_evaluated_says_why() -> None:
    shape = schema_of(INTEGERS, {"rule": "self.min < self.max"})
    assert errors(shape, {"min": 1}) == [
        'spec: Invalid value: "object": no such key: max evaluating rule: self.min < self.max'
    ]


def test_rules_are_not_run_on_objects_that_are_invalid_otherwise() -> None:
    shape = schema_of(INTEGERS, {"rule": "self.min < self.max"})
    assert errors(shape, {"min": "a", "max": 1}) == [
        'spec.min: Invalid value: "string": spec.min in body must be of type integer: "string"',
        "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; "
        "correct the existing errors to complete validation",
    ]


@pytest.mark.parametrize(
    ("schema", "rule", "good", "bad"),
    [
        ({"type": "string", "format": "date-time"}, "self > timestamp('2020-01-01T00:00:00Z')", "2021-01-01T00:00:00Z", "2019-01-01T00:00:00Z"),
        ({"type": "string", "format": "duration"}, "self < duration('1h')", "5m", "2h"),
        ({"type": "string", "format": "date"}, "self.getFullYear() == 2020", "2020-05-05", "2021-05-05"),
        ({"type": "string", "format": "byte"}, "size(self) == 3", "YWJj", "YWI="),
        ({"type": "number"}, "self < 1.5", 1, 2),
        ({"x-kubernetes-int-or-string": True}, "type(self) == int ? self < 5 : self.endsWith('%')", "5%", 7),
        ({"type": "array", "items": {"type": "number"}}, "self.sum() < 5.0", [1, 2.5], [3, 2]),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, "self.all(k, self[k] > 0)", {"a": 1}, {"a": 0}),
        ({"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"}, "self == ['b', 'a']", ["a", "b"], ["a"]),
        ({"type": "object", "properties": {"a.b": {"type": "integer"}, "namespace": {"type": "string"}}}, "self.a__dot__b > 0 && self.__namespace__ == 'x'", {"a.b": 1, "namespace": "x"}, {"a.b": 0, "namespace": "x"}),
        ({"type": "object", "properties": {"q": {"x-kubernetes-int-or-string": True}}}, "!has(self.q) || quantity(string(self.q)).isLessThan(quantity('1Gi'))", {"q": "500Mi"}, {"q": "2Gi"}),
    ],
)  # fmt: skip
def test_values_come_to_rules_as_their_formats_say(
    schema: dict[str, Any], rule: str, good: Any, bad: Any
) -> None:
    shape = schema_of({"v": {**schema, "x-kubernetes-validations": [{"rule": rule}]}})
    assert errors(shape, {"v": good}) == []
    assert len(errors(shape, {"v": bad})) == 1


@pytest.mark.parametrize(
    "rule",
    [
        "!has(self.meta.namespace) || self.meta.namespace == 'x'",
        "!has(self.meta.__namespace__) || self.meta.__namespace__ == 'x'",
        "self.meta.?namespace.orValue('x') == 'x'",
    ],
)
def test_a_property_whose_name_cel_reserves_is_named_as_it_is_or_escaped(rule: str) -> None:
    """As JobSet's definition does, for the namespace of a claim's template."""
    meta = {"type": "object", "properties": {"namespace": {"type": "string"}}}
    shape = schema_of({"meta": meta}, {"rule": rule})
    assert errors(shape, {"meta": {}}) == []
    assert errors(shape, {"meta": {"namespace": "x"}}) == []
    assert len(errors(shape, {"meta": {"namespace": "y"}})) == 1


def test_rules_at_the_root_see_kind_and_name() -> None:
    schema = {
        "type": "object",
        "x-kubernetes-validations": [{"rule": "self.metadata.name == 'x' && self.kind == 'K'"}],
    }
    assert errors(shape_of_schema(schema), {}) == []


def test_a_rule_that_costs_too_much_stops_all_others() -> None:
    numbers = {"type": "array", "items": {"type": "integer"}}
    shape = schema_of(
        {"l": numbers},
        {"rule": "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0)))"},
        {"rule": "false"},
    )
    (error,) = errors(shape, {"l": list(range(200))})
    assert "operation cancelled: actual cost limit exceeded" in error
    assert "no further validation rules will be run due to call cost exceeds limit" in error


def test_a_status_write_checks_the_status_alone() -> None:
    shape = schema_of(INTEGERS)
    old = {"apiVersion": "a/v1", "kind": "K", "metadata": {}, "spec": {"min": "wrong"}, "status": {"n": 1}}
    found = validate_status({**old, "status": {"n": "x"}}, shape, old)
    assert [str(error) for error in found] == [
        'status.n: Invalid value: "string": n in body must be of type integer: "string"'
    ]
