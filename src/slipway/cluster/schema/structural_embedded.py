"""Embedded objects (`x-kubernetes-embedded-resource`) and the metadata of custom resources: types and content."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from slipway.cluster.schema import names
from slipway.cluster.schema.go_scalars import json_type
from slipway.cluster.schema.shape import Shape
from slipway.cluster.status import FieldError

# JSON types of ObjectMeta's fields; `[...]` and `{...}` are lists and maps of what is inside.
_OBJECT_META: dict[str, Any] = {
    "name": "string",
    "generateName": "string",
    "namespace": "string",
    "selfLink": "string",
    "uid": "string",
    "resourceVersion": "string",
    "generation": "int64",
    "creationTimestamp": "string",
    "deletionTimestamp": "string",
    "deletionGracePeriodSeconds": "int64",
    "labels": {"": "string"},
    "annotations": {"": "string"},
    "ownerReferences": [
        {
            "apiVersion": "string",
            "kind": "string",
            "name": "string",
            "uid": "string",
            "controller": "bool",
            "blockOwnerDeletion": "bool",
        }
    ],
    "finalizers": ["string"],
    "managedFields": [
        {
            "manager": "string",
            "operation": "string",
            "apiVersion": "string",
            "time": "string",
            "fieldsType": "string",
            "fieldsV1": "any",
            "subresource": "string",
        }
    ],
}
_STRUCTS = {"ownerReferences": "OwnerReference", "managedFields": "ManagedFieldsEntry"}


class MalformedMetadata(ValueError):
    """Metadata, apiVersion or kind of the wrong type; the text is the decoding error that upstream gives.

    `error` says which field of an embedded object it is; of the resource itself nothing does.
    """

    def __init__(self, why: str, error: FieldError | None = None) -> None:
        super().__init__(why if error is None else str(error))
        self.error = error


def coerce(obj: dict[str, Any], shape: Shape) -> list[str]:
    """Check the types of the metadata of `obj` and of all embedded objects; drop metadata fields unknown to
    Kubernetes, in place. Returns the dropped paths, sorted. Raises `MalformedMetadata`.
    """
    unknown: list[str] = []
    if "metadata" in obj:
        obj["metadata"] = _coerce_metadata(obj["metadata"], "metadata", unknown)
    _coerce(obj, shape, "", unknown)
    return sorted(unknown)


def _coerce(value: Any, shape: Shape, path: str, unknown: list[str]) -> None:
    if isinstance(value, dict):
        if shape.embedded:
            _coerce_embedded(value, path, unknown)
        for key, child in value.items():
            if not isinstance(child, dict | list):
                continue
            known = shape.properties.get(key)
            if known is not None:
                _coerce(child, known, f"{path}.{key}" if path else key, unknown)
            elif shape.additional is not None:
                _coerce(child, shape.additional, f"{path}[{key}]", unknown)
    elif isinstance(value, list) and shape.items is not None:
        for index, item in enumerate(value):
            _coerce(item, shape.items, f"{path}[{index}]", unknown)


def _coerce_embedded(value: dict[str, Any], path: str, unknown: list[str]) -> None:
    for key in ("apiVersion", "kind"):
        if key in value and not isinstance(value[key], str):
            error = FieldError("FieldValueInvalid", f"{path}.{key}", value[key], "must be a string")
            raise MalformedMetadata("", error)
    if "metadata" in value:
        where = f"{path}.metadata"
        try:
            metadata = _coerce_metadata(value["metadata"], where, unknown)
        except MalformedMetadata as error:
            field_error = FieldError("FieldValueInvalid", where, value["metadata"], str(error))
            raise MalformedMetadata("", field_error) from None
        if metadata is not None and metadata.get("creationTimestamp", "") is None:
            del metadata["creationTimestamp"]
        value["metadata"] = metadata


def _coerce_metadata(metadata: Any, path: str, unknown: list[str]) -> Any:
    if metadata is None:
        return {}
    if not isinstance(metadata, dict):
        raise MalformedMetadata(
            f"json: cannot unmarshal {json_type(metadata)} into Go value of type v1.ObjectMeta"
        )
    kept = {}
    for key, child in metadata.items():
        wanted = _OBJECT_META.get(key)
        if wanted is None:
            unknown.append(f"{path}.{key}")
            continue
        _check_type(child, wanted, f"ObjectMeta.{key}", key)
        kept[key] = child
    return kept


def _check_type(value: Any, wanted: Any, where: str, key: str) -> None:
    if value is None or wanted == "any":
        return
    if isinstance(wanted, list):
        if not isinstance(value, list):
            raise _mismatch(value, where, "[]string" if wanted == ["string"] else f"[]v1.{_STRUCTS[key]}")
        for item in value:
            _check_type(item, wanted[0], where, key)
    elif isinstance(wanted, dict):
        if not isinstance(value, dict):
            raise _mismatch(value, where, f"v1.{_STRUCTS[key]}" if key in _STRUCTS else "map[string]string")
        for name, child in value.items():
            inner = wanted.get(name, wanted.get(""))
            if inner is not None:
                _check_type(child, inner, where if "" in wanted else f"{where}.{name}", key)
    elif wanted == "string":
        if not isinstance(value, str):
            raise _mismatch(value, where, "string")
    elif wanted == "bool":
        if not isinstance(value, bool):
            raise _mismatch(value, where, "bool")
    elif not isinstance(value, int) or isinstance(value, bool):
        raise _mismatch(value, where, "int64")


def _mismatch(value: Any, where: str, wanted: str) -> MalformedMetadata:
    shown = json_type(value)
    if isinstance(value, float):
        shown += f" {value}"
    return MalformedMetadata(f"json: cannot unmarshal {shown} into Go struct field {where} of type {wanted}")


def embedded_errors(value: Any, shape: Shape, path: str = "") -> Iterator[FieldError]:
    """What is wrong with apiVersion, kind and metadata of the objects embedded in `value`."""
    if isinstance(value, dict):
        if shape.embedded:
            yield from _embedded_object(value, path)
        for key, child in value.items():
            if not isinstance(child, dict | list):
                continue
            known = shape.properties.get(key)
            if known is not None:
                yield from embedded_errors(child, known, f"{path}.{key}" if path else key)
            elif shape.additional is not None:
                yield from embedded_errors(child, shape.additional, f"{path}[{key}]")
    elif isinstance(value, list) and shape.items is not None:
        for index, item in enumerate(value):
            yield from embedded_errors(item, shape.items, f"{path}[{index}]")


def _embedded_object(value: dict[str, Any], path: str) -> Iterator[FieldError]:
    for key in ("apiVersion", "kind"):
        if key not in value:
            yield FieldError("FieldValueRequired", f"{path}.{key}")
            continue
        text = value[key]
        why = ""
        if not isinstance(text, str):
            why = "must be a string"
        elif not text:
            why = "must not be empty"
        elif key == "apiVersion" and text.count("/") > 1:
            why = f"unexpected GroupVersion string: {text}"
        elif key == "kind" and (wrong := names.dns1035_label(text.lower())):
            why = f"may have mixed case, but should otherwise match: {','.join(wrong)}"
        if why:
            yield FieldError("FieldValueInvalid", f"{path}.{key}", text, why)
    if isinstance(value.get("metadata"), dict):
        yield from _metadata_content(value["metadata"], f"{path}.metadata")


def _metadata_content(metadata: dict[str, Any], path: str) -> Iterator[FieldError]:
    if metadata.get("generateName"):
        for why in names.path_segment(metadata["generateName"]):
            yield FieldError("FieldValueInvalid", f"{path}.generateName", metadata["generateName"], why)
    if metadata.get("name"):
        for why in names.path_segment(metadata["name"]):
            yield FieldError("FieldValueInvalid", f"{path}.name", metadata["name"], why)
    if metadata.get("namespace"):
        for why in names.dns1123_label(metadata["namespace"]):
            yield FieldError("FieldValueInvalid", f"{path}.namespace", metadata["namespace"], why)
    for key, text in (metadata.get("labels") or {}).items():
        for why in names.label_key(key):
            yield FieldError("FieldValueInvalid", f"{path}.labels", key, why)
        for why in names.label_value(text or ""):
            yield FieldError("FieldValueInvalid", f"{path}.labels", text, why)
    for key in metadata.get("annotations") or {}:
        for why in names.label_key(key.lower()):
            yield FieldError("FieldValueInvalid", f"{path}.annotations", key, why)
