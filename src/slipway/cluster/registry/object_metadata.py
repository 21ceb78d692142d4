"""The part of metadata that the server owns: names, uids, times, generations, revisions."""

from __future__ import annotations

from typing import Any

from slipway.cluster.schema.resource import Resource
from slipway.cluster.status import bad_request

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


def check_type(obj: Object, resource: Resource, kind: str, api_version: str) -> None:
    """Fill an absent apiVersion and kind; 400 when they say something else than the path does."""
    said_kind, said_version = obj.get("kind") or kind, obj.get("apiVersion") or api_version
    if said_kind != kind or said_version != api_version:
        if resource.custom:
            if said_version != api_version:
                raise bad_request(
                    f"the API version in the data ({said_version}) does not match the expected API version"
                    f" ({api_version})"
                )
            raise bad_request(f"the kind in the data ({said_kind}) does not match the expected kind ({kind})")
        if said_kind == kind:
            raise bad_request(
                f'{said_kind} in version "{said_version.rpartition("/")[2]}" cannot be handled as a {kind}:'
                f' no kind "{said_kind}" is registered for version "{said_version}" in scheme'
                ' "pkg/runtime/scheme.go:111"'
            )
        version = said_version.rpartition("/")[2]
        raise bad_request(
            f'{said_kind} in version "{version}" cannot be handled as a {kind}: converting'
            f" ({version}.{said_kind}) to ({resource.group or 'core'}.{kind}): unknown conversion"
        )
    obj["kind"], obj["apiVersion"] = kind, api_version


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
