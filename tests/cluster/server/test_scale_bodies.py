"""What a Scale is changed to is decoded like any object; each refusal is that of a real 1.37 server."""

from __future__ import annotations

from typing import Any

import pytest

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
SCALE = f"{DEPLOYMENTS}/d/scale"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
OPERATIONS = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
LABELS = {"a": "b"}
POD = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
DEPLOYMENT = {
    "metadata": {"name": "d"},
    "spec": {"replicas": 0, "selector": {"matchLabels": LABELS}, "template": POD},
}


@pytest.fixture
async def scaled(api: Any) -> Any:
    assert (await api.ask("POST", DEPLOYMENTS, DEPLOYMENT))[0] == 201
    return api


@pytest.mark.parametrize(
    ("media", "body", "why"),
    [
        (
            MERGE,
            {"spec": {"replicas": 10**22}},
            f"cannot unmarshal number {10**22} into Go struct field ScaleSpec.spec.replicas of type int32",
        ),
        (
            MERGE,
            {"spec": {"replicas": 3000000000}},
            "number 3000000000 into Go struct field ScaleSpec.spec.replicas",
        ),
        (MERGE, {"spec": {"replicas": 1.0}}, "number 1.0 into Go struct field ScaleSpec.spec.replicas"),
        (MERGE, {"spec": 5}, "cannot unmarshal number into Go struct field Scale.spec of type v1.ScaleSpec"),
        (MERGE, {"metadata": 5}, "number into Go struct field Scale.metadata of type v1.ObjectMeta"),
        (MERGE, {"kind": "Pod"}, 'no kind "Pod" is registered for version "autoscaling/v1"'),
        (
            OPERATIONS,
            [{"op": "replace", "path": "/spec", "value": [1]}],
            "array into Go struct field Scale.spec",
        ),
        (
            STRATEGIC,
            {"spec": {"replicas": "1"}},
            '"map[spec:map[replicas:1]]": unrecognized type: int32',
        ),
        (MERGE, {"spec": {"replicas": -1}}, "must be greater than or equal to 0"),
    ],
)
async def test_a_patch_that_makes_no_scale_is_invalid(scaled: Any, media: str, body: Any, why: str) -> None:
    status, answer = await scaled.ask("PATCH", SCALE, body, media)
    assert (status, answer["reason"]) == (422, "Invalid")
    assert why in answer["message"]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (5, ".spec: expected map, got &{5}"),
        ({"replicas": "x"}, ".spec.replicas: expected numeric (int or float), got string"),
        ({"foo": 1}, ".spec.foo: field not declared in schema"),
    ],
)
async def test_a_configuration_that_is_no_scale_is_refused(scaled: Any, spec: Any, why: str) -> None:
    config = {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": spec}
    status, answer = await scaled.ask("PATCH", f"{SCALE}?fieldManager=m", config, APPLY)
    assert status == 500
    assert answer["message"] == (
        f"failed to create typed patch object (/; autoscaling/v1, Kind=Scale): {why}"
    )


async def test_conflicts_of_a_scale_are_those_of_its_object(scaled: Any) -> None:
    status, answer = await scaled.ask("PATCH", SCALE, {"metadata": {"resourceVersion": "1"}}, MERGE)
    assert status == 409
    assert answer["message"].startswith('Operation cannot be fulfilled on deployments.apps "d"')
    config = {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 2}}
    status, answer = await scaled.ask("PATCH", f"{SCALE}?fieldManager=m", config, APPLY)
    assert status == 409
    assert 'conflict with "unknown" using autoscaling/v1: .spec.replicas' in answer["message"]


async def test_fields_that_no_scale_has_are_warned_of(scaled: Any) -> None:
    assert (await scaled.ask("PATCH", SCALE, {"foo": 1}, MERGE))[0] == 200
    assert scaled.warnings == ['unknown field "foo"']
    _, scale = await scaled.ask("GET", SCALE)
    scale["spec"] = {"replicas": 3, "foo": 1}
    status, answer = await scaled.ask("PUT", SCALE, scale)
    assert (status, answer["spec"], scaled.warnings) == (
        200,
        {"replicas": 3},
        ['unknown field "spec.foo"'],
    )


async def test_a_dry_run_binds_no_pod_that_is_not_there(api: Any) -> None:
    binding = {"metadata": {"name": "none"}, "target": {"name": "n"}}
    status, answer = await api.ask("POST", "/api/v1/namespaces/default/pods/none/binding?dryRun=All", binding)
    assert (status, answer["message"]) == (404, 'pods "none" not found')


async def test_revisions_and_tokens_beyond_64_bits_are_refused(api: Any) -> None:
    status, answer = await api.ask("GET", f"{DEPLOYMENTS}?resourceVersion={10**22}")
    assert (status, answer["message"]) == (
        400,
        f'invalid resource version: resourceVersion: Invalid value: "{10**22}": strconv.ParseUint:'
        f' parsing "{10**22}": value out of range',
    )
