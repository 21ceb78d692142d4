"""What the client can read (Accept) and in which form it wants it, as the API server understands both.

Built-in resources refuse in two steps, as go-restful and then the API server do: first by media type alone
(406 with the list of representations), then by parameters (`as=`, `g=`, `v=`). Custom ones have the second only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qs

from slipway.cluster.status import StatusError, not_acceptable

Form = Literal["object", "table", "partial", "partial-list"]
ACCEPTED = ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf")
STREAMED = ("application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
_FORMS: dict[str, Form] = {
    "Table": "table",
    "PartialObjectMetadata": "partial",
    "PartialObjectMetadataList": "partial-list",
}
_BROWSERS = ("curl", "Wget", "Mozilla/5.0")


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

    @property
    def plain(self) -> bool:
        return self.form == "object" and not self.yaml and not self.pretty

    @property
    def media_type(self) -> str:
        return "application/yaml" if self.yaml else "application/json"


PLAIN = Representation()
PRETTY = Representation(pretty=True)


def parse_accept(header: str) -> list[MediaType]:
    """The media types in order of preference: `q` first, then exact ones before wildcards, then as written."""
    found: list[tuple[float, bool, MediaType]] = []
    for element in header.split(","):
        name, *rest = (part.strip() for part in element.split(";"))
        if not name:
            continue
        parameters = {}
        quality = 1.0
        for part in rest:
            key, _, value = part.partition("=")
            key, value = key.strip().lower(), value.strip().strip('"')
            if key == "q":
                quality = _quality(value)
            elif key:
                parameters[key] = value
        found.append((-quality, "*" in name, MediaType(name.lower(), parameters)))
    return [media for _, _, media in sorted(found, key=lambda item: item[:2])]


def _quality(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0


def wants_pretty(query: str, user_agent: str) -> bool:
    """`pretty` in the query decides; without it, tools that people look at get indented JSON."""
    if "pretty" in query:
        values = parse_qs(query, keep_blank_values=True).get("pretty", [""])
        if values[0]:
            return values[0] in {"1", "t", "T", "true", "TRUE", "True"}
    return user_agent.startswith(_BROWSERS)


def _representation(media: MediaType, pretty: bool) -> Representation | None:
    if media.name in {"*/*", "application/*"}:
        name = "application/json"
    elif media.name in {"application/json", "application/yaml"}:
        name = media.name
    else:
        return None
    if media.parameters.get("sv"):
        return None
    if media.parameters.get("stream", "watch") not in {"", "watch"}:
        return None
    yaml = name == "application/yaml"
    pretty = pretty or media.parameters.get("pretty") == "1"
    if not {"as", "g", "v"} & media.parameters.keys():
        return Representation(yaml=yaml, pretty=pretty)
    version = media.parameters.get("v", "")
    form = _FORMS.get(media.parameters.get("as", ""))
    if form is None or media.parameters.get("g") != "meta.k8s.io" or version not in {"v1", "v1beta1"}:
        return None
    return Representation(form, yaml, version, pretty)


def negotiate(
    accept: str,
    query: str = "",
    user_agent: str = "",
    *,
    custom: bool = False,
    verb: str = "get",
    tables: bool = True,
) -> Representation:
    """The first form that both sides know; 406 when there is none. `tables` is False for questions, which have none."""
    pretty = wants_pretty(query, user_agent)
    if not accept or accept in {"application/json", "*/*"}:
        return PRETTY if pretty else PLAIN
    media_types = parse_accept(accept)
    if not custom:
        _require_known(media_types, verb)
    for media in media_types:
        found = _representation(media, pretty)
        if found is None or (found.yaml and verb == "watch") or (found.form == "table" and not tables):
            continue
        return found
    allowed: tuple[str, ...] = STREAMED if verb == "watch" else ACCEPTED
    if {media.name for media in media_types} <= {"application/vnd.kubernetes.protobuf"}:
        # A real server would answer in protobuf; we do not write it, so we do not claim to.
        allowed = tuple(name for name in allowed if "protobuf" not in name)
    raise not_acceptable(f"only the following media types are accepted: {', '.join(allowed)}")


def _require_known(media_types: list[MediaType], verb: str) -> None:
    """go-restful's check: it looks at media types without parameters, and knows `*/*` but no `application/*`."""
    if any(media.name == "*/*" or media.name in ACCEPTED for media in media_types):
        return
    available = ACCEPTED + (STREAMED if verb in {"list", "watch"} else ())
    message = f"406: Not Acceptable\n\nAvailable representations: {', '.join(available)}"
    raise StatusError(406, "NotAcceptable", message, {})
