"""scale_deployment and patch_resource on a real API server, down to the media type on the wire."""

from typing import Any

import pytest

from kco.actions.handler import InvalidParameters
from kco.actions.patch_resource import PatchResource
from kco.actions.scale_deployment import ScaleDeployment
from operator_kit.kube.client import CONFIG_MAPS, SECRETS, Resource
from operator_kit.kube.failure import ApiFailure

DEPLOYMENTS = Resource("apps", "v1", "deployments")
STATEFUL_SETS = Resource("apps", "v1", "statefulsets")
AUTOSCALERS = Resource("autoscaling", "v2", "horizontalpodautoscalers")


async def test_41_replicas_are_set_through_the_scale_subresource_with_a_merge_patch(
    try_action, make_deployment, client, recorder, namespace
) -> None:
    await make_deployment("web", 1)
    result = await try_action(ScaleDeployment(), {"deploymentName": "web", "replicas": 3})
    assert (result.phase, result.output) == ("Succeeded", {"from": 1, "to": 3})
    assert (await client.get(DEPLOYMENTS, namespace, "web"))["spec"]["replicas"] == 3
    patches = [(path, media) for method, path, media, _ in recorder.requests if method == "PATCH"]
    assert patches == [
        (f"/apis/apps/v1/namespaces/{namespace}/deployments/web/scale", "application/merge-patch+json")
    ]


@pytest.mark.parametrize(
    ("parameters", "phase", "replicas"),
    [
        ({"replicas": 2}, "Skipped", 2),
        ({"step": 1}, "Succeeded", 3),
        ({"step": 5, "max": 4}, "Succeeded", 4),
        ({"step": -5, "min": 1}, "Succeeded", 1),
        ({"replicas": "5"}, "Succeeded", 5),
    ],
)
async def test_41_steps_and_bounds(
    try_action, make_deployment, client, namespace, parameters: dict[str, Any], phase: str, replicas: int
) -> None:
    await make_deployment("web", 2)
    result = await try_action(ScaleDeployment(), {"deploymentName": "web", **parameters})
    assert result.phase == phase
    assert (await client.get(DEPLOYMENTS, namespace, "web"))["spec"]["replicas"] == replicas


async def test_41_stateful_sets_scale_too(try_action, client, namespace) -> None:
    body = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db"},
        "spec": {
            "serviceName": "db",
            "replicas": 1,
            "selector": {"matchLabels": {"app": "db"}},
            "template": {
                "metadata": {"labels": {"app": "db"}},
                "spec": {"containers": [{"name": "main", "image": "i"}]},
            },
        },
    }
    await client.create(STATEFUL_SETS, namespace, body)
    await try_action(ScaleDeployment(), {"deploymentName": "db", "kind": "StatefulSet", "replicas": 2})
    assert (await client.get(STATEFUL_SETS, namespace, "db"))["spec"]["replicas"] == 2


async def test_41_an_autoscaled_deployment_is_left_alone_unless_forced(
    try_action, make_deployment, client, namespace
) -> None:
    await make_deployment("web", 1)
    body = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "auto"},
        "spec": {
            "maxReplicas": 5,
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        },
    }
    await client.create(AUTOSCALERS, namespace, body)
    refused = await try_action(ScaleDeployment(), {"deploymentName": "web", "replicas": 3})
    assert (refused.phase, refused.retryable) == ("Failed", False)
    assert "HorizontalPodAutoscaler auto" in refused.message
    forced = await try_action(ScaleDeployment(), {"deploymentName": "web", "replicas": 3, "force": True})
    assert forced.phase == "Succeeded"


async def test_41_a_missing_deployment_is_a_final_failure(try_action) -> None:
    result = await try_action(ScaleDeployment(), {"deploymentName": "none", "replicas": 3})
    assert (result.phase, result.retryable) == ("Failed", False)


@pytest.mark.parametrize(
    "parameters", [{}, {"replicas": 1, "step": 1}, {"replicas": -1}, {"step": 1, "min": 3, "max": 2}]
)
def test_41_contradictory_parameters_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameters, match="parameters"):
        ScaleDeployment().read({"deploymentName": "web", **parameters})


@pytest.mark.parametrize(
    ("patch", "media"),
    [
        ({"patchData": {"data": {"a": "2"}}, "patchType": "merge"}, "application/merge-patch+json"),
        ({"patchData": {"data": {"a": "2"}}}, "application/strategic-merge-patch+json"),
        ({"patchData": [{"op": "replace", "path": "/data/a", "value": "2"}]}, "application/json-patch+json"),
        (
            {"patchData": {"data": {"a": "2"}}, "patchType": "apply", "force": True},
            "application/apply-patch+yaml",
        ),
    ],
)
async def test_42_each_patch_type_is_tried_dry_first_and_then_done(
    try_action, client, recorder, namespace, patch: dict[str, Any], media: str
) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1", "b": "1"}}
    await client.create(CONFIG_MAPS, namespace, body)
    result = await try_action(PatchResource(), {"resourceType": "configmap", "resourceName": "c", **patch})
    if media.startswith("application/apply") and "unknown format" in result.message:
        pytest.skip("this API server has no server-side apply")
    assert result.phase == "Succeeded", result
    assert (await client.get(CONFIG_MAPS, namespace, "c"))["data"] == {"a": "2", "b": "1"}
    patches = [
        (used, query.get("dryRun")) for method, _, used, query in recorder.requests if method == "PATCH"
    ]
    assert patches == [(media, "All"), (media, None)]
    assert all(
        query["fieldManager"] == "kco" for method, _, _, query in recorder.requests if method == "PATCH"
    )


async def test_42_a_patch_that_the_server_refuses_changes_nothing(
    try_action, make_deployment, recorder
) -> None:
    await make_deployment("web", 1)
    failing = [
        {"op": "test", "path": "/spec/replicas", "value": 99},
        {"op": "remove", "path": "/spec/replicas"},
    ]
    parameters = {"resourceType": "deployment", "resourceName": "web", "patchData": failing}
    result = await try_action(PatchResource(), parameters)
    assert (result.phase, result.retryable) == ("Failed", False)
    assert [query.get("dryRun") for method, _, _, query in recorder.requests if method == "PATCH"] == ["All"]


async def test_42_secrets_and_kinds_off_the_list_are_refused(try_action, client, namespace) -> None:
    await client.create(SECRETS, namespace, {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}})
    parameters = {"resourceType": "secret", "resourceName": "s", "patchData": {"data": {}}}
    for patchable in (None, frozenset({"*"})):
        more = {} if patchable is None else {"patchable": patchable}
        result = await try_action(PatchResource(), parameters, **more)
        assert result.phase == "Failed"
        assert "secrets may not be patched" in result.message
    allowed = await try_action(PatchResource(), parameters, patchable=frozenset({"secrets"}))
    assert allowed.phase == "Succeeded"


async def test_42_custom_kinds_are_found_by_discovery(try_action, bed, client, namespace) -> None:
    await bed.make("other", graphqlEndpoint="http://a/graphql")
    parameters = {
        "apiVersion": "operator.kco.local/v1alpha1",
        "kind": "TargetApp",
        "resourceName": "other",
        "patchData": {"spec": {"suspend": True}},
    }
    result = await try_action(
        PatchResource(), parameters, patchable=frozenset({"targetapps.operator.kco.local"})
    )
    assert result.phase == "Succeeded", result
    assert (await bed.read("other"))["spec"]["suspend"] is True
    missing = await try_action(PatchResource(), {**parameters, "kind": "Nothing"})
    assert "no kind Nothing" in missing.message


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"resourceType": "deploymnt", "patchData": {}}, "did you mean 'deployment'"),
        ({"patchData": {}}, "give resourceType, or apiVersion with kind"),
        ({"resourceType": "pod", "patchData": {}, "patchType": "json"}, "list of operations"),
        ({"resourceType": "pod", "patchData": "x"}, "patchData"),
    ],
)
def test_42_wrong_parameters_are_named(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidParameters, match=words):
        PatchResource().read({"resourceName": "x", **parameters})


async def test_41_a_json_object_sent_as_json_patch_is_refused_by_this_server(
    client, make_deployment, namespace
) -> None:
    await make_deployment("web", 1)
    with pytest.raises(ApiFailure):
        await client.patch(
            DEPLOYMENTS, namespace, "web", {"spec": {"replicas": 2}}, media_type="application/json-patch+json"
        )
