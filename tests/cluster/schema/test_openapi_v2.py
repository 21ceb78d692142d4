"""OpenAPI v2: what it can say is said, in JSON and in the protobuf that kubectl asks for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from slipway.cluster.schema.builtin import load_catalogue
from slipway.cluster.schema.openapi import OpenApi
from slipway.cluster.schema.openapi_v2 import swagger
from slipway.cluster.schema.openapi_v2_protobuf import encode
from slipway.cluster.schema.protobuf_wire import fields_of, text
from slipway.cluster.schema.resource import Resource

JsonObject = dict[str, Any]


@pytest.fixture(scope="module")
def documents() -> OpenApi:
    return OpenApi(load_catalogue(), lambda _: None)


@pytest.fixture(scope="module")
def document(documents: OpenApi) -> JsonObject:
    content: JsonObject = json.loads(documents.v2().content)
    return content


def of_custom(schema: JsonObject) -> JsonObject:
    """The v2 definition of a custom kind with that schema."""
    catalogue = load_catalogue()
    catalogue.add(Resource("x.io", "v1", "things", "thing", "Thing", True, (), custom=True))
    content = json.loads(OpenApi(catalogue, lambda _: schema).v2().content)
    definition: JsonObject = content["definitions"]["io.x.v1.Thing"]
    return definition


def test_references_point_at_definitions_and_keep_their_texts(document: JsonObject) -> None:
    spec = document["definitions"]["io.k8s.api.apps.v1.Deployment"]["properties"]["spec"]
    assert spec == {
        "description": "Specification of the desired behavior of the Deployment.",
        "$ref": "#/definitions/io.k8s.api.apps.v1.DeploymentSpec",
    }
    containers = document["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["items"] == {"$ref": "#/definitions/io.k8s.api.core.v1.Container"}


def test_types_of_several_forms_are_strings(document: JsonObject) -> None:
    definitions = document["definitions"]
    quantity = definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"]
    assert quantity["type"] == "string"
    int_or_string = definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"]
    assert (int_or_string["type"], int_or_string["format"]) == ("string", "int-or-string")
    assert "default" not in definitions["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]


def test_operations_say_what_they_consume_and_produce(document: JsonObject) -> None:
    item = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]
    patch = item["patch"]
    assert "application/strategic-merge-patch+json" in patch["consumes"]
    assert patch["produces"] == [
        *("application/json", "application/vnd.kubernetes.protobuf", "application/yaml")
    ]
    names = [document["parameters"][part["$ref"].rpartition("/")[2]]["name"] for part in patch["parameters"]]
    assert {"body", "fieldManager", "fieldValidation", "force", "dryRun"} == set(names)
    assert patch["responses"]["200"]["schema"] == {"$ref": "#/definitions/io.k8s.api.apps.v1.Deployment"}


def test_every_reference_resolves(document: JsonObject) -> None:
    def check(part: Any) -> None:
        if isinstance(part, dict):
            if isinstance(part.get("$ref"), str):
                _, section, name = part["$ref"].split("/", 2)
                assert name in document[section], part["$ref"]
            for value in part.values():
                check(value)
        elif isinstance(part, list):
            for value in part:
                check(value)

    check(document)


def test_what_v2_cannot_say_of_a_custom_kind_is_left_out() -> None:
    spec = {
        "type": "object",
        "required": ["must", "nothing"],
        "properties": {
            "must": {"type": "string", "default": "x"},
            "nothing": {"type": "object", "nullable": True, "properties": {"a": {"type": "string"}}},
            "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": {}},
            "either": {
                "x-kubernetes-int-or-string": True,
                "anyOf": [{"type": "integer"}, {"type": "string"}],
            },
            "list": {"type": "array", "nullable": True, "items": {"type": "string"}},
        },
    }
    found = of_custom({"type": "object", "properties": {"spec": spec}})["properties"]["spec"]
    assert found["required"] == ["must"]
    assert found["properties"] == {
        "must": {"type": "string"},
        "nothing": {},
        "open": {"x-kubernetes-preserve-unknown-fields": True},
        "either": {"x-kubernetes-int-or-string": True},
        "list": {},
    }


def test_a_custom_kind_that_keeps_everything_is_an_object_of_any_form() -> None:
    found = of_custom({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    assert set(found) == {"type", "x-kubernetes-group-version-kind"}


def test_both_forms_are_made_once(documents: OpenApi) -> None:
    assert documents.v2() is documents.v2()
    assert documents.v2(protobuf=True) is documents.v2(protobuf=True)
    assert documents.v2().hash == documents.v2(protobuf=True).hash


def message(body: bytes, span: tuple[int, int]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for number, _, value, _ in fields_of(body, *span):
        found.setdefault(number, []).append(value)
    return found


def entries(body: bytes, span: tuple[int, int], number: int) -> dict[str, tuple[int, int]]:
    """name -> where its value is, in a message that is a map."""
    pairs = (message(body, pair) for pair in message(body, span)[number])
    return {text(body, *pair[1][0]): pair[2][0] for pair in pairs}


def test_the_protobuf_form_has_every_path_and_definition(documents: OpenApi, document: JsonObject) -> None:
    body = documents.v2(protobuf=True).content
    whole = message(body, (0, len(body)))
    assert text(body, *whole[1][0]) == "2.0"
    assert set(entries(body, whole[8][0], 2)) == set(document["paths"])
    definitions = entries(body, whole[9][0], 1)
    assert set(definitions) == set(document["definitions"])
    container = message(body, definitions["io.k8s.api.core.v1.Container"])
    properties = entries(body, container[25][0], 1)
    assert set(properties) == set(document["definitions"]["io.k8s.api.core.v1.Container"]["properties"])
    ports = message(body, properties["ports"])
    extensions = entries(body, properties["ports"], 31)
    keys = message(body, extensions["x-kubernetes-list-map-keys"])
    assert json.loads(text(body, *keys[2][0])) == ["containerPort", "protocol"]
    assert text(body, *message(body, ports[22][0])[1][0]) == "array"


def test_numbers_and_switches_of_schemas_are_encoded() -> None:
    schema = {"type": "integer", "minimum": 1, "exclusiveMinimum": True, "maxLength": 7, "multipleOf": 2.5}
    body = encode(swagger({"paths": {}, "schemas": {"N": schema}}, "v1"))
    found = message(body, entries(body, message(body, (0, len(body)))[9][0], 1)["N"])
    assert found[10] == [1]
    assert found[11] == [7]
    assert {6, 9, 22} <= set(found)


def test_what_json_allows_and_others_do_not_is_published_all_the_same() -> None:
    odd = {
        "type": "object",
        "properties": {"n": {"type": "integer", "maximum": 2**70, "description": "half \ud800"}},
    }
    catalogue = load_catalogue()
    catalogue.add(Resource("x.io", "v1", "things", "thing", "Thing", True, (), custom=True))
    documents = OpenApi(catalogue, lambda _: odd)
    document = documents.document("apis/x.io/v1")
    assert document is not None
    number = json.loads(document.content)["components"]["schemas"]["io.x.v1.Thing"]["properties"]["n"]
    assert number == odd["properties"]["n"]  # type: ignore[index]
    assert json.loads(documents.v2().content)["definitions"]["io.x.v1.Thing"]
    assert documents.v2(protobuf=True).content
