"""Objects nested as deep as bodies may be can be written and read in every form; deeper bodies are refused."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from slipway.cluster.schema.json_bodies import MAX_DEPTH

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
async def deeps(api: Any) -> Any:
    """An API server with a kind that keeps everything."""
    assert (await api.ask("POST", CRDS, CRD))[0] == 201
    async with asyncio.timeout(30):
        while (await api.ask("GET", DEEPS))[0] != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return api


async def write(deeps: Any, media: str, levels: int) -> tuple[int, Any]:
    if media in (JSON, YAML):
        return await deeps.ask("POST", DEEPS, deep(levels), media)
    path = f"{DEEPS}/deep?fieldManager=m"
    if media == APPLY:
        return await deeps.ask("PATCH", path, deep(levels), media)
    assert (await deeps.ask("POST", DEEPS, deep(2)))[0] == 201
    if media == MERGE:
        return await deeps.ask("PATCH", path, deep(levels), media)
    half = levels // 2
    operations = [
        {"op": "replace", "path": "/spec", "value": {"a": nested(half - 2)}},
        {"op": "copy", "from": "/spec", "path": "/other"},
        {"op": "add", "path": "/other" + "/a/0" * (half // 2 - 1), "value": nested(levels - half + 1)},
    ]
    return await deeps.ask("PATCH", path, json.dumps(operations).encode(), media)


@pytest.mark.parametrize("media", [JSON, YAML, APPLY, MERGE, OPERATIONS])
async def test_what_is_as_deep_as_may_be_can_be_written_and_read_in_every_form(
    deeps: Any, media: str
) -> None:
    status, _ = await write(deeps, media, MAX_DEPTH)
    assert status in (200, 201)
    for accept in (JSON, YAML, "application/json;as=Table;v=v1;g=meta.k8s.io"):
        for path in (DEEPS, f"{DEEPS}/deep?includeObject=Object"):
            status, _ = await deeps.ask("GET", path, accept=accept)
            assert status == 200
    assert (await deeps.ask("PATCH", f"{DEEPS}/deep", b'{"spec": 1}', MERGE))[0] == 200
    assert (await deeps.ask("DELETE", f"{DEEPS}/deep"))[0] == 200


async def test_a_body_that_is_deeper_is_a_bad_request(deeps: Any) -> None:
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
            status, answer = await deeps.ask("POST" if posted else "PATCH", path, body, media)
            assert (status, answer["reason"]) == (400, "BadRequest")
            assert said in answer["message"]


async def test_operations_do_not_make_it_deeper_either(deeps: Any) -> None:
    assert (await deeps.ask("POST", DEEPS, deep(MAX_DEPTH)))[0] == 201
    for source in ("/spec", "/spec/a"):
        operation = {"op": "copy", "from": source, "path": "/spec/a/0/b"}
        body = json.dumps([operation] * 9).encode()
        status, answer = await deeps.ask("PATCH", f"{DEEPS}/deep", body, OPERATIONS)
        assert (status, answer["reason"]) == (422, "Invalid")


async def test_numbers_of_custom_objects_are_written_as_go_writes_them(deeps: Any) -> None:
    body = json.dumps(
        {
            "apiVersion": "example.com/v1",
            "kind": "Deep",
            "metadata": {"name": "n"},
            "spec": [1.0, 1e2, 1.5, 10**30],
        }
    )
    _, created = await deeps.ask("POST", DEEPS, body.encode())
    assert json.dumps(created["spec"]) == "[1, 100, 1.5, 1e+30]"
