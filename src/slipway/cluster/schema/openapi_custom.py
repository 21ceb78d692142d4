"""Custom resources in OpenAPI v3: their definitions, and paths cut to the pattern of a built-in kind's.

Behaviour follows k8s.io/apiextensions-apiserver `pkg/controller/openapi/builder` at 1.37.
"""

from __future__ import annotations

from typing import Any

from slipway.cluster.schema import builtin
from slipway.cluster.schema.openapi_expansion import expanded_paths, expanded_schema
from slipway.cluster.schema.resource import Resource

JsonObject = dict[str, Any]

_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_CONVENTIONS = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
_METADATA = f"Standard object's metadata. More info: {_CONVENTIONS}#metadata"
_LIST_METADATA = f"Standard list metadata. More info: {_CONVENTIONS}#types-kinds"
_PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
_ANSWERS = ("application/json", "application/yaml")

# A namespaced built-in kind with status and scale: the pattern.
_PATTERN_DOCUMENT = "apis/apps/v1"
_PATTERN_PATHS = "/apis/apps/v1"
_PATTERN_PLURAL = "deployments"
_PATTERN_LISTING = "/apis/apps/v1/namespaces/{namespace}/deployments"
_PATTERN_KIND = "Deployment"
_EMBEDDED = {
    "apiVersion": "apiVersion defines the versioned schema of this representation of an object. More info:"
    f" {_CONVENTIONS}#resources",
    "kind": "kind is a string value representing the type of this object. In CamelCase. More info:"
    f" {_CONVENTIONS}#types-kinds",
}
_PATTERN_DEFINITION = "#/components/schemas/io.k8s.api.apps.v1.Deployment"


def definition_name(resource: Resource, kind: str = "") -> str:
    """`io.example.stable.v1.CronTab` for CronTab of stable.example.io/v1."""
    return ".".join([*reversed(resource.group.split(".")), resource.version, kind or resource.kind])


def custom_definitions(resource: Resource, schema: JsonObject | None, minor: str) -> JsonObject:
    """The definitions of a custom kind and of its list."""
    return {
        definition_name(resource): _object(resource, schema, minor),
        definition_name(resource, resource.list_kind): _list(resource, minor),
    }


def _object(resource: Resource, schema: JsonObject | None, minor: str) -> JsonObject:
    if schema is None:
        definition: JsonObject = {"type": "object"}
    else:
        definition = _published(schema)
        definition["properties"] = {
            **definition.get("properties", {}),
            **_type_meta(minor),
            "metadata": _reference(_META + "ObjectMeta", _METADATA),
        }
    definition["x-kubernetes-group-version-kind"] = [_kind(resource, resource.kind)]
    return definition


def _published(schema: JsonObject) -> JsonObject:
    """A copy in which embedded resources have the fields that every object has, and int-or-string says so."""
    copy = dict(schema)
    if isinstance(schema.get("properties"), dict):
        copy["properties"] = {name: _published(part) for name, part in schema["properties"].items()}
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            copy[key] = _published(schema[key])
    if schema.get("x-kubernetes-int-or-string") and "allOf" not in schema:
        copy.setdefault("anyOf", [{"type": "integer"}, {"type": "string"}])
    if schema.get("x-kubernetes-embedded-resource"):
        copy["properties"] = {
            **copy.get("properties", {}),
            **{name: {"description": text, "type": "string"} for name, text in _EMBEDDED.items()},
            "metadata": _reference(_META + "ObjectMeta", _METADATA),
        }
        copy["required"] = list(dict.fromkeys([*schema.get("required", ()), "kind", "apiVersion"]))
    return copy


def _list(resource: Resource, minor: str) -> JsonObject:
    return {
        "description": f"{resource.list_kind} is a list of {resource.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            **_type_meta(minor),
            "items": {
                "description": f"List of {resource.plural}. More info: {_CONVENTIONS}",
                "type": "array",
                "items": {"$ref": f"#/components/schemas/{definition_name(resource)}"},
            },
            "metadata": _reference(_META + "ListMeta", _LIST_METADATA),
        },
        "x-kubernetes-group-version-kind": [_kind(resource, resource.list_kind)],
    }


def _type_meta(minor: str) -> JsonObject:
    texts = builtin.prose(minor)["io.k8s.api.core.v1.Pod"]
    return {name: {"description": texts[name], "type": "string"} for name in ("apiVersion", "kind")}


def _reference(name: str, description: str) -> JsonObject:
    return expanded_schema({"ref": name}, description)


def _kind(resource: Resource, kind: str) -> JsonObject:
    return {"group": resource.group, "kind": kind, "version": resource.version}


def custom_paths(resource: Resource, minor: str) -> JsonObject:
    """Every path of a custom resource."""
    pattern = expanded_paths(minor, _PATTERN_DOCUMENT)
    listing = pattern[_PATTERN_LISTING]["get"]["parameters"]
    version = [parameter for parameter in listing if parameter["name"] == "resourceVersion"]
    found: JsonObject = {}
    for path, item in pattern.items():
        ours = _path(path, resource)
        if ours is not None:
            found[ours] = _item(item, resource, version)
    return found


def _path(path: str, resource: Resource) -> str | None:
    """Our path for one of the pattern's, None when it is another kind's, or a subresource that we lack."""
    scope = "/namespaces/{namespace}/"
    root, plural, rest = path.partition(f"/{_PATTERN_PLURAL}")
    if not plural or not (root == _PATTERN_PATHS or root + "/" == _PATTERN_PATHS + scope):
        return None
    if not resource.namespaced and root == _PATTERN_PATHS:
        return None  # the listing of all namespaces; the namespaced path becomes the only one
    subresource = rest.removeprefix("/{name}").lstrip("/")
    if subresource and resource.subresource(subresource) is None:
        return None
    inside = scope if resource.namespaced and root != _PATTERN_PATHS else "/"
    return f"/apis/{resource.group}/{resource.version}{inside}{resource.plural}{rest}"


def _item(item: JsonObject, resource: Resource, version: list[JsonObject]) -> JsonObject:
    """All operations of a path. Where they differ from a built-in kind's: reads take a resourceVersion, deleting
    many takes what listing takes, and a patch never says that it created."""
    ours: JsonObject = {
        method: _parameters(part, resource) if method == "parameters" else _operation(part, method, resource)
        for method, part in item.items()
    }
    if "patch" in ours:
        ours["patch"]["responses"].pop("201", None)
        ours["get"]["parameters"] = version
    elif "delete" in ours:
        ours["delete"]["parameters"] = ours["get"]["parameters"]
        ours["delete"].pop("requestBody", None)
    if not ours.get("patch"):
        ours["get"]["description"] = f"list objects of kind {resource.kind}"
    return ours


def _parameters(parameters: list[JsonObject], resource: Resource) -> list[JsonObject]:
    return [
        {**parameter, "description": f"name of the {resource.kind}"}
        if parameter["name"] == "name"
        else parameter
        for parameter in parameters
        if resource.namespaced or parameter["name"] != "namespace"
    ]


def _operation(operation: JsonObject, method: str, resource: Resource) -> JsonObject:
    title = _title(resource.group)
    identifier = operation["operationId"].replace(_PATTERN_KIND, resource.kind, 1)
    identifier = identifier.replace("AppsV1", title + resource.version.capitalize(), 1)
    ours = {
        **operation,
        "operationId": identifier if resource.namespaced else identifier.replace("Namespaced", "", 1),
        "description": operation["description"].replace(_PATTERN_KIND, resource.kind),
        "tags": [f"{title[:1].lower()}{title[1:]}_{resource.version}"],
        "responses": {
            code: _content(answer, _ANSWERS, resource) for code, answer in operation["responses"].items()
        },
    }
    ours["x-kubernetes-group-version-kind"] = _kind(resource, resource.kind)
    if "requestBody" in operation:
        types = _PATCHES if method == "patch" else _ANSWERS
        ours["requestBody"] = _content(operation["requestBody"], types, resource)
    return ours


def _content(part: JsonObject, types: tuple[str, ...], resource: Resource) -> JsonObject:
    if "content" not in part:
        return part
    (content, *_) = part["content"].values()
    reference = content["schema"].get("$ref", "")
    if reference.startswith(_PATTERN_DEFINITION):
        kind = resource.kind + reference.removeprefix(_PATTERN_DEFINITION)
        content = {"schema": {"$ref": f"#/components/schemas/{definition_name(resource, kind)}"}}
    return {**part, "content": dict.fromkeys(types, content)}


def _title(group: str) -> str:
    """`stable.example.com` -> `StableExampleCom`, as operation ids name a group."""
    parts = group.removesuffix(".k8s.io").split(".")
    return "".join(part[:1].upper() + part[1:] for part in parts)
