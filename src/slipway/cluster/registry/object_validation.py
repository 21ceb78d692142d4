"""Validation of the metadata of custom objects, which is that of every other."""

from __future__ import annotations

from typing import Any

from slipway.cluster.registry.validation.findings import Findings
from slipway.cluster.registry.validation.metadata import metadata_errors as shared_metadata_errors
from slipway.cluster.registry.validation.metadata import name_form
from slipway.cluster.schema.resource import Resource
from slipway.cluster.status import FieldError

Object = dict[str, Any]


def metadata_errors(resource: Resource, obj: Object, old: Object | None) -> list[FieldError]:
    found = Findings()
    shared_metadata_errors(
        found,
        obj,
        old,
        namespaced=resource.namespaced,
        form=name_form(resource.qualified),
        any_finalizer=True,
    )
    return found.errors
