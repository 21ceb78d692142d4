"""Warnings, as a real server 1.37 gave them to the same objects."""

from __future__ import annotations

from typing import Any

import pytest

from slipway.cluster.schema.crd_warnings import crd_warnings, finalizer_warnings

STRING_FORMATS = ["date-time", "uuid", "byte", "k8s-short-name", "duration", "password", "cidr", "mac", "ssn"]
NO_STRING_FORMATS = ["int32", "int64", "foo", "binary", "double", "DateTime", "date_time", "UUID", "quantity"]
SET = (
    'x-kubernetes-list-type: set for items of type "object" is not supported by server-side apply '
    "or CEL validation rules"
)


def crd(**properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": properties}}}
    return {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}}


def unknown(*formats: str) -> list[str]:
    return [f'unrecognized format "{name}"' for name in formats]


@pytest.mark.parametrize(
    ("kind", "formats", "warned"),
    [
        ("string", STRING_FORMATS + NO_STRING_FORMATS, NO_STRING_FORMATS),
        ("integer", ["int32", "int64", "date", "double"], ["date", "double"]),
        ("number", ["float", "double", "int32"], ["int32"]),
        ("object", ["date", "int32"], ["date", "int32"]),
    ],
)
def test_formats_that_are_unknown_for_the_type_are_told(
    kind: str, formats: list[str], warned: list[str]
) -> None:
    properties = {f"a{index}": {"type": kind, "format": name} for index, name in enumerate(formats)}
    assert crd_warnings(crd(**properties), None) == unknown(*warned)


def test_a_format_without_type_may_be_one_of_strings() -> None:
    branches = [{"properties": {"n": {"format": name}}} for name in ("date", "int64", "zzz")]
    assert crd_warnings(crd(n={"type": "object", "allOf": branches}), None) == unknown("int64", "zzz")


def test_only_what_is_new_is_told_and_once() -> None:
    bad, worse = {"type": "string", "format": "bad"}, {"type": "string", "format": "worse"}
    old = crd(a=bad)
    assert crd_warnings(crd(a=bad, b={"type": "array", "items": bad}), None) == unknown("bad")
    assert crd_warnings(crd(a=bad, b=bad), old) == []
    assert crd_warnings(crd(a=bad, b={"type": "object", "additionalProperties": worse}), old) == unknown(
        "worse"
    )


def test_sets_of_objects_are_told() -> None:
    objects = {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}}
    texts = {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}
    assert crd_warnings(crd(a=objects, b=texts), None) == [SET]


def test_finalizers_should_have_a_domain_and_a_path() -> None:
    old = {"metadata": {"finalizers": ["was"]}}
    new = {"metadata": {"finalizers": ["was", "x.y/z", "foregroundDeletion", "q", "a.b.c"]}}
    end = "to avoid accidental conflicts with other finalizer writers"
    assert finalizer_warnings(new, old) == [
        f'metadata.finalizers: "a.b.c": prefer a domain-qualified finalizer name including a path (/) {end}',
        f'metadata.finalizers: "q": prefer a domain-qualified finalizer name {end}',
    ]
    assert finalizer_warnings(old, old) == []
