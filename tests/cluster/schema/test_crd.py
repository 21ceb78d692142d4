"""CustomResourceDefinitions: names, conditions, stored versions, and what they serve."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.cluster.schema.crd import (
    accept_names,
    resources_of,
    set_defaults,
    status_on_create,
    status_on_update,
    version_of,
    version_priority,
)
from slipway.cluster.schema.crd_columns import cells, column_definitions
from slipway.cluster.schema.crd_validation import crd_errors

NOW = "2026-11-21T02:00:00Z"


def make_crd(plural: str = "widgets", kind: str = "Widget", **version: Any) -> dict[str, Any]:
    crd = {
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                    **version,
                }
            ],
        },
    }
    set_defaults(crd)
    crd["status"] = status_on_create(crd)
    return crd


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str, str]]:
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in status["conditions"]}


def test_a_new_crd_is_established_when_its_names_are_free() -> None:
    crd = make_crd()
    status = accept_names(crd, [], NOW)

    assert status["acceptedNames"] == {
        "plural": "widgets",
        "singular": "widget",
        "kind": "Widget",
        "listKind": "WidgetList",
    }
    assert conditions(status) == {
        "NamesAccepted": ("True", "NoConflicts", "no conflicts found"),
        "Established": ("True", "InitialNamesAccepted", "the initial names have been accepted"),
    }
    assert status["storedVersions"] == ["v1"]


def test_a_kind_in_use_keeps_a_crd_from_being_established() -> None:
    first = make_crd()
    first["status"] = accept_names(first, [], NOW)
    second = make_crd("gadgets", "Widget")
    status = accept_names(second, [first], NOW)

    assert conditions(status)["NamesAccepted"] == (
        "False",
        "ListKindConflict",
        '"WidgetList" is already in use',
    )
    assert conditions(status)["Established"] == ("False", "NotAccepted", "not all names are accepted")
    assert status["acceptedNames"]["plural"] == "gadgets"
    assert status["acceptedNames"]["kind"] == ""


def test_a_short_name_in_use_is_a_conflict_and_freed_names_are_accepted_later() -> None:
    first = make_crd()
    first["spec"]["names"]["shortNames"] = ["w"]
    first["status"] = accept_names(first, [], NOW)
    second = make_crd("gadgets", "Gadget")
    second["spec"]["names"]["shortNames"] = ["w", "g"]
    second["status"] = accept_names(second, [first], NOW)
    assert conditions(second["status"])["NamesAccepted"][1:] == (
        "ShortNamesConflict",
        '"w" is already in use',
    )

    later = accept_names(second, [], "2026-11-21T03:00:00Z")
    assert later["acceptedNames"]["shortNames"] == ["w", "g"]
    assert conditions(later)["Established"][0] == "True"


def test_conditions_that_do_not_change_keep_their_time() -> None:
    crd = make_crd()
    crd["status"] = accept_names(crd, [], NOW)
    again = accept_names(crd, [], "2027-01-01T00:00:00Z")
    assert {c["lastTransitionTime"] for c in again["conditions"]} == {NOW}


def test_a_new_storage_version_is_remembered_beside_the_old_one() -> None:
    old = make_crd()
    new = make_crd()
    new["spec"]["versions"][0]["storage"] = False
    new["spec"]["versions"].append({**old["spec"]["versions"][0], "name": "v2"})
    assert status_on_update(new, old)["storedVersions"] == ["v1", "v2"]


def test_a_stored_version_may_not_leave_the_spec() -> None:
    old = make_crd()
    new = make_crd(name="v2")
    new["status"] = status_on_update(new, old)
    errors = crd_errors(new, old)
    assert [error.field for error in errors] == ["status.storedVersions[0]"]
    assert "v1 was previously a storage version" in str(errors[0])


def test_group_plural_and_once_established_scope_and_kind_are_immutable() -> None:
    old = make_crd()
    old["status"] = accept_names(old, [], NOW)
    new = make_crd("widgets", "Gizmo")
    new["spec"]["scope"] = "Cluster"
    new["status"] = old["status"]
    assert sorted(str(error) for error in crd_errors(new, old)) == [
        'spec.names.kind: Invalid value: "Gizmo": field is immutable',
        'spec.scope: Invalid value: "Cluster": field is immutable',
    ]


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"type": "string", "pattern": "("}, "error parsing regexp: missing closing ): `(`"),
        (
            {"type": "object", "anyOf": [{"type": "object"}]},
            "type: Forbidden: must be empty to be structural",
        ),
        ({"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}, None),
        (
            {"type": "array", "items": {"type": "string"}, "x-kubernetes-map-type": "atomic"},
            "must be object if",
        ),
        ({"type": "object", "default": {"zz": 1}}, "must not have unknown fields"),
        ({"type": "dict"}, 'supported values: "array", "boolean", "integer", "number", "object", "string"'),
        ({"x-kubernetes-preserve-unknown-fields": True}, None),
        ({"x-kubernetes-preserve-unknown-fields": False, "type": "string"}, "must be true or undefined"),
        (
            {"type": "object", "x-kubernetes-embedded-resource": True},
            "must not be empty if x-kubernetes-embedded",
        ),
        ({"type": "string", "$ref": "#/x"}, "$ref is not supported"),
    ],
)
def test_a_schema_that_breaks_a_rule_is_refused_and_told_why(
    schema: dict[str, Any], wanted: str | None
) -> None:
    crd = make_crd(schema={"openAPIV3Schema": {"type": "object", "properties": {"a": schema}}})
    errors = [str(error) for error in crd_errors(crd)]
    if wanted is None:
        assert errors == []
    else:
        assert any(wanted in error for error in errors), errors


def test_a_field_that_only_a_junction_at_the_root_knows_is_refused() -> None:
    branch = {"properties": {"x": {"minimum": 1}}}
    crd = make_crd(schema={"openAPIV3Schema": {"type": "object", "anyOf": [branch]}})
    assert [str(error) for error in crd_errors(crd)] == [
        "spec.validation.openAPIV3Schema.properties[x]: Required value: because it is defined in "
        "spec.validation.openAPIV3Schema.anyOf[0].properties[x]"
    ]


def test_selectable_fields_must_be_scalars_that_exist() -> None:
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"c": {"type": "string"}}}},
    }
    crd = make_crd(
        schema={"openAPIV3Schema": schema},
        selectableFields=[{"jsonPath": ".spec.c"}, {"jsonPath": ".spec"}, {"jsonPath": ".spec.nope"}],
    )
    assert [error.field for error in crd_errors(crd)] == [
        "spec.selectableFields[1].jsonPath",
        "spec.selectableFields[2].jsonPath",
    ]
    assert version_of(crd, "v1").selectable_fields[0] == "spec.c"


def test_a_crd_serves_its_versions_with_the_most_stable_first() -> None:
    crd = make_crd(
        subresources={
            "status": {},
            "scale": {"specReplicasPath": ".spec.r", "statusReplicasPath": ".status.r"},
        }
    )
    crd["spec"]["versions"].append(
        {**crd["spec"]["versions"][0], "name": "v2beta1", "storage": False, "subresources": {}}
    )
    crd["spec"]["versions"].append(
        {**crd["spec"]["versions"][0], "name": "v3", "storage": False, "served": False}
    )
    crd["status"] = accept_names(crd, [], NOW)
    first, second = resources_of(crd)
    assert (first.version, second.version) == ("v1", "v2beta1")
    assert [sub.name for sub in first.subresources] == ["status", "scale"]
    assert first.qualified == "widgets.example.com"
    assert version_of(crd, "v1").scale is not None


def test_versions_are_ordered_as_kubernetes_orders_them() -> None:
    names = [
        "foo1",
        "v1alpha1",
        "v10",
        "v2",
        "v11beta2",
        "v1beta1",
        "foo10",
        "v12alpha1",
        "v11alpha2",
        "v10beta3",
    ]
    assert sorted(names, key=version_priority) == [
        "v10", "v2", "v11beta2", "v10beta3", "v1beta1", "v12alpha1", "v11alpha2", "v1alpha1", "foo1", "foo10",
    ]  # fmt: skip


def test_a_deprecated_version_warns_and_names_a_better_one() -> None:
    crd = make_crd(name="v1beta1", deprecated=True)
    crd["spec"]["versions"].append({**make_crd()["spec"]["versions"][0], "storage": False})
    warning = version_of(crd, "v1beta1").deprecation_warning
    assert warning == "example.com/v1beta1 Widget is deprecated; use example.com/v1 Widget"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "https://example.com/pull/1",
            ("True", "ApprovedAnnotation", "approved in https://example.com/pull/1"),
        ),
        ("unapproved, a try", ("False", "UnapprovedAnnotation", 'not approved: "unapproved, a try"')),
    ],
)
def test_a_community_group_says_whether_its_api_was_approved(said: str, expected: tuple[str, ...]) -> None:
    crd = make_crd()
    crd["spec"]["group"] = "example.k8s.io"
    crd["metadata"]["annotations"] = {"api-approved.kubernetes.io": said}
    assert conditions(accept_names(crd, [], NOW))["KubernetesAPIApprovalPolicyConformant"] == expected
    assert "KubernetesAPIApprovalPolicyConformant" not in conditions(accept_names(make_crd(), [], NOW))


def test_versions_that_are_not_given_are_shown_as_null_and_none_at_all_as_an_empty_list() -> None:
    for versions, shown in ((None, "null"), ([], "[]")):
        crd = make_crd()
        crd["spec"]["versions"] = versions
        crd["status"] = status_on_create(crd)
        texts = [str(error) for error in crd_errors(crd) if error.field == "spec.versions"]
        why = "must have exactly one version marked as storage version"
        assert texts == [f"spec.versions: Invalid value: {shown}: {why}"]


def test_printer_columns_become_typed_cells() -> None:
    columns = [
        {"name": "X", "type": "string", "jsonPath": ".spec.x"},
        {"name": "N", "type": "integer", "jsonPath": ".spec.n", "priority": 1},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Gone", "type": "string", "jsonPath": ".spec.gone"},
        {"name": "List", "type": "string", "jsonPath": ".spec.list"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    obj = {
        "metadata": {"name": "a", "creationTimestamp": NOW},
        "spec": {"x": 3, "n": 6.0, "list": ["a", {"b": 1}]},
        "status": {"conditions": [{"type": "Other", "status": "x"}, {"type": "Ready", "status": "True"}]},
    }
    assert cells(obj, columns, lambda stamp: f"age {stamp}") == [
        "a", "3", 6, "True", None, '["a",{"b":1}]', f"age {NOW}",
    ]  # fmt: skip
    assert [column["name"] for column in column_definitions([])] == ["Name", "Age"]
    shown = "Custom resource definition column (in JSONPath format): .spec.x"
    assert column_definitions(columns)[1]["description"] == shown
