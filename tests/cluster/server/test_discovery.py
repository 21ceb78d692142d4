"""Discovery documents, old and aggregated, as clients ask for them."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from slipway.cluster.exchange import Identity, Request, Response
from slipway.cluster.schema.builtin import load_catalogue
from slipway.cluster.schema.resource import Catalogue, Resource, Subresource
from slipway.cluster.server.discovery import Discovery
from slipway.cluster.status import StatusError

KUBECTL = (
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,"
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
)
NEWER = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;profile=nopeer," + KUBECTL
ANYONE = Identity("anyone")


@pytest.fixture
def catalogue() -> Catalogue:
    return load_catalogue("1.37")


@pytest.fixture
def discovery(catalogue: Catalogue) -> Discovery:
    return Discovery(catalogue, "1.37", lambda: "127.0.0.1:6443")


async def _get(discovery: Discovery, path: str, **headers: str) -> Response:
    request = Request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = await discovery(request, ANYONE)
    assert answer is not None
    return answer


async def _document(discovery: Discovery, path: str, **headers: str) -> Any:
    answer = await _get(discovery, path, **headers)
    assert isinstance(answer.body, bytes)
    return json.loads(answer.body)


async def test_the_version_is_the_minor_that_is_followed(discovery: Discovery) -> None:
    version = await _document(discovery, "/version")
    assert (version["major"], version["minor"], version["gitVersion"]) == ("1", "37", "v1.37.0")


async def test_old_clients_walk_from_groups_to_resources(discovery: Discovery) -> None:
    assert (await _document(discovery, "/api"))["versions"] == ["v1"]
    groups = await _document(discovery, "/apis")
    names = [group["name"] for group in groups["groups"]]
    assert names[:3] == ["apiregistration.k8s.io", "apps", "events.k8s.io"]
    autoscaling = await _document(discovery, "/apis/autoscaling")
    assert autoscaling["preferredVersion"] == {"groupVersion": "autoscaling/v2", "version": "v2"}
    resources = (await _document(discovery, "/apis/apps/v1"))["resources"]
    rows = {row["name"]: row for row in resources}
    assert rows["deployments"]["shortNames"] == ["deploy"]
    assert rows["deployments"]["categories"] == ["all"]
    assert rows["deployments"]["storageVersionHash"] == "8aSe+NMegvE="
    assert rows["deployments/scale"] == {
        "name": "deployments/scale",
        "singularName": "",
        "namespaced": True,
        "group": "autoscaling",
        "version": "v1",
        "kind": "Scale",
        "verbs": ["get", "patch", "update"],
    }


@pytest.mark.parametrize("accept", [KUBECTL, NEWER])
async def test_kubectl_gets_all_in_two_documents_with_its_own_content_type(
    discovery: Discovery, accept: str
) -> None:
    answer = await _get(discovery, "/apis", accept=accept)
    assert (
        answer.headers["content-type"]
        == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    )
    document = await _document(discovery, "/apis", accept=accept)
    assert (document["kind"], document["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    apps = next(item for item in document["items"] if item["metadata"] == {"name": "apps"})
    (version,) = apps["versions"]
    assert (version["version"], version["freshness"]) == ("v1", "Current")
    deployments = next(row for row in version["resources"] if row["resource"] == "deployments")
    assert deployments["scope"] == "Namespaced"
    assert deployments["responseKind"] == {"group": "", "version": "", "kind": "Deployment"}
    assert [sub["responseKind"] for sub in deployments["subresources"]] == [
        {"group": "autoscaling", "version": "v1", "kind": "Scale"},
        {"group": "", "version": "", "kind": "Deployment"},
    ]
    core = await _document(discovery, "/api", accept=accept)
    assert core["items"][0]["metadata"] == {}


async def test_v2beta1_is_answered_as_such(discovery: Discovery) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
    answer = await _get(discovery, "/api", accept=accept)
    assert ";v=v2beta1;" in answer.headers["content-type"]


async def test_a_client_that_has_the_document_is_told_so_until_a_kind_is_added(
    discovery: Discovery, catalogue: Catalogue
) -> None:
    first = await _get(discovery, "/apis", accept=KUBECTL)
    etag = first.headers["etag"]
    assert (await _get(discovery, "/apis", accept=KUBECTL, if_none_match=etag)).status == 304
    status = Subresource("status", "z.example.com", "v1", "Thing", ("get",))
    catalogue.add(
        Resource(
            "z.example.com",
            "v1",
            "things",
            "thing",
            "Thing",
            True,
            ("get",),
            subresources=(status,),
            custom=True,
        )
    )
    catalogue.add(Resource("b.example.com", "v1", "others", "other", "Other", False, ("get",), custom=True))
    again = await _get(discovery, "/apis", accept=KUBECTL, if_none_match=etag)
    assert again.status == 200
    assert again.headers["etag"] != etag
    groups = (await _document(discovery, "/apis"))["groups"]
    assert [group["name"] for group in groups][-2:] == ["b.example.com", "z.example.com"]
    assert (await _document(discovery, "/apis/z.example.com/v1"))["resources"][1]["name"] == "things/status"


async def test_documents_come_in_yaml_and_indented_for_those_who_ask(discovery: Discovery) -> None:
    answer = await _get(discovery, "/api/v1", accept="application/yaml")
    assert answer.headers["content-type"] == "application/yaml"
    assert isinstance(answer.body, bytes)
    assert yaml.safe_load(answer.body)["kind"] == "APIResourceList"
    pretty = await _get(discovery, "/api", accept="*/*", user_agent="curl/8")
    assert isinstance(pretty.body, bytes)
    assert pretty.body.startswith(b'{\n  "kind"')


async def test_what_is_not_served_is_not_found(discovery: Discovery) -> None:
    assert await discovery(Request("GET", "/apis/nope.io"), ANYONE) is None
    for path in ("/api/v9", "/apis/apps/v9"):
        with pytest.raises(StatusError) as caught:
            await discovery(Request("GET", path), ANYONE)
        assert caught.value.code == 404
