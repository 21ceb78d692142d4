"""Definitions of built-in kinds: their schema, rows of `kinds.json` and strategies put together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from slipway.cluster.registry import autoscaler_versions, event_versions
from slipway.cluster.registry.definition import Definition, Row, row_of
from slipway.cluster.registry.strategies import strategy_of
from slipway.cluster.registry.validation import validate
from slipway.cluster.registry.warnings import warnings_of
from slipway.cluster.schema.builtin import DEFAULT_MINOR, shape_of
from slipway.cluster.schema.builtin_selectors import field_selectors
from slipway.cluster.schema.crd import set_defaults
from slipway.cluster.schema.decoding import Style, decode
from slipway.cluster.schema.defaults import apply_builtin_defaults
from slipway.cluster.schema.resource import Resource
from slipway.cluster.status import FieldError

Object = dict[str, Any]
Conversion = Callable[[Object], Object]
_NO_FIELDS = '"{}" is not a known field selector: only "metadata.name", "metadata.namespace"'
_UNKNOWN_FIELD = "field label not supported: {}"
CRDS = "customresourcedefinitions.apiextensions.k8s.io"


def make_builtin(resource: Resource, minor: str = DEFAULT_MINOR) -> Definition:
    row = row_of(resource)
    bucket = row.storage or resource.qualified
    selectable = {name: field.value_of for name, field in field_selectors(resource).items()}
    own_fields = {"metadata.name", "metadata.namespace"}
    storage_version = _storage_api_version(resource, row)
    to_storage, from_storage = _conversions(resource, storage_version)
    return Definition(
        resource=resource,
        bucket=bucket,
        row=row,
        strategy=strategy_of(resource),
        shape=partial(shape_of, resource.group, resource.version, resource.kind, minor),
        decode=partial(_decode, resource, minor),
        default=partial(_default, resource, minor),
        validate=partial(_validate, resource),
        warnings=warnings_of(resource),
        to_storage=to_storage,
        from_storage=from_storage,
        selectable=selectable,
        unknown_selector=row.unknown_selector
        or (_NO_FIELDS if own_fields.issuperset(selectable) else _UNKNOWN_FIELD),
        storage_api_version=storage_version,
    )


def _storage_api_version(resource: Resource, row: Row) -> str:
    if row.storage:
        return "v1"
    version = row.storage_version or resource.version
    return f"{resource.group}/{version}" if resource.group else version


def _decode(resource: Resource, minor: str, obj: Object, style: Style) -> tuple[Object, list[str]]:
    metadata = obj.get("metadata")
    forgets = isinstance(metadata, dict) and metadata.get("managedFields") == []
    decoded = decode(obj, resource.group, resource.version, resource.kind, style=style, minor=minor)
    if forgets:  # an empty list says something here: all managers are to be forgotten
        decoded.obj["metadata"]["managedFields"] = []
    return decoded.obj, decoded.strict_errors


def _default(resource: Resource, minor: str, obj: Object) -> None:
    apply_builtin_defaults(obj, resource.group, resource.version, resource.kind, minor)
    if resource.qualified == CRDS:
        set_defaults(obj)


def _conversions(resource: Resource, storage_version: str) -> tuple[Conversion, Conversion]:
    """How objects get into their stored version and back."""
    if storage_version == resource.api_version:
        return _unchanged, _unchanged
    if resource.kind == "HorizontalPodAutoscaler" and resource.version == "v1":
        return autoscaler_versions.from_v1, autoscaler_versions.to_v1
    if resource.qualified == "events.events.k8s.io":
        return event_versions.to_core, event_versions.from_core
    return partial(_retagged, storage_version), partial(_retagged, resource.api_version)


def _unchanged(obj: Object) -> Object:
    return obj


def _retagged(api_version: str, obj: Object) -> Object:
    return {**obj, "apiVersion": api_version}


def _validate(resource: Resource, obj: Object, old: Object | None, subresource: str) -> list[FieldError]:
    """Through a sub-resource only a part changes, which its strategy knows; metadata is checked always."""
    return validate(
        resource.group,
        "" if subresource else resource.kind,
        resource.qualified,
        obj,
        old,
        namespaced=resource.namespaced,
    )
