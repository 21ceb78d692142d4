"""OpenAPI v3 documents: what kubectl looks for is there, for built-in and custom kinds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slipway.cluster.schema.builtin import load_catalogue, minors
from slipway.cluster.schema.openapi import OpenApi
from slipway.cluster.schema.resource import Catalogue, Resource, Subresource

JsonObject = dict[str, Any]

CRON_TAB = {
    "type": "object",
    "description": "Runs things now and then.",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "schedule": {"type": "string", "description": "When."},
                "template": {"type": "object", "x-kubernetes-embedded-resource": True},
            },
        }
    },
}


def cron_tabs(*, namespaced: bool = True, subresources: tuple[str, ...] = ("status", "scale")) -> Resource:
    return Resource(
        group="stable.example.com",
        version="v1beta1",
        plural="crontabs",
        singular="crontab",
        kind="CronTab",
        namespaced=namespaced,
        verbs=("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"),
        subresources=tuple(
            Subresource(name, "", "", "CronTab", ("get", "patch", "update")) for name in subresources
        ),
        custom=True,
    )


@pytest.fixture
def catalogue() -> Catalogue:
    return load_catalogue()


@pytest.fixture
def schemas() -> dict[str, JsonObject]:
    return {"CronTab": CRON_TAB}


@pytest.fixture
def documents(catalogue: Catalogue, schemas: dict[str, JsonObject]) -> OpenApi:
    return OpenApi(catalogue, lambda resource: schemas.get(resource.kind))


def read(documents: OpenApi, name: str) -> JsonObject:
    document = documents.document(name)
    assert document is not None
    content: JsonObject = json.loads(document.content)
    return content


def index(documents: OpenApi) -> JsonObject:
    paths: JsonObject = json.loads(documents.index().content)["paths"]
    return paths


def operations(document: JsonObject) -> dict[str, JsonObject]:
    """By (method path)."""
    return {
        f"{method} {path}": operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    }


def test_the_index_names_every_group_version_with_the_hash_of_its_document(documents: OpenApi) -> None:
    listed = index(documents)
    assert {"api/v1", "apis/apps/v1", "apis/batch/v1", "version"} <= set(listed)
    document = documents.document("apis/apps/v1")
    assert document is not None
    assert listed["apis/apps/v1"]["serverRelativeURL"] == f"/openapi/v3/apis/apps/v1?hash={document.hash}"
    assert "apis/resource.k8s.io/v1beta1" not in listed
    assert documents.document("apis/resource.k8s.io/v1beta1") is None


def test_kubectl_finds_that_deployments_are_validated_by_the_server(documents: OpenApi) -> None:
    found = [
        operation
        for key, operation in operations(read(documents, "apis/apps/v1")).items()
        if key.startswith("patch ")
        and operation["x-kubernetes-group-version-kind"]
        == {"group": "apps", "kind": "Deployment", "version": "v1"}
    ]
    assert found
    assert all("fieldValidation" in [p["name"] for p in operation["parameters"]] for operation in found)


def test_every_reference_of_every_document_resolves(documents: OpenApi, catalogue: Catalogue) -> None:
    catalogue.add(cron_tabs())
    for name in index(documents):
        document = read(documents, name)
        known = document["components"].get("schemas", {})
        for reference in references(document):
            assert reference.removeprefix("#/components/schemas/") in known, (name, reference)


@pytest.mark.parametrize("minor", minors())
def test_every_minor_has_all_its_documents(minor: str) -> None:
    documents = OpenApi(load_catalogue(minor), lambda _: None, minor)
    for name in index(documents):
        document = read(documents, name)
        assert document["info"]["version"] == f"v{minor}.0"
        assert document["paths"], name


def references(part: Any) -> set[str]:
    if isinstance(part, dict):
        inner = set().union(*(references(value) for value in part.values()))
        return inner | ({part["$ref"]} if isinstance(part.get("$ref"), str) else set())
    if isinstance(part, list):
        return set().union(*(references(value) for value in part))
    return set()


def test_definitions_have_prose_merge_keys_and_defaults(documents: OpenApi) -> None:
    schemas = read(documents, "api/v1")["components"]["schemas"]
    pod_spec = schemas["io.k8s.api.core.v1.PodSpec"]
    assert pod_spec["description"] == "PodSpec is a description of a pod."
    containers = pod_spec["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-list-map-keys"] == ["name"]
    assert containers["description"].startswith("List of containers belonging to the pod.")
    pod = schemas["io.k8s.api.core.v1.Pod"]
    assert pod["properties"]["spec"]["allOf"] == [{"$ref": "#/components/schemas/io.k8s.api.core.v1.PodSpec"}]
    protocol = schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]
    assert protocol["default"] == "TCP"
    assert protocol["enum"] == ["SCTP", "TCP", "UDP"]
    assert "Possible enum values:" in protocol["description"]


def test_no_media_type_is_promised_that_is_not_served(documents: OpenApi) -> None:
    content = documents.document("apis/apps/v1")
    assert content is not None
    assert b"cbor" not in content.content


def test_int_or_string_of_a_custom_kind_says_so(
    documents: OpenApi, catalogue: Catalogue, schemas: dict[str, JsonObject]
) -> None:
    schemas["CronTab"] = {"type": "object", "properties": {"port": {"x-kubernetes-int-or-string": True}}}
    catalogue.add(cron_tabs())
    found = read(documents, "apis/stable.example.com/v1beta1")["components"]["schemas"]
    assert found["com.example.stable.v1beta1.CronTab"]["properties"]["port"] == {
        "x-kubernetes-int-or-string": True,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
    }


def test_a_custom_kind_is_described_with_the_fields_of_every_object(
    documents: OpenApi, catalogue: Catalogue
) -> None:
    catalogue.add(cron_tabs())
    document = read(documents, "apis/stable.example.com/v1beta1")
    schemas = document["components"]["schemas"]
    cron_tab = schemas["com.example.stable.v1beta1.CronTab"]
    assert cron_tab["description"] == "Runs things now and then."
    assert set(cron_tab["properties"]) == {"apiVersion", "kind", "metadata", "spec"}
    assert cron_tab["x-kubernetes-group-version-kind"] == [
        {"group": "stable.example.com", "kind": "CronTab", "version": "v1beta1"}
    ]
    template = cron_tab["properties"]["spec"]["properties"]["template"]
    assert template["required"] == ["kind", "apiVersion"]
    assert set(template["properties"]) == {"apiVersion", "kind", "metadata"}
    listing = schemas["com.example.stable.v1beta1.CronTabList"]
    assert listing["properties"]["items"]["items"] == {
        "$ref": "#/components/schemas/com.example.stable.v1beta1.CronTab"
    }
    assert "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta" in schemas


def test_a_custom_kind_has_the_paths_of_its_scope_and_subresources(
    documents: OpenApi, catalogue: Catalogue
) -> None:
    catalogue.add(cron_tabs(subresources=("status",)))
    root = "/apis/stable.example.com/v1beta1"
    document = read(documents, "apis/stable.example.com/v1beta1")
    item = f"{root}/namespaces/{{namespace}}/crontabs/{{name}}"
    assert set(document["paths"]) == {
        f"{root}/crontabs",
        f"{root}/namespaces/{{namespace}}/crontabs",
        item,
        f"{item}/status",
    }
    patch = document["paths"][item]["patch"]
    assert patch["operationId"] == "patchStableExampleComV1beta1NamespacedCronTab"
    assert patch["tags"] == ["stableExampleCom_v1beta1"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
    assert "fieldValidation" in [parameter["name"] for parameter in patch["parameters"]]
    assert patch["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/com.example.stable.v1beta1.CronTab"
    }
    assert "Deployment" not in json.dumps(document["paths"])


def test_a_cluster_scoped_custom_kind_has_no_namespaced_path(
    documents: OpenApi, catalogue: Catalogue
) -> None:
    catalogue.add(cron_tabs(namespaced=False, subresources=()))
    document = read(documents, "apis/stable.example.com/v1beta1")
    root = "/apis/stable.example.com/v1beta1"
    assert set(document["paths"]) == {f"{root}/crontabs", f"{root}/crontabs/{{name}}"}
    listing = document["paths"][f"{root}/crontabs"]
    assert listing["get"]["operationId"] == "listStableExampleComV1beta1CronTab"
    assert [parameter["name"] for parameter in listing["parameters"]] == ["pretty"]


def test_a_custom_kind_without_schema_accepts_anything(
    documents: OpenApi, catalogue: Catalogue, schemas: dict[str, JsonObject]
) -> None:
    del schemas["CronTab"]
    catalogue.add(cron_tabs())
    cron_tab = read(documents, "apis/stable.example.com/v1beta1")["components"]["schemas"][
        "com.example.stable.v1beta1.CronTab"
    ]
    assert "properties" not in cron_tab


def test_a_changed_schema_changes_only_its_own_document(
    documents: OpenApi, catalogue: Catalogue, schemas: dict[str, JsonObject]
) -> None:
    catalogue.add(cron_tabs())
    name = "apis/stable.example.com/v1beta1"
    before, apps = index(documents), documents.document("apis/apps/v1")
    read(documents, name)
    schemas["CronTab"] = {"type": "object", "properties": {"status": {"type": "object"}}}
    catalogue.add(cron_tabs())
    after = index(documents)
    assert {key for key in before if before[key] != after[key]} == {name}
    assert documents.document("apis/apps/v1") is apps
    properties = read(documents, name)["components"]["schemas"]["com.example.stable.v1beta1.CronTab"][
        "properties"
    ]
    assert "status" in properties
    assert "spec" not in properties


def test_a_removed_custom_kind_is_no_longer_described(documents: OpenApi, catalogue: Catalogue) -> None:
    catalogue.add(cron_tabs())
    assert "apis/stable.example.com/v1beta1" in index(documents)
    catalogue.remove("stable.example.com", "v1beta1", "crontabs")
    assert "apis/stable.example.com/v1beta1" not in index(documents)
    assert documents.document("apis/stable.example.com/v1beta1") is None
