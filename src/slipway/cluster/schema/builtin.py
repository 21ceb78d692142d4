"""The built-in kinds of one Kubernetes minor, read from `data/<minor>/`: what is served, and how it is shaped.

Four files, each decoded when first asked for: `resources` (discovery), `definitions` (shapes), and what only
OpenAPI documents need: `prose` (descriptions) and `paths`. `scripts/kubernetes_kinds.py` writes them.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from slipway.cluster.schema.builtin_shapes import shape_of_definition
from slipway.cluster.schema.resource import Catalogue, Resource, Subresource
from slipway.cluster.schema.shape import Shape

DEFAULT_MINOR = "1.37"
DATA = Path(__file__).parent / "data"
_GZIP = 31  # zlib's window bits for gzip's framing
JsonObject = dict[str, Any]


class UnknownMinor(ValueError):
    """No data is shipped for this minor."""

    def __init__(self, minor: str) -> None:
        self.minor = minor
        super().__init__(f"Kubernetes {minor!r} is not available here; choose one of {', '.join(minors())}")


class UnknownKind(LookupError):
    """Kubernetes of this minor has no such built-in kind."""

    def __init__(self, group: str, version: str, kind: str) -> None:
        self.group, self.version, self.kind = group, version, kind
        api_version = f"{group}/{version}" if group else version
        super().__init__(f"there is no built-in kind {kind!r} in {api_version}")


@cache
def minors() -> tuple[str, ...]:
    """The minors whose data is shipped, newest first."""
    folders = [entry.name for entry in DATA.iterdir() if entry.is_dir() and entry.name[0].isdigit()]
    return tuple(sorted(folders, key=lambda minor: [int(part) for part in minor.split(".")], reverse=True))


def load_catalogue(minor: str = DEFAULT_MINOR, *, also: Collection[str] = ()) -> Catalogue:
    """A new catalogue of what this minor serves by default; `also` names group versions that are off by
    default ("resource.k8s.io/v1beta1")."""
    catalogue = Catalogue()
    for group in _read(minor, "resources")["groups"]:
        for version in group["versions"]:
            if version["default"] or f"{group['name']}/{version['version']}" in also:
                for row in version["resources"]:
                    catalogue.add(_resource(group["name"], version["version"], row))
    return catalogue


def _resource(group: str, version: str, row: JsonObject) -> Resource:
    verbs = tuple(row["verbs"])
    return Resource(
        group=group,
        version=version,
        plural=row["plural"],
        singular=row["singular"],
        kind=row["kind"],
        namespaced=row["namespaced"],
        verbs=verbs,
        short_names=tuple(row.get("shortNames", ())),
        categories=tuple(row.get("categories", ())),
        subresources=tuple(
            Subresource(
                name=sub["name"],
                group=sub["group"] if sub["version"] else group,
                version=sub["version"] or version,
                kind=sub["kind"],
                verbs=tuple(sub["verbs"]),
            )
            for sub in row.get("subresources", ())
        ),
        stored="create" in verbs and "get" in verbs,
    )


@cache
def shape_of(group: str, version: str, kind: str, minor: str = DEFAULT_MINOR) -> Shape:
    """The shape of one built-in kind, including lists, options and reviews. Raises UnknownKind."""
    return shape_of_definition(definitions(minor), definition_of(group, version, kind, minor))


def definition_of(group: str, version: str, kind: str, minor: str = DEFAULT_MINOR) -> str:
    """`io.k8s.api.apps.v1.Deployment`: the name under which the kind is published. Raises UnknownKind."""
    name = _definitions_by_kind(minor).get((group, version, kind))
    if name is None:
        raise UnknownKind(group, version, kind)
    return name


@cache
def definitions(minor: str = DEFAULT_MINOR) -> JsonObject:
    """Every published definition by name, without prose; a reference is `{"ref": name}`. Do not change it."""
    found: JsonObject = _read(minor, "definitions")
    return found


@cache
def prose(minor: str = DEFAULT_MINOR) -> dict[str, dict[str, str]]:
    """Descriptions: definition -> field (or "" for the definition itself) -> text."""
    found: dict[str, dict[str, str]] = _read(minor, "prose")
    return found


@cache
def paths(minor: str = DEFAULT_MINOR) -> JsonObject:
    """Published paths: `documents` (name -> path -> method -> operation) and the tables that they point into:
    `parameters` and `mediaTypes`."""
    found: JsonObject = _read(minor, "paths")
    return found


@cache
def messages(minor: str = DEFAULT_MINOR) -> JsonObject:
    """Protobuf: `packages` (group version -> package) and `messages` (name -> field number -> [JSON name, type,
    flags]); `scripts/kubernetes_messages.py` says what the flags mean."""
    found: JsonObject = _read(minor, "messages")
    return found


@cache
def fingerprint(minor: str = DEFAULT_MINOR) -> str:
    """Changes when the published definitions or paths do."""
    data = b"".join((DATA / minor / f"{name}.json.gz").read_bytes() for name in ("definitions", "paths"))
    return f"{minor}-{zlib.crc32(data):08x}"


def deprecation_of(resource: Resource) -> str:
    """The warning with which every request for a deprecated built-in resource is answered, or ""."""
    return _deprecations().get(f"{resource.api_version}/{resource.plural}", "")


@cache
def _deprecations() -> dict[str, str]:
    warnings: dict[str, str] = orjson.loads((DATA / "deprecations.json").read_bytes())["warnings"]
    return warnings


@cache
def _definitions_by_kind(minor: str) -> dict[tuple[str, str, str], str]:
    return {
        (kind["group"], kind["version"], kind["kind"]): name
        for name, definition in definitions(minor).items()
        for kind in definition.get("x-kubernetes-group-version-kind", ())
    }


def _read(minor: str, name: str) -> Any:
    if minor not in minors():
        raise UnknownMinor(minor)
    packed = (DATA / minor / f"{name}.json.gz").read_bytes()
    return orjson.loads(zlib.decompress(packed, _GZIP))
