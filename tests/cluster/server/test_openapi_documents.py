"""The paths under /openapi: what may be kept, what leads elsewhere, what is unknown."""

from __future__ import annotations

import json

import pytest

from slipway.cluster.clock import Clock
from slipway.cluster.exchange import Identity, Request, Response
from slipway.cluster.schema.builtin import load_catalogue
from slipway.cluster.schema.openapi import OpenApi
from slipway.cluster.server.openapi import OpenApiDocuments

ANYBODY = Identity("anybody")
NEW_YEAR_2026 = 1_767_225_600


@pytest.fixture
def documents() -> OpenApiDocuments:
    return OpenApiDocuments(OpenApi(load_catalogue(), lambda _: None), Clock(lambda: NEW_YEAR_2026))


async def get(documents: OpenApiDocuments, address: str, **headers: str) -> Response:
    path, _, query = address.partition("?")
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await documents(Request("GET", path, query, names), ANYBODY)
    assert answer is not None
    return answer


async def address_of(documents: OpenApiDocuments, name: str) -> str:
    index = await get(documents, "/openapi/v3")
    assert isinstance(index.body, bytes)
    return str(json.loads(index.body)["paths"][name]["serverRelativeURL"])


async def test_an_address_with_the_right_hash_may_be_kept_for_a_year(documents: OpenApiDocuments) -> None:
    answer = await get(documents, await address_of(documents, "apis/apps/v1"))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "public, immutable"
    assert answer.headers["expires"] == "Fri, 01 Jan 2027 00:00:00 UTC"


async def test_an_address_without_hash_must_be_asked_again(documents: OpenApiDocuments) -> None:
    answer = await get(documents, "/openapi/v3/apis/apps/v1")
    assert answer.headers["cache-control"] == "no-cache, private"
    again = await get(documents, "/openapi/v3/apis/apps/v1", if_none_match=answer.headers["etag"])
    assert (again.status, again.body) == (304, b"")


async def test_an_old_hash_leads_to_the_new_one(documents: OpenApiDocuments) -> None:
    answer = await get(documents, "/openapi/v3/apis/apps/v1?hash=OLD")
    assert answer.status == 301
    assert answer.headers["location"] == await address_of(documents, "apis/apps/v1")


async def test_v2_comes_in_the_form_that_is_asked_for(documents: OpenApiDocuments) -> None:
    plain = await get(documents, "/openapi/v2")
    assert plain.headers["content-type"] == "application/json"
    kubectl = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    encoded = await get(documents, "/openapi/v2", accept=kubectl)
    assert encoded.headers["content-type"] == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    assert encoded.body != plain.body
    assert (await get(documents, "/openapi/v2", accept="text/html")).status == 406


async def test_an_unknown_document_is_not_found(documents: OpenApiDocuments) -> None:
    assert (await get(documents, "/openapi/v3/apis/nope/v1")).status == 404
    assert await documents(Request("GET", "/openapi/v9"), ANYBODY) is None
