"""Answers in which this server once differed from a real 1.37 one: each was seen with kubectl against both."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from slipway.cluster.client.client import Client, PatchType
from slipway.cluster.client.resources import (
    CERTIFICATE_SIGNING_REQUESTS,
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    ApiResource,
)
from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Request, Response
from slipway.cluster.status import StatusError

Object = dict[str, Any]
DAEMON_SETS = ApiResource("apps", "v1", "daemonsets", "DaemonSet")
CRON_JOBS = ApiResource("batch", "v1", "cronjobs", "CronJob")
GENERATION = "deprecated.daemonset.template.generation"
METADATA = {"name": "a", "namespace": "default"}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}


async def refusal(work: Any) -> str:
    with pytest.raises(StatusError) as refused:
        await work
    return refused.value.message


async def test_a_daemon_set_counts_the_changes_of_its_template(client: Client) -> None:
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE}
    made = await client.create(DAEMON_SETS, {"metadata": METADATA, "spec": spec})
    assert made["metadata"]["annotations"] == {GENERATION: "1"}
    scaled = await client.patch(DAEMON_SETS, "a", "default", {"spec": {"minReadySeconds": 3}})
    assert scaled["metadata"]["annotations"] == {GENERATION: "1"}
    pulled = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "j"}]}}}}
    changed = await client.patch(DAEMON_SETS, "a", "default", pulled)
    assert changed["metadata"]["annotations"] == {GENERATION: "2"}


async def test_a_name_that_is_not_free_yet_says_why(client: Client) -> None:
    held = {"metadata": {**METADATA, "finalizers": ["x.io/held"]}}
    await client.create(SERVICE_ACCOUNTS, held)
    assert await refusal(client.create(SERVICE_ACCOUNTS, held)) == 'serviceaccounts "a" already exists'
    await client.delete(SERVICE_ACCOUNTS, "a", "default")
    assert (
        await refusal(client.create(SERVICE_ACCOUNTS, held))
        == 'object is being deleted: serviceaccounts "a" already exists'
    )


async def test_a_refused_change_of_a_pod_is_shown_as_a_difference(client: Client) -> None:
    await client.create(
        PODS, {"metadata": METADATA, "spec": {**TEMPLATE["spec"], "nodeSelector": {"x": "y"}}}
    )
    said = await refusal(client.patch(PODS, "a", "default", {"spec": {"nodeSelector": {"z": "w"}}}))
    assert '   "nodeSelector": {\n-    "x": "y"\n+    "x": "y",\n+    "z": "w"\n   }' in said


async def test_a_claim_that_is_not_bound_is_only_told_that_its_spec_is_fixed(client: Client) -> None:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    await client.create(PERSISTENT_VOLUME_CLAIMS, {"metadata": METADATA, "spec": spec})
    smaller = {"spec": {"resources": {"requests": {"storage": "500Mi"}}}}
    said = await refusal(client.patch(PERSISTENT_VOLUME_CLAIMS, "a", "default", smaller))
    assert said.startswith(
        'PersistentVolumeClaim "a" is invalid: spec: Forbidden: spec is immutable after creation'
    )
    assert '-      "storage": "1Gi"\n+      "storage": "500Mi"\n' in said


async def test_a_token_is_bound_to_no_pod_of_another_account(client: Client) -> None:
    await client.create(SERVICE_ACCOUNTS, {"metadata": METADATA})
    await client.create(PODS, {"metadata": METADATA, "spec": TEMPLATE["spec"]})
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "a"}
    request = {"kind": "TokenRequest", "spec": {"boundObjectRef": reference}}
    path = "/api/v1/namespaces/default/serviceaccounts/a/token"
    answer = await client.raw("POST", path, body=json.dumps(request).encode())
    assert isinstance(answer.body, bytes)
    assert json.loads(answer.body)["message"] == (
        'cannot bind token for serviceaccount "a" to pod running with different serviceaccount name.'
    )


async def issued(client: Client, reference: dict[str, str]) -> str:
    body = {"kind": "TokenRequest", "spec": {"boundObjectRef": {"apiVersion": "v1", **reference}}}
    answer = await client.raw(
        "POST", "/api/v1/namespaces/default/serviceaccounts/a/token", body=json.dumps(body).encode()
    )
    assert isinstance(answer.body, bytes)
    return str(json.loads(answer.body)["status"]["token"])


async def review(client: Client, token: str) -> dict[str, Any]:
    asked = {"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": token}}
    body = json.dumps(asked).encode()
    answer = await client.raw("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body=body)
    assert isinstance(answer.body, bytes)
    status: dict[str, Any] = json.loads(answer.body)["status"]
    return status


async def test_a_token_bound_to_a_pod_names_its_node_with_the_uid(client: Client) -> None:
    await client.create(SERVICE_ACCOUNTS, {"metadata": METADATA})
    node = await client.create(NODES, {"metadata": {"name": "n"}})
    spec = {**TEMPLATE["spec"], "serviceAccountName": "a", "nodeName": "n"}
    pod = await client.create(PODS, {"metadata": METADATA, "spec": spec})
    extra = (await review(client, await issued(client, {"kind": "Pod", "name": "a"})))["user"]["extra"]
    about = "authentication.kubernetes.io/"
    assert extra[f"{about}node-name"] == ["n"]
    assert extra[f"{about}node-uid"] == [node["metadata"]["uid"]]
    assert extra[f"{about}pod-uid"] == [pod["metadata"]["uid"]]


@pytest.mark.parametrize(("kind", "resource"), [("Secret", SECRETS), ("Node", NODES)])
async def test_a_token_ends_with_what_it_is_bound_to(client: Client, kind: str, resource: Any) -> None:
    await client.create(SERVICE_ACCOUNTS, {"metadata": METADATA})
    metadata = {"name": "b"} if kind == "Node" else {"name": "b", "namespace": "default"}
    await client.create(resource, {"metadata": metadata})
    token = await issued(client, {"kind": kind, "name": "b"})
    assert (await review(client, token))["authenticated"]
    await client.delete(resource, "b", metadata.get("namespace", ""))
    assert not (await review(client, token)).get("authenticated")


async def test_a_certificate_request_is_annotated_through_its_approval_and_its_status(client: Client) -> None:
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    made = builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256())
    request = base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()
    spec = {"request": request, "signerName": "example.com/s", "usages": ["client auth"]}
    await client.create(CERTIFICATE_SIGNING_REQUESTS, {"metadata": {"name": "a"}, "spec": spec})
    for part in ("approval", "status"):
        conditions = [{"type": part.title(), "status": "True", "reason": "Test"}]
        change = {
            "metadata": {"annotations": {part: "x"}},
            "spec": {"signerName": "example.com/other"},
            "status": {"conditions": conditions},
        }
        changed = await client.patch(
            CERTIFICATE_SIGNING_REQUESTS, "a", "", change, PatchType.MERGE, subresource=part
        )
        assert changed["metadata"]["annotations"][part] == "x"
        assert changed["spec"]["signerName"] == "example.com/s"
        assert [row["type"] for row in changed["status"]["conditions"]] == [part.title()]


async def test_a_schedule_names_no_time_zone(client: Client) -> None:
    job = {"template": {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}}
    spec = {"schedule": "TZ=UTC * * * * *", "jobTemplate": {"spec": job}}
    assert await refusal(client.create(CRON_JOBS, {"metadata": METADATA, "spec": spec})) == (
        'CronJob.batch "a" is invalid: spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in'
        " schedule, use timeZone field instead"
    )


async def answered(client: Client, method: str, path: str, **headers: str) -> Response:
    place, _, query = path.partition("?")
    fields = dict(part.split("=", 1) for part in query.split("&")) if query else {}
    return await client.raw(method, place, query=fields, headers=headers)


async def message(client: Client, method: str, path: str) -> tuple[int, str]:
    answer = await answered(client, method, path)
    assert isinstance(answer.body, bytes)
    return answer.status, json.loads(answer.body).get("message", "")


async def test_what_is_in_all_namespaces_is_not_deleted_at_once(client: Client) -> None:
    await client.create(SERVICE_ACCOUNTS, {"metadata": METADATA})
    status, _ = await message(client, "DELETE", "/api/v1/serviceaccounts")
    assert status == 405
    assert (await client.get(SERVICE_ACCOUNTS, "a", "default"))["metadata"]["name"] == "a"
    status, _ = await message(client, "DELETE", "/api/v1/namespaces/default/serviceaccounts")
    assert status == 200


@pytest.mark.parametrize(
    ("token", "why"),
    [
        ("abc", "invalid character 'i' looking for beginning of value"),
        ("a!b", "illegal base64 data at input byte 1"),
        ("abcde", "illegal base64 data at input byte 4"),
        ("e30", "server does not recognize this encoded version "),
        (
            "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ",
            "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
        ),
        ("eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MX0", "encoded start key empty (version meta.k8s.io/v1)"),
    ],
)
async def test_continue_tokens_that_are_none(client: Client, token: str, why: str) -> None:
    assert await message(client, "GET", f"/api/v1/pods?continue={token}") == (
        400,
        f"invalid continue token: continue key is not valid: {why}",
    )


async def test_numbers_that_are_too_large(client: Client) -> None:
    assert await message(client, "GET", "/api/v1/pods?limit=9999999999999999999") == (
        400,
        'strconv.ParseInt: parsing "9999999999999999999": value out of range',
    )


async def test_any_word_but_false_asks_for_a_watch(client: Client) -> None:
    answer = await answered(client, "GET", "/api/v1/pods?watch=maybe&timeoutSeconds=1")
    assert not isinstance(answer.body, bytes)
    assert isinstance((await answered(client, "GET", "/api/v1/pods?watch=False")).body, bytes)


async def test_initial_events_may_come_without_bookmarks(client: Client) -> None:
    path = "/api/v1/pods?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1"
    assert (await answered(client, "GET", path)).status == 200


async def test_credentials_of_an_unknown_kind_are_none(client: Client) -> None:
    options = ClusterOptions(nodes=0, controllers=False, scheduler=False, listen=False)
    async with EmbeddedCluster(options) as cluster:
        request = Request("GET", "/api/v1/pods", headers={"authorization": "Basic YTpi"})
        assert (await cluster.plane.api.handle(request)).status == 403  # as anonymous
        request = Request("GET", "/api/v1/pods", headers={"authorization": "Bearer nobody"})
        assert (await cluster.plane.api.handle(request)).status == 401


@pytest.mark.parametrize(
    ("form", "status"),
    [("Table;v=v1", 406), ("Table;v=v1,application/json", 201), ("PartialObjectMetadata;v=v1", 201)],
)
async def test_reviews_have_no_table(form: str, status: int) -> None:
    options = ClusterOptions(nodes=0, controllers=False, scheduler=False, listen=False)
    async with EmbeddedCluster(options) as cluster:
        headers = {
            "authorization": f"Bearer {cluster.new_token('someone', ('system:masters',))}",
            "accept": f"application/json;g=meta.k8s.io;as={form}",
            "content-type": "application/json",
        }
        body = json.dumps({"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}).encode()
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        assert (await cluster.plane.api.handle(Request("POST", path, "", headers, body))).status == status


async def test_a_gated_pod_says_from_the_start_that_it_is_not_scheduled(client: Client) -> None:
    spec = {"containers": [{"name": "c", "image": "i"}], "schedulingGates": [{"name": "example.com/wait"}]}
    made = await client.create(PODS, {"metadata": METADATA, "spec": spec})
    (row,) = made["status"]["conditions"]
    assert (row["type"], row["status"], row["reason"]) == ("PodScheduled", "False", "SchedulingGated")
    assert row["message"] == "Scheduling is blocked due to non-empty scheduling gates"
