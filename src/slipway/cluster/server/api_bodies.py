"""Request bodies: an object in JSON, YAML or protobuf, or a patch."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

from slipway.cluster.exchange import Request
from slipway.cluster.patching.json_patch import apply_json_patch, unknown_json_patch_fields
from slipway.cluster.patching.json_values import in_order, printed
from slipway.cluster.patching.merge_patch import apply_merge_patch
from slipway.cluster.patching.strategic_merge import apply_strategic_merge_patch
from slipway.cluster.registry.decoding_modes import REPEATED_KEYS, warnings_of
from slipway.cluster.registry.definition import Definition
from slipway.cluster.registry.patching_objects import Patch
from slipway.cluster.schema import protobuf
from slipway.cluster.schema.decoding import cannot_be_handled, decode
from slipway.cluster.schema.go_scalars import NotDecodable, json_type, untyped
from slipway.cluster.schema.json_bodies import BadJson, parse_json, repeated_members, summary
from slipway.cluster.status import StatusError, bad_request, unsupported_media_type

Object = dict[str, Any]


def _media(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def object_body(request: Request, kind: str, *, custom: bool = False) -> Object:
    """The object in the body, which should be a `kind`, and says so where that is a custom one; 400 when it cannot be
    read, 415 for a media type that is not served."""
    return read_object(request, kind, custom=custom)[0]


def read_object(request: Request, kind: str, *, custom: bool = False) -> tuple[Object, list[str]]:
    """The same, and what strict decoding says of the text that it was read from."""
    try:
        value, strict_errors = _read_object(request)
        if custom and not value.get("kind"):
            raise BadJson(f"Object 'Kind' is missing in '{request.body.decode(errors='replace')}'")
        return value, strict_errors
    except BadJson as error:
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): {error} ({summary(request.body)})"
        ) from None


def _read_object(request: Request) -> tuple[Object, list[str]]:
    media = _media(request)
    strict_errors: list[str] = []
    if media in {"", "application/json", "text/json"}:
        value = _json(request.body)
    elif media == "application/yaml":
        value, strict_errors = _yaml(request.body)
    elif media == protobuf.MEDIA_TYPE:
        value = _protobuf(request.body)
    else:
        raise unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include:"
            " application/json, application/yaml, application/vnd.kubernetes.protobuf"
        )
    if value is None:
        return {}, []
    if not isinstance(value, dict):
        raise _no_type(
            f"json: cannot unmarshal {json_type(value)} into Go value of type struct {{ APIVersion string"
            ' "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
        )
    for field in ("apiVersion", "kind"):
        if not isinstance(value.get(field), str | None):
            raise _no_type(
                f"json: cannot unmarshal {json_type(value[field])} into Go struct field .{field} of type string"
            )
    return value, strict_errors


def _no_type(why: str) -> BadJson:
    return BadJson(f"couldn't get version/kind; json parse error: {why}")


def checked_body(request: Request, group: str, version: str, kind: str) -> Object:
    """The body as it came, of a kind that is not stored; 400 when a field has the wrong type."""
    body = object_body(request, kind)
    try:
        decode(copy.deepcopy(body), group, version, kind)
    except NotDecodable as error:
        raise cannot_be_handled(kind, version, error) from None
    return body


def _json(body: bytes) -> Any:
    try:
        return parse_json(body)
    except BadJson as error:
        raise _no_type(str(error)) from None


def _protobuf(body: bytes) -> Any:
    try:
        return protobuf.decode(body)
    except protobuf.ProtobufError as error:
        raise BadJson(str(error)) from None


def _yaml(body: bytes) -> tuple[Any, list[str]]:
    """The value, and the error of go-yaml about keys that came twice."""
    from slipway.cluster.server.yaml_bodies import read_yaml

    value, repeated = read_yaml(body)
    return value, [REPEATED_KEYS + "".join(f"\n  {text}" for text in repeated)] if repeated else []


def patch_body(request: Request, definition: Definition) -> Patch:
    """What a PATCH body does to an object; 415 for a media type that the kind does not take."""
    media = request.headers.get("content-type", "").partition(";")[0].strip()
    if media == "application/json-patch+json":
        operations = _patch_json(request.body)
        strict = unknown_json_patch_fields(operations)
        strict += [f"json patch {text}" for text in repeated_members(operations)]
        return Patch(lambda obj: _object(apply_json_patch(obj, operations)), strict)
    if media == "application/merge-patch+json":
        patch = _patch_json(request.body)
        repeated, patch = repeated_members(patch), in_order(patch)
        return Patch(lambda obj: apply_merge_patch(obj, patch), repeated)
    if media == "application/strategic-merge-patch+json" and not definition.resource.custom:
        patch = _patch_json(request.body)
        shape = definition.shape()
        return Patch(
            lambda obj: apply_strategic_merge_patch(obj, patch, shape),
            repeated_members(patch),
            printed(patch),
        )
    if not definition.resource.custom:
        raise StatusError(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})
    raise unsupported_media_type(
        "the body of the request was in an unknown format - accepted media types include:"
        " application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    )


def is_apply(request: Request) -> bool:
    return _media(request) == "application/apply-patch+yaml"


def apply_body(request: Request, validation: str) -> tuple[Object, list[str]]:
    """The configuration of a server-side apply, and warnings of keys that it has twice; 400 with Strict validation."""
    try:
        value, strict_errors = _configuration(request.body)
        value = {} if value is None else untyped(value)
    except (BadJson, NotDecodable) as error:
        looks_like_json = request.body.lstrip().startswith(b"{")  # which upstream goes by
        step = "decoding patch: error converting YAML to JSON" if looks_like_json else "encoding patch"
        raise bad_request(f"error {step}: {error}") from None
    if not isinstance(value, dict):
        raise bad_request(
            "error decoding patch: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal"
            f" {json_type(value)} into Go value of type map[string]interface {{}}"
        )
    if strict_errors and validation == "Strict":
        raise bad_request(f"error strict decoding patch: error converting YAML to JSON: {strict_errors[0]}")
    return value, warnings_of(strict_errors, validation)


def _configuration(body: bytes) -> tuple[Any, list[str]]:
    """YAML, of which JSON is the part that is read faster; only YAML tells the lines of keys that came twice."""
    with contextlib.suppress(BadJson):
        value = parse_json(body)
        if not repeated_members(value):
            return value, []
    return _yaml(body)


def _patch_json(body: bytes) -> Any:
    try:
        return parse_json(body)
    except BadJson:
        raise bad_request("invalid JSON patch") from None


def _object(value: Any) -> Object:
    if not isinstance(value, dict):
        raise bad_request("the patched document is not an object")
    return value
