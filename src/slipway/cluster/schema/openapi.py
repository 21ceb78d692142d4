"""OpenAPI documents: for v3 an index and one document a group version, for v2 one; made when first asked for.

What Kubernetes publishes for its own kinds is data (`builtin.paths`, `definitions`, `prose`); custom resources
are added by `openapi_custom`. kubectl reads these for `explain`, to learn that the server validates fields, and
for the merge keys of client-side apply.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from slipway.cluster.schema import builtin
from slipway.cluster.schema.openapi_custom import custom_definitions, custom_paths
from slipway.cluster.schema.openapi_expansion import expanded_paths, published_definitions
from slipway.cluster.schema.openapi_v2 import swagger
from slipway.cluster.schema.openapi_v2_protobuf import encode
from slipway.cluster.schema.resource import Catalogue, Resource

JsonObject = dict[str, Any]
SchemaOfCustom = Callable[[Resource], JsonObject | None]

_V2, _V2_PROTOBUF = "v2 json", "v2 protobuf"  # their names among the documents
# Published beside the group versions, and kept whatever is served.
_GENERAL = ("api", "apis", "version", "openid/v1/jwks", ".well-known/openid-configuration")


_CUSTOM_INFO = {"title": "Kubernetes CRD Swagger", "version": "v0.1.0"}
_SECURITY = {
    "securitySchemes": {
        "BearerToken": {
            "type": "apiKey",
            "description": "Bearer Token authentication",
            "name": "authorization",
            "in": "header",
        }
    }
}


@dataclass(frozen=True, slots=True)
class Document:
    """One document as it goes over the wire, and the hash that names this state of it."""

    content: bytes
    hash: str


class OpenApi:
    """Documents of what a catalogue serves; each is made once for each generation of the catalogue.

    `schema_of_custom` gives the `openAPIV3Schema` of a custom resource (None: it has none). A CRD whose schema
    changes must be added to the catalogue anew, so that its generation grows.
    """

    def __init__(
        self, catalogue: Catalogue, schema_of_custom: SchemaOfCustom, minor: str = builtin.DEFAULT_MINOR
    ) -> None:
        self._catalogue = catalogue
        self._schema_of_custom = schema_of_custom
        self._minor = minor
        self._generation = -1
        self._made: dict[str, Document] = {}
        self._hashes: dict[str, str] = {}

    def index(self) -> Document:
        """The answer to `/openapi/v3`: every document's address."""
        self._forget_when_changed()
        if "" not in self._made:
            addresses = {
                name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={self._hash(name)}"}
                for name in self._names()
            }
            content = _json({"paths": addresses})
            self._made[""] = Document(content, _digest(content))
        return self._made[""]

    def document(self, name: str) -> Document | None:
        """The answer to `/openapi/v3/{name}`: `api/v1`, `apis/apps/v1`, `version`, …; None when unknown."""
        self._forget_when_changed()
        if name in self._made and name:
            return self._made[name]
        if name not in self._names():
            return None
        self._made[name] = Document(_json(self._content(name)), self._hash(name))
        return self._made[name]

    def v2(self, *, protobuf: bool = False) -> Document:
        """The answer to `/openapi/v2`, in JSON or in protobuf."""
        self._forget_when_changed()
        name = _V2_PROTOBUF if protobuf else _V2
        if name not in self._made:
            document = swagger(self._everything(), f"v{self._minor}.0")
            self._made[name] = Document(encode(document) if protobuf else _json(document), self._hash(name))
        return self._made[name]

    def _everything(self) -> JsonObject:
        """All documents as one."""
        whole: JsonObject = {"paths": {}, "schemas": {}}
        for name in self._names():
            content = self._content(name)
            whole["paths"].update(content["paths"])
            whole["schemas"].update(content["components"].get("schemas", {}))
        return whole

    def _forget_when_changed(self) -> None:
        """Only what a change touched is made again: a document whose hash stayed is kept."""
        if self._generation == self._catalogue.generation:
            return
        self._generation = self._catalogue.generation
        self._hashes = {}
        self._made = {
            name: made
            for name, made in self._made.items()
            if name and name in {*self._names(), _V2, _V2_PROTOBUF} and self._hash(name) == made.hash
        }

    def _names(self) -> list[str]:
        published = builtin.paths(self._minor)["documents"]
        names = dict.fromkeys(name for name in _GENERAL if name in published)
        for group, versions in self._catalogue.version_order.items():
            if f"apis/{group}" in published:
                names[f"apis/{group}"] = None
            names.update(dict.fromkeys(_name(group, version) for version in versions))
        return sorted(names)

    def _custom(self, name: str) -> list[Resource]:
        return [
            resource
            for resource in self._catalogue.resources.values()
            if resource.custom and _name(resource.group, resource.version) == name
        ]

    def _hash(self, name: str) -> str:
        """Known without making the document: the index needs them all."""
        if name in (_V2, _V2_PROTOBUF):
            return _digest("".join(self._hash(part) for part in self._names()).encode())
        if name not in self._hashes:
            custom = [(repr(resource), self._schema_of_custom(resource)) for resource in self._custom(name)]
            self._hashes[name] = _digest(
                f"{builtin.fingerprint(self._minor)} {name}".encode() + _json(custom)
            )
        return self._hashes[name]

    def _content(self, name: str) -> JsonObject:
        paths = expanded_paths(self._minor, name)
        published = bool(paths)
        definitions: JsonObject = {}
        for resource in self._custom(name):
            schema = self._schema_of_custom(resource)
            paths.update(custom_paths(resource, self._minor))
            definitions.update(custom_definitions(resource, schema, self._minor))
        wanted = [*_references(paths.values()), *_references(definitions.values())]
        known = published_definitions(self._minor, wanted)
        if published:
            _keep_own_kinds(known, name)
        schemas = dict(sorted({**known, **definitions}.items()))
        components = {**({"schemas": schemas} if schemas else {}), **(_SECURITY if published else {})}
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": f"v{self._minor}.0"} if published else _CUSTOM_INFO,
            "paths": dict(sorted(paths.items())),
            "components": components,
        }


def _name(group: str, version: str) -> str:
    return f"apis/{group}/{version}" if group else f"api/{version}"


def _keep_own_kinds(schemas: JsonObject, name: str) -> None:
    """DeleteOptions are a kind of every group version; a document names its own and v1's."""
    for schema in schemas.values():
        kinds = schema.get("x-kubernetes-group-version-kind", [])
        if len(kinds) > 1:
            schema["x-kubernetes-group-version-kind"] = [
                kind for kind in kinds if _name(kind["group"], kind["version"]) in ("api/v1", name)
            ]


def _references(parts: Iterable[Any]) -> set[str]:
    """The definitions that a piece of a document names."""
    found: set[str] = set()
    waiting = list(parts)
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            reference = part.get("$ref")
            if isinstance(reference, str):
                found.add(reference.rpartition("/")[2])
            waiting.extend(part.values())
        elif isinstance(part, list):
            waiting.extend(part)
    return found


def _json(content: Any) -> bytes:
    """A CRD may hold what orjson refuses: numbers of more than 64 bits, halves of surrogate pairs."""
    try:
        return orjson.dumps(content)
    except orjson.JSONEncodeError:
        return json.dumps(content, separators=(",", ":")).encode()


def _digest(content: bytes) -> str:
    return hashlib.sha512(content).hexdigest().upper()
