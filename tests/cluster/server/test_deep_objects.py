"""Objects nested as deep as bodies may be can be written and read in every form; deeper bodies are refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from slipway.cluster.environment.embedded import EmbeddedCluster
from slipway.cluster.environment.options import ClusterOptions
from slipway.cluster.exchange import Identity, Peer, Request
from slipway.cluster.schema.json_bodies import MAX_DEPTH

ADMIN = Peer("127.0.0.1", identity=Identity("admin", ("system:masters",)))
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEEPS = "/apis/example.com/v1/namespaces/default/deeps"
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "deeps.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "deeps", "kind": "Deep"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": ANYTHING},
            }
        ],
    },
}
JSON = "application/json"
YAML = "application/yaml"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
OPERATIONS = "application/json-patch+json"


def nested(levels: int) -> Any:
    value: Any = "x"
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


def deep(levels: int, name: str = "deep") -> bytes:
    """An object that is nested so deep in all."""
    spec = nested(levels - 1)
    metadata = {"name": name, "namespace": "default"}
    return json.dumps(
        {"apiVersion": "example.com/v1", "kind": "Deep", "metadata": metadata, "spec": spec}
    ).encode()


@pytest.fixture
async def cluster() -> AsyncIterator[EmbeddedCluster]:
    cluster = EmbeddedCluster(ClusterOptions(nodes=0, listen=False))
    await cluster.start()
    try:
        assert (await ask(cluster, "POST", CRDS, json.dumps(CRD).encode()))[0] == 201
        async with asyncio.timeout(30):
            while (await cluster.plane.api.handle(Request("GET", DEEPS, peer=ADMIN))).status != 200:  # noqa: ASYNC110 nobody says when
                await asyncio.sleep(0.01)
        yield cluster
    finally:
        await cluster.stop()


async def ask(
    cluster: EmbeddedCluster, method: str, path: str, body: bytes = b"", media: str = JSON, accept: str = JSON
) -> tuple[int, Any]:
    path, _, query = path.partition("?")
    headers = {"content-type": media, "accept": accept}
    response = await cluster.plane.api.handle(Request(method, path, query, headers, body, ADMIN))
    assert isinstance(response.body, bytes)
    return response.status, response.body if accept == YAML else json.loads(response.body)


async def write(cluster: EmbeddedCluster, media: str, levels: int) -> tuple[int, Any]:
    if media in (JSON, YAML):
        return await ask(cluster, "POST", DEEPS, deep(levels), media)
    path = f"{DEEPS}/deep?fieldManager=m"
    if media == APPLY:
        return await ask(cluster, "PATCH", path, deep(levels), media)
    assert (await ask(cluster, "POST", DEEPS, deep(2)))[0] == 201
    if media == MERGE:
        return await ask(cluster, "PATCH", path, deep(levels), media)
    half = levels // 2
    operations = [
        {"op": "replace", "path": "/spec", "value": {"a": nested(half - 2)}},
        {"op": "copy", "from": "/spec", "path": "/other"},
        {"op": "add", "path": "/other" + "/a/0" * (half // 2 - 1), "value": nested(levels - half + 1)},
    ]
    return await ask(cluster, "PATCH", path, json.dumps(operations).encode(), media)


@pytest.mark.parametrize("media", [JSON, YAML, APPLY, MERGE, OPERATIONS])
async def test_what_is_as_deep_as_may_be_can_be_written_and_read_in_every_form(
    cluster: EmbeddedCluster, media: str
) -> None:
    status, _ = await write(cluster, media, MAX_DEPTH)
    assert status in (200, 201)
    for accept in (JSON, YAML, "application/json;as=Table;v=v1;g=meta.k8s.io"):
        for path in (DEEPS, f"{DEEPS}/deep?includeObject=Object"):
            status, _ = await ask(cluster, "GET", path, accept=accept)
            assert status == 200
    assert (await ask(cluster, "PATCH", f"{DEEPS}/deep", b'{"spec": 1}', MERGE))[0] == 200
    assert (await ask(cluster, "DELETE", f"{DEEPS}/deep"))[0] == 200


async def test_a_body_that_is_deeper_is_a_bad_request(cluster: EmbeddedCluster) -> None:
    for levels in (MAX_DEPTH + 1, 5000):
        body = b'{"spec":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"
        for media, said in (
            (JSON, "exceeded max depth"),
            (YAML, "exceeded max depth"),
            (APPLY, "exceeded max depth"),
            (MERGE, "invalid JSON patch"),
            (OPERATIONS, "invalid JSON patch"),
        ):
            posted = media in (JSON, YAML)
            path = DEEPS if posted else f"{DEEPS}/deep?fieldManager=m"
            status, answer = await ask(cluster, "POST" if posted else "PATCH", path, body, media)
            assert (status, answer["reason"]) == (400, "BadRequest")
            assert said in answer["message"]


async def test_operations_do_not_make_it_deeper_either(cluster: EmbeddedCluster) -> None:
    assert (await ask(cluster, "POST", DEEPS, deep(MAX_DEPTH)))[0] == 201
    for source in ("/spec", "/spec/a"):
        operation = {"op": "copy", "from": source, "path": "/spec/a/0/b"}
        body = json.dumps([operation] * 9).encode()
        status, answer = await ask(cluster, "PATCH", f"{DEEPS}/deep", body, OPERATIONS)
        assert (status, answer["reason"]) == (422, "Invalid")


async def test_numbers_of_custom_objects_are_written_as_go_writes_them(cluster: EmbeddedCluster) -> None:
    body = json.dumps(
        {
            "apiVersion": "example.com/v1",
            "kind": "Deep",
            "metadata": {"name": "n"},
            "spec": [1.0, 1e2, 1.5, 10**30],
        }
    )
    _, created = await ask(cluster, "POST", DEEPS, body.encode())
    assert json.dumps(created["spec"]) == "[1, 100, 1.5, 1e+30]"
