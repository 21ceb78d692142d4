"""Kinds whose author converts them by a webhook: a real HTTPS server, asked whenever a version that is not stored is
read or written. The refusals are those of a real 1.37 API server, word for word, asked with the same webhook."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from slipway.cluster.client.client import Client
from slipway.cluster.client.resources import CUSTOM_RESOURCE_DEFINITIONS, ApiResource
from slipway.cluster.exchange import Request, Response
from slipway.cluster.status import StatusError

Object = dict[str, Any]
ADDRESSES = {version: ApiResource("x.io", version, "addresses", "Address") for version in ("v1", "v2")}
SCHEMAS: dict[str, Object] = {
    "v1": {"host": {"type": "string"}, "port": {"type": "integer"}},
    "v2": {"hostPort": {"type": "string"}},
}
# As a real server answers a `get`, after which it says why.
CORRUPT = (
    "Internal error occurred: StorageError: corrupt object, Code: 7, Key: /x.io/addresses/default/a,"
    " ResourceVersion: 0, AdditionalErrorMsg: object not decodable revision={}: "
)


class Author:
    """The author's webhook: v1 has host and port, v2 both in one. `spoil` may change its answers."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str]]] = []
        self.spoil: Any = lambda review, objects: None
        self.client_config: Callable[[str], Object]

    async def answer(self, request: Request) -> Response:
        review = json.loads(request.body)
        asked = review["request"]
        self.asked.append((asked["desiredAPIVersion"], [o["metadata"]["name"] for o in asked["objects"]]))
        objects = [self.convert(obj, asked["desiredAPIVersion"]) for obj in asked["objects"]]
        response = {"uid": asked["uid"], "convertedObjects": objects, "result": {"status": "Success"}}
        answer = {"kind": review["kind"], "apiVersion": review["apiVersion"], "response": response}
        spoiled = self.spoil(answer, objects)
        if isinstance(spoiled, Response):
            return spoiled
        return Response(200, {"content-type": "application/json"}, json.dumps(answer).encode())

    @staticmethod
    def convert(obj: Object, api_version: str) -> Object:
        converted = copy.deepcopy(obj)
        spec = converted.get("spec") or {}
        if api_version.endswith("v2") and "host" in spec:
            spec["hostPort"] = f"{spec.pop('host')}:{spec.pop('port', 0)}"
        elif api_version.endswith("v1") and "hostPort" in spec:
            spec["host"], _, port = spec.pop("hostPort").rpartition(":")
            spec["port"] = int(port)
        return {**converted, "apiVersion": api_version}

    def conversion(self, review_versions: tuple[str, ...] = ("v1",)) -> Object:
        webhook = {
            "conversionReviewVersions": list(review_versions),
            "clientConfig": self.client_config("/convert"),
        }
        return {"strategy": "Webhook", "webhook": webhook}


@pytest.fixture
async def author(serve_https: Any) -> Author:
    author = Author()
    author.client_config = await serve_https(author.answer)
    return author


async def define(client: Client, conversion: Object, storage: str = "v1") -> None:
    versions = [
        {
            "name": name,
            "served": True,
            "storage": name == storage,
            "selectableFields": [{"jsonPath": ".spec.host" if name == "v1" else ".spec.hostPort"}],
            "subresources": {"status": {}},
            "schema": {
                "openAPIV3Schema": {
                    "type": "object",
                    "properties": {
                        "spec": {"type": "object", "properties": properties},
                        "status": {"type": "object", "properties": {"seen": {"type": "boolean"}}},
                    },
                }
            },
        }
        for name, properties in SCHEMAS.items()
    ]
    spec = {
        "group": "x.io",
        "scope": "Namespaced",
        "names": {"plural": "addresses", "kind": "Address"},
        "versions": versions,
        "conversion": conversion,
    }
    body = {"metadata": {"name": "addresses.x.io"}, "spec": spec}
    if (await client.list(CUSTOM_RESOURCE_DEFINITIONS))["items"]:
        await client.patch(CUSTOM_RESOURCE_DEFINITIONS, "addresses.x.io", "", {"spec": spec})
    else:
        await client.create(CUSTOM_RESOURCE_DEFINITIONS, body)


def address(name: str, **spec: Any) -> Object:
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


async def spec_in(client: Client, version: str, name: str) -> Object:
    found = await client.get(ADDRESSES[version], name, "default")
    assert found["apiVersion"] == f"x.io/{version}"
    return found["spec"]  # type: ignore[no-any-return]


async def test_an_object_is_read_and_written_in_each_version(client: Client, author: Author) -> None:
    await define(client, author.conversion())
    await client.create(ADDRESSES["v1"], address("a", host="h", port=1))
    assert author.asked == []  # v1 is what is stored
    created = await client.create(ADDRESSES["v2"], address("b", hostPort="g:2"))
    assert created["spec"] == {"hostPort": "g:2"}
    assert await spec_in(client, "v1", "b") == {"host": "g", "port": 2}
    assert await spec_in(client, "v2", "a") == {"hostPort": "h:1"}
    await client.patch(ADDRESSES["v2"], "a", "default", {"spec": {"hostPort": "k:7"}})
    assert await spec_in(client, "v1", "a") == {"host": "k", "port": 7}
    seen = await client.get(ADDRESSES["v2"], "a", "default")
    await client.update_status(ADDRESSES["v2"], {**seen, "status": {"seen": True}})
    put = await client.get(ADDRESSES["v2"], "a", "default")
    assert put["status"] == {"seen": True}
    await client.update(ADDRESSES["v2"], {**put, "spec": {"hostPort": "l:8"}})
    assert await spec_in(client, "v1", "a") == {"host": "l", "port": 8}


async def test_lists_and_their_selectors_are_of_the_version_asked_for(client: Client, author: Author) -> None:
    await define(client, author.conversion())
    for name, port in (("a", 1), ("b", 2)):
        await client.create(ADDRESSES["v1"], address(name, host="h", port=port))
    listed = await client.list(ADDRESSES["v2"], "default")
    assert [item["spec"] for item in listed["items"]] == [{"hostPort": "h:1"}, {"hostPort": "h:2"}]
    chosen = await client.list(ADDRESSES["v2"], "default", field_selector="spec.hostPort=h:2")
    assert [item["metadata"]["name"] for item in chosen["items"]] == ["b"]
    pages = await client.list(ADDRESSES["v2"], "default", limit=1)
    assert [item["spec"] for item in pages["items"]] == [{"hostPort": "h:1"}]
    assert pages["metadata"]["remainingItemCount"] == 1


async def test_a_watch_shows_the_version_asked_for(client: Client, author: Author) -> None:
    await define(client, author.conversion())
    await client.create(ADDRESSES["v1"], address("a", host="h", port=1))
    seen: list[tuple[str, Any]] = []
    started = asyncio.Event()

    async def watch() -> None:
        async for event in client.watch(ADDRESSES["v2"], "default", field_selector="spec.hostPort=h:1"):
            seen.append((event.type, event.object["spec"]))
            started.set()
            if event.type == "DELETED":
                return

    watching = asyncio.create_task(watch())
    async with asyncio.timeout(30):
        await started.wait()
        await client.patch(ADDRESSES["v1"], "a", "default", {"metadata": {"labels": {"x": "y"}}})
        await client.patch(ADDRESSES["v1"], "a", "default", {"spec": {"port": 9}})
        await watching
    assert [kind for kind, _ in seen] == ["ADDED", "MODIFIED", "DELETED"]
    assert {json.dumps(spec) for _, spec in seen} == {'{"hostPort": "h:1"}'}


async def test_field_owners_of_one_version_are_understood_in_another(client: Client, author: Author) -> None:
    await define(client, author.conversion())
    await client.apply(ADDRESSES["v2"], address("a", hostPort="h:1"), field_manager="first")
    with pytest.raises(StatusError) as refused:
        await client.apply(ADDRESSES["v1"], address("a", host="other"), field_manager="second")
    assert refused.value.code == 409
    assert refused.value.message == 'Apply failed with 1 conflict: conflict with "first": .spec.hostPort'
    forced = address("a", host="other", port=3)
    await client.apply(ADDRESSES["v1"], forced, field_manager="second", force=True)
    found = await client.get(ADDRESSES["v2"], "a", "default")
    assert found["spec"] == {"hostPort": "other:3"}
    owners = [(entry["manager"], entry["apiVersion"]) for entry in found["metadata"]["managedFields"]]
    assert owners == [("second", "x.io/v1")]


async def test_after_the_storage_version_changes_both_are_read(client: Client, author: Author) -> None:
    await define(client, author.conversion())
    await client.create(ADDRESSES["v1"], address("old", host="h", port=1))
    await define(client, author.conversion(), storage="v2")
    await client.create(ADDRESSES["v1"], address("new", host="g", port=2))
    crd = await client.get(CUSTOM_RESOURCE_DEFINITIONS, "addresses.x.io")
    assert crd["status"]["storedVersions"] == ["v1", "v2"]
    for version, expected in (("v1", [{"host": "g", "port": 2}, {"host": "h", "port": 1}]),
                              ("v2", [{"hostPort": "g:2"}, {"hostPort": "h:1"}])):  # fmt: skip
        listed = await client.list(ADDRESSES[version], "default")
        assert [item["spec"] for item in listed["items"]] == expected


async def test_only_labels_and_annotations_can_change_on_the_way(client: Client, author: Author) -> None:
    await define(client, author.conversion())
    await client.create(ADDRESSES["v1"], address("a", host="h", port=1))

    def spoil(answer: Object, objects: list[Object]) -> None:
        objects[0]["metadata"] |= {"labels": {"x": "y"}, "finalizers": ["x.io/f"], "generation": 77}

    author.spoil = spoil
    metadata = (await client.get(ADDRESSES["v2"], "a", "default"))["metadata"]
    assert metadata["labels"] == {"x": "y"}
    assert "finalizers" not in metadata
    assert metadata["generation"] == 1


def _set(key: str, value: Any) -> Any:
    return lambda answer, objects: answer["response"].__setitem__(key, value)


def _first(**changes: Any) -> Any:
    return lambda answer, objects: objects[0].update(changes)


def _named(**changes: Any) -> Any:
    return lambda answer, objects: objects[0]["metadata"].update(changes)


PREFIX = "conversion webhook for x.io/v1, Kind=Address "
INVALID = PREFIX + "returned invalid object"
REFUSALS: dict[str, tuple[Any, str]] = {
    "failure": (
        _set("result", {"status": "Failed", "message": "will not do"}),
        PREFIX + "failed: will not do",
    ),
    "failure-without-words": (
        _set("result", {"status": "Failed"}),
        PREFIX + "failed: response.result.status was 'Failed', not 'Success'",
    ),
    "no-result": (_set("result", {}), PREFIX + "failed: response.result.status was '', not 'Success'"),
    "no-response": (lambda answer, _: answer.pop("response"), PREFIX + "failed: no response provided"),
    "none": (_set("convertedObjects", []), PREFIX + "returned 0 objects, expected 1"),
    "text": (
        _set("convertedObjects", ["x"]),
        "json: cannot unmarshal string into Go value of type map[string]interface {}",
    ),
    "same-version": (
        _first(apiVersion="x.io/v1"),
        INVALID + " at index 0: invalid groupVersion (expected x.io/v2, received x.io/v1)",
    ),
    "other-kind": (
        _first(kind="Other"),
        INVALID + " at index 0: invalid kind (expected Address, received Other)",
    ),
    "renamed": (_named(name="other"), INVALID + ": must have the same name: a != other"),
    "moved": (_named(namespace="other"), INVALID + ": must have the same namespace: default != other"),
    "number-as-label": (
        _named(labels={"a": 1}),
        PREFIX
        + "returned invalid metadata: metadata.labels[a] must be a string, but is int64 in converted object",
    ),
    "text-as-labels": (
        _named(labels="x"),
        PREFIX + "returned invalid metadata: invalid metadata.labels of type string in converted object",
    ),
    "not-found": (
        lambda *_: Response(404, {}, b"nothing here"),
        PREFIX + "failed: the server could not find the requested resource",
    ),
    "broken": (
        lambda *_: Response(500, {}, b"oh dear"),
        PREFIX + 'failed: an error on the server ("unknown") has prevented the request from succeeding',
    ),
    "empty": (
        lambda *_: Response(200, {"content-type": "application/json"}, b""),
        PREFIX + "failed: 0-length response with status code: 200 and content type: application/json",
    ),
    "other-review": (
        lambda answer, _: answer.update(kind="AdmissionReview"),
        PREFIX
        + 'failed: no kind "AdmissionReview" is registered for version "apiextensions.k8s.io/v1" in scheme'
        ' "pkg/runtime/scheme.go:111"',
    ),
    "older-review": (
        lambda answer, _: answer.update(apiVersion="apiextensions.k8s.io/v1beta1"),
        PREFIX + "failed: converting (v1beta1.ConversionReview) to (v1.ConversionReview): unknown conversion",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
async def test_what_a_webhook_may_not_answer_is_told_as_a_real_server_does(
    client: Client, author: Author, name: str
) -> None:
    await define(client, author.conversion())
    stored = await client.create(ADDRESSES["v1"], address("a", host="h", port=1))
    revision = stored["metadata"]["resourceVersion"]
    author.spoil, why = REFUSALS[name]
    with pytest.raises(StatusError) as got:
        await client.get(ADDRESSES["v2"], "a", "default")
    assert (got.value.code, got.value.reason) == (500, "InternalError")
    assert got.value.message == CORRUPT.format(revision) + why
    with pytest.raises(StatusError) as patched:
        await client.patch(ADDRESSES["v2"], "a", "default", {"spec": {"hostPort": "x:1"}})
    assert (patched.value.code, patched.value.reason) == (500, "")
    assert patched.value.message == f"object not decodable revision={revision}: {why}"
    with pytest.raises(StatusError) as listed:
        await client.list(ADDRESSES["v2"], "default")
    assert (listed.value.code, listed.value.reason) == (429, "TooManyRequests")
    assert listed.value.message.startswith("storage is (re)initializing: failed to list")
    assert await spec_in(client, "v1", "a") == {"host": "h", "port": 1}  # nothing happened to what is stored


async def test_a_webhook_that_is_not_there_fails_what_needs_it_and_nothing_else(client: Client) -> None:
    service = {"name": "nobody", "namespace": "default", "path": "/convert"}
    webhook = {"conversionReviewVersions": ["v1"], "clientConfig": {"service": service}}
    await define(client, {"strategy": "Webhook", "webhook": webhook})
    await client.create(ADDRESSES["v1"], address("a", host="h", port=1))
    with pytest.raises(StatusError) as refused:
        await client.create(ADDRESSES["v2"], address("b", hostPort="g:2"))
    assert refused.value.code == 500
    assert refused.value.message == (
        "conversion webhook for x.io/v2, Kind=Address failed: Post"
        ' "https://nobody.default.svc:443/convert?timeout=30s": service "nobody" not found'
    )
    assert [
        item["metadata"]["name"] for item in (await client.list(ADDRESSES["v1"], "default"))["items"]
    ] == ["a"]


async def test_a_webhook_that_speaks_only_the_older_review_is_asked_in_it(
    client: Client, author: Author
) -> None:
    await define(client, author.conversion(("v7", "v1beta1")))
    spoken: list[str] = []
    author.spoil = lambda answer, objects: spoken.append(answer["apiVersion"])
    await client.create(ADDRESSES["v2"], address("a", hostPort="h:1"))
    assert set(spoken) == {"apiextensions.k8s.io/v1beta1"}
