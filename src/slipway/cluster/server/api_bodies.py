"""Request bodies: an object in JSON, YAML or protobuf, or a patch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
import yaml

from slipway.cluster.exchange import Request
from slipway.cluster.patching.json_patch import apply_json_patch
from slipway.cluster.patching.merge_patch import apply_merge_patch
from slipway.cluster.patching.restoring import go_print, restoring_error
from slipway.cluster.patching.strategic_merge import apply_strategic_merge_patch
from slipway.cluster.registry.definition import Definition
from slipway.cluster.schema import protobuf
from slipway.cluster.schema.decoding import cannot_be_handled, decode
from slipway.cluster.schema.go_scalars import NotDecodable
from slipway.cluster.schema.json_bodies import BadJson, parse_json
from slipway.cluster.status import FieldError, bad_request, invalid, unsupported_media_type

Object = dict[str, Any]


def _media(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


class Unreadable(ValueError):
    """A body that is no object of any kind; the text is what decoding it said."""


def object_body(request: Request, kind: str) -> Object:
    """The object in the body; 400 when it cannot be read, 415 for a media type that is not served.

    `kind` is what was expected; the body may still say another.
    """
    try:
        value = _value(request)
        if value is None:
            value = {}  # `null` is an object that says nothing
        _check_type_meta(value)
    except Unreadable as error:
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): {error} ({_summary(request.body)})"
        ) from None
    body: Object = value
    return body


def _value(request: Request) -> Any:
    media = _media(request)
    if media in {"", "application/json", "text/json"}:
        return _json(request.body)
    if media == "application/yaml":
        return _yaml(request.body)
    if media == protobuf.MEDIA_TYPE:
        return _protobuf(request.body)
    raise unsupported_media_type(
        "the body of the request was in an unknown format - accepted media types include:"
        " application/json, application/yaml, application/vnd.kubernetes.protobuf"
    )


def _check_type_meta(value: Any) -> None:
    """What every decoder looks at first."""
    said = "couldn't get version/kind; json parse error: json: cannot unmarshal"
    if not isinstance(value, dict):
        raise Unreadable(
            f"{said} {_go_kind(value)} into Go value of type struct {{ APIVersion string"
            ' "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
        )
    for field in ("apiVersion", "kind"):
        if not isinstance(value.get(field), str | None):
            raise Unreadable(f"{said} {_go_kind(value[field])} into Go struct field .{field} of type string")


def _summary(body: bytes) -> str:
    """The body's first 30 bytes: as text when it looks like JSON, else in hexadecimal."""
    if not body:
        return "<empty>"
    start = body[:30].decode(errors="replace") if body[:1] == b"{" else body[:30].hex()
    return start + " ..." if len(body) > 30 else start


def checked_body(request: Request, group: str, version: str, kind: str) -> Object:
    """The body as it came, of a kind that is not stored; 400 when a field has the wrong type."""
    body = object_body(request, kind)
    try:
        decode(copy.deepcopy(body), group, version, kind)
    except NotDecodable as error:
        raise cannot_be_handled(kind, version, error) from None
    return body


def _go_kind(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, dict):
        return "object"
    return "string" if isinstance(value, str) else "array" if isinstance(value, list) else "null"


def _json(body: bytes) -> Any:
    try:
        return parse_json(body)
    except BadJson as error:
        raise Unreadable(f"couldn't get version/kind; json parse error: {error}") from None


def _protobuf(body: bytes) -> Any:
    try:
        return protobuf.decode(body)
    except protobuf.ProtobufError as error:
        raise Unreadable(str(error)) from None


def _yaml(body: bytes) -> Any:
    try:
        return yaml.load(body, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise Unreadable(f"yaml: {error}") from None


def patch_change(request: Request, definition: Definition, media: str) -> Callable[[Object], Object]:
    """What a PATCH body does to an object; 415 for a media type that the kind does not take."""
    if media == "application/json-patch+json":
        operations = _patch_json(request.body)
        return lambda obj: _object(apply_json_patch(obj, operations))
    if media == "application/merge-patch+json":
        patch = _patch_json(request.body)
        return lambda obj: apply_merge_patch(obj, patch)
    if media == "application/strategic-merge-patch+json" and not definition.resource.custom:
        patch = _patch_json(request.body)
        return partial(_restored, patch, definition)
    accepted = ["application/json-patch+json", "application/merge-patch+json"]
    if not definition.resource.custom:
        accepted.append("application/strategic-merge-patch+json")
    accepted.append("application/apply-patch+yaml")
    raise unsupported_media_type(
        "the body of the request was in an unknown format - accepted media types include:"
        f" {', '.join(accepted)}"
    )


def _restored(patch: Any, definition: Definition, obj: Object) -> Object:
    """A strategic merge patch applied; 422 when the outcome no longer fits the kind."""
    shape = definition.shape()
    patched = apply_strategic_merge_patch(obj, patch, shape)
    why = restoring_error(patched, shape)
    if why:
        raise invalid("", "", "", [FieldError("FieldValueInvalid", "patch", go_print(patch), why)])
    return patched


def apply_body(request: Request) -> Object:
    """The configuration of a server-side apply: YAML, of which JSON is a part."""
    try:
        value = orjson.loads(request.body)
    except orjson.JSONDecodeError:
        try:
            value = _yaml(request.body)
        except Unreadable as error:
            raise bad_request(f"error decoding YAML: {error}") from None
    if not isinstance(value, dict):
        raise bad_request("error decoding YAML: the configuration is not an object")
    return value


def _patch_json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request(f"error decoding patch: {error}") from None


def _object(value: Any) -> Object:
    if not isinstance(value, dict):
        raise bad_request("the patched document is not an object")
    return value
