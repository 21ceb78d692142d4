"""The part of metadata that the server owns: names, uids, times, generations, revisions."""

from __future__ import annotations

from typing import Any

from slipway.cluster.schema.builtin import UnknownKind, definition_of
from slipway.cluster.schema.decoding import cannot_be_handled, decode
from slipway.cluster.schema.go_scalars import NotDecodable
from slipway.cluster.schema.resource import Resource
from slipway.cluster.status import FieldError, bad_request, invalid

Object = dict[str, Any]

# Without vowels, so that no words come about (k8s.io/apimachinery pkg/util/rand).
NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
SUFFIX_LENGTH = 5
MAX_GENERATED_BASE = 63 - SUFFIX_LENGTH
# The fields of metadata that a client never sets.
SERVER_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


def meta(obj: Object) -> Object:
    """`obj["metadata"]`, made if it is missing; 400 if it is not an object."""
    found = obj.get("metadata")
    if found is None:
        found = obj["metadata"] = {}
    if not isinstance(found, dict):
        raise bad_request("metadata must be an object")
    return found


def check_known(obj: Object, resource: Resource) -> None:
    """NotDecodable when a patch made the object one of another built-in kind."""
    kind, api_version = str(obj.get("kind") or ""), str(obj.get("apiVersion") or "")
    if resource.custom or not kind or not api_version:
        return
    group, _, version = api_version.rpartition("/")
    if (group, version, kind) == (resource.group, resource.version, resource.kind):
        return
    try:
        decode(obj, group, version, kind)
    except UnknownKind:
        raise NotDecodable(_not_registered(kind, api_version)) from None
    if kind != resource.kind:
        raise NotDecodable(_unknown_conversion(version, kind, resource))


def _not_registered(kind: str, api_version: str) -> str:
    return f'no kind "{kind}" is registered for version "{api_version}" in scheme "pkg/runtime/scheme.go:111"'


def _unknown_conversion(version: str, kind: str, resource: Resource) -> str:
    package = resource.group.partition(".")[0] or "core"
    return f"converting ({version}.{kind}) to ({package}.{resource.kind}): unknown conversion"


def check_type(obj: Object, resource: Resource, kind: str, api_version: str) -> None:
    """Fill an absent apiVersion and kind; 400 when they say something else than the path does."""
    if resource.custom:
        _check_custom_type(obj, resource)
        return
    said_kind, said_version = obj.get("kind") or kind, obj.get("apiVersion") or api_version
    if said_kind != kind or said_version != api_version:
        group, _, version = said_version.rpartition("/")
        try:
            definition_of(group, version, said_kind)
        except UnknownKind:
            raise cannot_be_handled(
                kind, version, _not_registered(said_kind, said_version), said_kind
            ) from None
        if said_kind == kind:
            raise bad_request(
                f"the API version in the data ({said_version}) does not match the expected API version"
                f" ({api_version})"
            )
        raise cannot_be_handled(kind, version, _unknown_conversion(version, said_kind, resource), said_kind)
    obj["kind"], obj["apiVersion"] = kind, api_version


def _check_custom_type(obj: Object, resource: Resource) -> None:
    """Bodies of custom kinds say what they are; a kind that is not theirs is a mistake like any other in them."""
    kind, version = obj.get("kind"), obj.get("apiVersion") or ""
    if version != resource.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version"
            f" ({resource.api_version})"
        )
    if kind != resource.kind:
        wrong = FieldError("FieldValueInvalid", "kind", kind, f"must be {resource.kind}")
        raise invalid(str(kind), resource.group, str(meta(obj).get("name") or ""), [wrong])


def check_place(obj: Object, namespaced: bool, namespace: str, name: str) -> None:
    """Name and namespace in the body agree with the path; absent ones are filled in."""
    metadata = meta(obj)
    if name:
        said = metadata.get("name")
        if not said:
            if said is None or said == "":
                metadata["name"] = name
        elif said != name:
            raise bad_request(f"the name of the object ({said}) does not match the name on the URL ({name})")
    if namespaced:
        said = metadata.get("namespace")
        if said and said != namespace:
            raise bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        metadata["namespace"] = namespace
    else:
        metadata.pop("namespace", None)


def check_named(obj: Object, name: str) -> None:
    """What replaces an object says its name."""
    if not meta(obj).get("name"):
        raise bad_request(
            f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )


def keep_server_fields(metadata: Object, old: Object) -> None:
    """What the server owns stays as it is, whatever an update says."""
    for name in SERVER_FIELDS:
        if name in old:
            metadata[name] = old[name]
        else:
            metadata.pop(name, None)
    metadata.pop("selfLink", None)


def drop_empty(metadata: Object) -> None:
    """Go's omitempty: empty maps and lists of metadata are not kept."""
    for name in (
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
        "managedFields",
        "generateName",
        "selfLink",
        "creationTimestamp",
        "deletionTimestamp",
        "namespace",
        "uid",
        "resourceVersion",
    ):
        if name in metadata and not metadata[name]:
            del metadata[name]
