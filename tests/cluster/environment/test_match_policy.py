"""Webhooks whose rules name one version of a resource and requests that come by another: a real HTTPS server is asked."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from slipway.cluster.client.client import Client
from slipway.cluster.client.resources import CUSTOM_RESOURCE_DEFINITIONS, ApiResource
from slipway.cluster.exchange import Request, Response
from slipway.cluster.status import StatusError

Object = dict[str, Any]
SCALERS = {
    version: ApiResource("autoscaling", version, "horizontalpodautoscalers", "HorizontalPodAutoscaler")
    for version in ("v1", "v2")
}
WIDGETS = {version: ApiResource("x.io", version, "widgets", "Widget") for version in ("v1", "v2")}
EVENTS = ApiResource("events.k8s.io", "v1", "events", "Event")
METADATA = {"name": "a", "namespace": "default"}


class Hook:
    """An admission webhook that notes what it is asked, and a conversion webhook for widgets: what v1 calls `size`
    is `length` in v2. `patch` is its answer to mutating requests."""

    def __init__(self) -> None:
        self.asked: list[Object] = []
        self.patch: list[Object] = []
        self.refusing = False
        self.client_config: Callable[[str], Object]

    async def answer(self, request: Request) -> Response:
        review = json.loads(request.body)
        asked = review["request"]
        response: Object = {"uid": asked["uid"], "allowed": not self.refusing}
        if request.path == "/convert":
            objects = [self.convert(obj, asked["desiredAPIVersion"]) for obj in asked["objects"]]
            response = {"uid": asked["uid"], "convertedObjects": objects, "result": {"status": "Success"}}
        else:
            self.asked.append(asked)
        if self.patch and request.path == "/mutate":
            response |= {
                "patchType": "JSONPatch",
                "patch": base64.b64encode(json.dumps(self.patch).encode()).decode(),
            }
        answer = {"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response}
        return Response(200, {"content-type": "application/json"}, json.dumps(answer).encode())

    @staticmethod
    def convert(obj: Object, api_version: str) -> Object:
        spec = dict(obj.get("spec") or {})
        before, after = ("size", "length") if api_version == "x.io/v2" else ("length", "size")
        if before in spec:
            spec[after] = spec.pop(before)
        return {**obj, "spec": spec, "apiVersion": api_version}


@pytest.fixture
async def hook(serve_https: Any) -> Hook:
    hook = Hook()
    hook.client_config = await serve_https(hook.answer)
    return hook


async def register(
    client: Client, hook: Hook, group: str, version: str, plural: str, kind: str = "Validating", **more: Any
) -> None:
    """A webhook whose rule names that version only."""
    resource = ApiResource(
        "admissionregistration.k8s.io",
        "v1",
        f"{kind.lower()}webhookconfigurations",
        f"{kind}WebhookConfiguration",
        False,
    )
    rule = {"apiGroups": [group], "apiVersions": [version], "resources": [plural], "operations": ["*"]}
    webhook = {
        "name": "hook.x.io",
        "rules": [rule],
        "clientConfig": hook.client_config("/mutate" if kind == "Mutating" else "/validate"),
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        **more,
    }
    await client.create(resource, {"metadata": {"name": f"hook-{kind.lower()}"}, "webhooks": [webhook]})


async def define_widgets(client: Client, hook: Hook) -> None:
    fields = {"v1": "size", "v2": "length"}
    versions = [
        {
            "name": name,
            "served": True,
            "storage": name == "v1",
            "schema": {
                "openAPIV3Schema": {
                    "type": "object",
                    "properties": {"spec": {"type": "object", "properties": {field: {"type": "integer"}}}},
                }
            },
        }
        for name, field in fields.items()
    ]
    webhook = {"conversionReviewVersions": ["v1"], "clientConfig": hook.client_config("/convert")}
    spec = {
        "group": "x.io",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "kind": "Widget"},
        "versions": versions,
        "conversion": {"strategy": "Webhook", "webhook": webhook},
    }
    await client.create(CUSTOM_RESOURCE_DEFINITIONS, {"metadata": {"name": "widgets.x.io"}, "spec": spec})


def scaler() -> Object:
    target = {"type": "Utilization", "averageUtilization": 70}
    return {
        "metadata": METADATA,
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "web", "apiVersion": "apps/v1"},
            "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }


def versions(asked: Object, *names: str) -> list[str]:
    return [asked[name]["version"] for name in names]


async def test_a_rule_for_one_version_is_asked_about_the_other_in_its_own(client: Client, hook: Hook) -> None:
    await register(client, hook, "autoscaling", "v1", "horizontalpodautoscalers")
    await client.create(SCALERS["v2"], scaler())
    (asked,) = hook.asked
    assert versions(asked, "kind", "resource", "requestKind", "requestResource") == ["v1", "v1", "v2", "v2"]
    assert asked["object"]["apiVersion"] == "autoscaling/v1"
    assert asked["object"]["spec"]["targetCPUUtilizationPercentage"] == 70
    await client.patch(SCALERS["v2"], "a", "default", {"spec": {"maxReplicas": 4}})
    changed = hook.asked[-1]
    assert (changed["object"]["spec"]["maxReplicas"], changed["oldObject"]["spec"]["maxReplicas"]) == (4, 3)
    assert changed["oldObject"]["apiVersion"] == "autoscaling/v1"
    await client.delete(SCALERS["v2"], "a", "default")
    assert (hook.asked[-1]["operation"], hook.asked[-1]["oldObject"]["apiVersion"]) == (
        "DELETE",
        "autoscaling/v1",
    )


async def test_an_exact_rule_is_not_asked(client: Client, hook: Hook) -> None:
    await register(client, hook, "autoscaling", "v1", "horizontalpodautoscalers", matchPolicy="Exact")
    await client.create(SCALERS["v2"], scaler())
    assert not hook.asked
    await client.patch(SCALERS["v1"], "a", "default", {"spec": {"maxReplicas": 4}})
    assert [versions(asked, "kind", "requestKind") for asked in hook.asked] == [["v1", "v1"]]


async def test_a_rule_that_names_the_version_of_the_request_comes_first(client: Client, hook: Hook) -> None:
    rules = [
        {"apiGroups": ["autoscaling"], "apiVersions": [version], "operations": ["*"], "resources": ["*"]}
        for version in ("v1", "v2")
    ]
    await register(client, hook, "", "", "", rules=rules)
    await client.create(SCALERS["v2"], scaler())
    assert [versions(asked, "kind", "requestKind") for asked in hook.asked] == [["v2", "v2"]]


async def test_what_a_webhook_changes_in_its_version_is_changed_in_that_of_the_request(
    client: Client, hook: Hook
) -> None:
    await register(client, hook, "autoscaling", "v1", "horizontalpodautoscalers", kind="Mutating")
    hook.patch = [{"op": "replace", "path": "/spec/targetCPUUtilizationPercentage", "value": 55}]
    created = await client.create(SCALERS["v2"], scaler())
    assert created["apiVersion"] == "autoscaling/v2"
    assert created["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 55


async def test_conditions_see_the_version_of_the_rule(client: Client, hook: Hook) -> None:
    conditions = [{"name": "v1", "expression": "object.spec.targetCPUUtilizationPercentage == 70"}]
    await register(client, hook, "autoscaling", "v1", "horizontalpodautoscalers", matchConditions=conditions)
    await client.create(SCALERS["v2"], scaler())
    assert len(hook.asked) == 1


async def test_custom_kinds_are_converted_by_their_own_webhook(client: Client, hook: Hook) -> None:
    await define_widgets(client, hook)
    await register(client, hook, "x.io", "v2", "widgets", kind="Mutating")
    hook.patch = [{"op": "replace", "path": "/spec/length", "value": 8}]
    created = await client.create(WIDGETS["v1"], {"metadata": METADATA, "spec": {"size": 7}})
    (asked,) = hook.asked
    assert (asked["object"]["apiVersion"], asked["object"]["spec"]) == ("x.io/v2", {"length": 7})
    assert versions(asked, "kind", "requestKind") == ["v2", "v1"]
    assert (created["apiVersion"], created["spec"]) == ("x.io/v1", {"size": 8})


async def test_events_are_the_same_in_both_of_their_groups(client: Client, hook: Hook) -> None:
    await register(client, hook, "", "v1", "events")
    hook.refusing = True
    event = {
        "metadata": METADATA,
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "x.io/c",
        "reportingInstance": "c-1",
        "action": "Looked",
        "reason": "Curious",
        "type": "Normal",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "p"},
        "note": "hello",
    }
    with pytest.raises(StatusError, match="denied the request"):
        await client.create(EVENTS, event)
    (asked,) = hook.asked
    assert (asked["kind"]["group"], asked["requestKind"]["group"]) == ("", "events.k8s.io")
    assert asked["object"]["involvedObject"]["name"] == "p"
    assert asked["object"]["message"] == "hello"
