"""What the client can read (Accept), as the API server understands it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from slipway.cluster.status import StatusError, not_acceptable

Form = Literal["object", "table", "partial"]
ACCEPTED = "application/json, application/yaml, application/vnd.kubernetes.protobuf"


@dataclass(frozen=True, slots=True)
class MediaType:
    """One element of an Accept header, `q` aside."""

    name: str
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Representation:
    """How an answer is written. `version` is meta.k8s.io's, for tables and partial metadata."""

    form: Form = "object"
    yaml: bool = False
    version: str = "v1"
    pretty: bool = False


PLAIN = Representation()


def parse_accept(header: str) -> list[MediaType]:
    """The media types in the order of preference that clients state by order."""
    found = []
    for element in header.split(","):
        name, *rest = (part.strip() for part in element.split(";"))
        if not name:
            continue
        parameters = {}
        for part in rest:
            key, _, value = part.partition("=")
            parameters[key.strip().lower()] = value.strip().strip('"')
        found.append(MediaType(name.lower(), parameters))
    return found


def _representation(media: MediaType) -> Representation | None:
    pretty = media.parameters.get("pretty") == "1"
    if media.name in {"*/*", "application/*"}:
        return Representation(pretty=pretty)
    if media.name not in {"application/json", "application/yaml"}:
        return None
    yaml = media.name == "application/yaml"
    wanted = media.parameters.get("as", "")
    if not wanted:
        return Representation(yaml=yaml, pretty=pretty)
    version, group = media.parameters.get("v", ""), media.parameters.get("g", "")
    if group != "meta.k8s.io" or version not in {"v1", "v1beta1"}:
        return None
    if wanted == "Table":
        return Representation("table", yaml, version, pretty)
    if wanted in {"PartialObjectMetadata", "PartialObjectMetadataList"}:
        return Representation("partial", yaml, version, pretty)
    return None


def negotiate(header: str) -> Representation:
    """The first form that both sides know; 406 when there is none."""
    if not header or header == "application/json":
        return PLAIN
    media_types = parse_accept(header)
    for media in media_types:
        found = _representation(media)
        if found is not None:
            return found
    if any(media.parameters.get("as") for media in media_types):
        raise StatusError(406, "NotAcceptable", "406: Not Acceptable", {})
    raise not_acceptable(f"only the following media types are accepted: {ACCEPTED}")
