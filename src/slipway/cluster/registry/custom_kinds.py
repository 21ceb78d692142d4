"""Definitions of custom kinds: one for each served version of an established CRD.

Objects are stored in the storage version. Other versions are served with only apiVersion rewritten (conversion
strategy None), or as a webhook says (`conversion`).
"""

from __future__ import annotations

import copy
import dataclasses
from functools import partial
from typing import Any

from slipway.cluster.patching.custom_shape import with_object_fields
from slipway.cluster.registry.conversion import Served, Unconverted
from slipway.cluster.registry.definition import Convert, Definition, Definitions, Row, Webhook
from slipway.cluster.registry.object_validation import metadata_errors
from slipway.cluster.registry.selectors import Reader
from slipway.cluster.registry.strategy import Strategy
from slipway.cluster.schema.crd import (
    CustomVersion,
    is_established,
    resources_of,
    storage_version,
    version_of,
    version_priority,
)
from slipway.cluster.schema.crd_scale import scale_errors
from slipway.cluster.schema.crd_warnings import finalizer_warnings
from slipway.cluster.schema.decoding import Style
from slipway.cluster.schema.go_scalars import NotDecodable, untyped
from slipway.cluster.schema.json_bodies import repeated_members
from slipway.cluster.schema.jsonpath import compile_path, to_text
from slipway.cluster.schema.resource import Resource
from slipway.cluster.schema.shape import Shape
from slipway.cluster.schema.structural_defaults import apply_defaults
from slipway.cluster.schema.structural_embedded import MalformedMetadata, coerce
from slipway.cluster.schema.structural_pruning import drop_nulls, prune
from slipway.cluster.schema.structural_validation import validate, validate_status
from slipway.cluster.status import FieldError

Object = dict[str, Any]


def serve(definitions: Definitions, crd: Object) -> None:
    """Make the catalogue say what the CRD says now: new, changed and vanished versions."""
    group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
    wanted = resources_of(crd) if is_established(crd) else []
    for known in list(definitions.catalogue.resources.values()):
        if known.custom and (known.group, known.plural) == (group, plural) and known not in wanted:
            definitions.remove_custom(group, known.version, plural)
    for resource in wanted:
        definitions.put_custom(make_custom(resource, crd))
    if group in definitions.catalogue.version_order:
        definitions.catalogue.version_order[group].sort(key=version_priority)


def withdraw(definitions: Definitions, crd: Object) -> None:
    """The CRD is gone: nothing of it is served any more."""
    group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
    for known in list(definitions.catalogue.resources.values()):
        if known.custom and (known.group, known.plural) == (group, plural):
            definitions.remove_custom(group, known.version, plural)


def make_custom(resource: Resource, crd: Object) -> Definition:
    version = version_of(crd, resource.version)
    declared = next(v for v in crd["spec"]["versions"] if v["name"] == resource.version)
    stored_as = f"{resource.group}/{storage_version(crd)}"
    owned_shape = with_object_fields(version.shape)
    shapes = {v["name"]: version_of(crd, v["name"]).shape for v in crd["spec"]["versions"]}
    shapes[version.name] = version.shape  # one shape per version: compiled rules are kept with it
    custom: dict[str, Any] = {
        "columns": declared.get("additionalPrinterColumns") or [],
        "list_kind": crd["status"]["acceptedNames"].get("listKind") or resource.list_kind,
        "schema": (declared.get("schema") or {}).get("openAPIV3Schema"),
        "warning": version.deprecation_warning,
        "preserves_unknown": bool(crd["spec"].get("preserveUnknownFields")),
        "crd": crd["metadata"]["name"],
    }
    if version.scale is not None:
        custom["scale"] = {
            "specReplicasPath": version.scale.spec_replicas,
            "statusReplicasPath": version.scale.status_replicas,
            "labelSelectorPath": version.scale.label_selector or "",
        }
    definition = Definition(
        resource=resource,
        bucket=f"{resource.plural}.{resource.group}",
        row=Row(unconditional_update=False),
        strategy=Strategy(),
        shape=lambda: owned_shape,
        decode=partial(_decode, version),
        default=partial(_default, version),
        validate=partial(_validate, resource, version),
        warnings=finalizer_warnings,
        to_storage=partial(_store, shapes, stored_as, _renamed),
        from_storage=partial(_read, shapes, resource.api_version, _renamed),
        selectable=_selectors(version),
        unknown_selector="field label not supported: {}",
        storage_api_version=stored_as,
        custom=custom,
    )
    conversion = crd["spec"].get("conversion") or {}
    if conversion.get("strategy") != "Webhook":
        return definition
    answered = partial(_converting, definition, shapes)
    webhook = Webhook(conversion["webhook"], answered)
    definition.webhook = webhook
    return answered(_unconverted)


def _converting(definition: Definition, shapes: dict[str, Shape], convert: Convert) -> Definition:
    return dataclasses.replace(
        definition,
        to_storage=partial(_store, shapes, definition.storage_api_version, convert),
        from_storage=partial(_read, shapes, definition.resource.api_version, convert),
    )


def _unconverted(obj: Object, api_version: str) -> Object:
    raise Unconverted(obj, api_version)


def _renamed(obj: Object, api_version: str) -> Object:
    """The same object in another version: all that conversion strategy None does."""
    obj["apiVersion"] = api_version
    return obj


def _decode(version: CustomVersion, obj: Object, style: Style) -> tuple[Object, list[str]]:
    strict_errors = repeated_members(obj)
    obj = untyped(obj)
    try:
        unknown = coerce(obj, version.shape)
        unknown += prune(obj, version.shape)
    except MalformedMetadata as error:
        raise NotDecodable(str(error)) from None
    if style != "applied":
        drop_nulls(obj, version.shape)
    return obj, strict_errors + [f'unknown field "{path}"' for path in unknown]


def _default(version: CustomVersion, obj: Object) -> None:
    apply_defaults(obj, version.shape)


def _validate(
    resource: Resource, version: CustomVersion, obj: Object, old: Object | None, subresource: str
) -> list[FieldError]:
    errors = metadata_errors(resource, obj, old)
    if subresource == "status" and old is not None:
        found = validate_status(obj, version.shape, old)
    else:
        found = validate(obj, version.shape, old)
    if version.scale is not None:
        errors += scale_errors(obj, version.scale, status_only=subresource == "status")
    return errors + found


def _store(shapes: dict[str, Shape], api_version: str, convert: Convert, obj: Object) -> Object:
    """The object as its storage version has it: fields that this version does not know are lost."""
    if obj.get("apiVersion") == api_version:
        return obj
    stored = convert(copy.deepcopy(obj), api_version)
    prune(stored, shapes[api_version.rpartition("/")[2]])
    return stored


def _read(shapes: dict[str, Shape], api_version: str, convert: Convert, stored: Object) -> Object:
    """A stored object as one version has it. It may be older than the schema: it is pruned and defaulted by the
    version in which it was stored, and pruned, but not defaulted again, by the version asked for."""
    if isinstance(stored, Served):
        return stored
    obj = copy.deepcopy(stored)
    as_stored = shapes.get(str(obj["apiVersion"]).rpartition("/")[2])
    if as_stored is not None:
        prune(obj, as_stored)
        drop_nulls(obj, as_stored)
        apply_defaults(obj, as_stored)
    if obj["apiVersion"] != api_version:
        obj = convert(obj, api_version)
        prune(obj, shapes[api_version.rpartition("/")[2]])
    return obj


def _selectors(version: CustomVersion) -> dict[str, Reader]:
    readers: dict[str, Reader] = {
        "metadata.name": lambda obj: str(obj["metadata"].get("name", "")),
        "metadata.namespace": lambda obj: str(obj["metadata"].get("namespace", "")),
    }
    for path in version.selectable_fields:
        readers[path] = partial(_text_at, f".{path}")
    return readers


def _text_at(path: str, obj: Object) -> str:
    found = compile_path(path).find(obj)
    return to_text(found[0]) if found else ""
