"""Validation of metadata, which all kinds share. Per-kind validation is in `validation`."""

from __future__ import annotations

from typing import Any

from slipway.cluster.schema.resource import Resource
from slipway.cluster.status import FieldError

Object = dict[str, Any]


def metadata_errors(resource: Resource, obj: Object, old: Object | None) -> list[FieldError]:
    return []
