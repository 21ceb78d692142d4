"""Validation of a CRD's `selectableFields`: simple paths to scalar fields that the schema knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from slipway.cluster.status import FieldError

_MOST = 8


def selectable_field_errors(
    fields: list[dict[str, Any]], schema: dict[str, Any], path: str
) -> Iterator[FieldError]:
    """What is wrong with the fields, given the schema of their version."""
    seen: set[str] = set()
    for index, field in enumerate(fields):
        where = f"{path}[{index}].jsonPath"
        json_path = field.get("jsonPath") or ""
        if not json_path:
            yield FieldError("FieldValueRequired", where)
            continue
        try:
            found, names = _follow(json_path, schema)
        except ValueError as error:
            yield FieldError("FieldValueInvalid", where, json_path, f"is an invalid path: {error}")
            continue
        if names[0] == "metadata":
            yield FieldError("FieldValueInvalid", where, json_path, "must not point to fields in metadata")
        if found.get("type") not in ("string", "boolean", "integer"):
            why = (
                "must point to a field of type string, boolean or integer. "
                "Enum string fields and strings with formats are allowed."
            )
            yield FieldError("FieldValueInvalid", where, json_path, why)
        if ".".join(names) in seen:
            yield FieldError("FieldValueDuplicate", where, json_path)
        seen.add(".".join(names))
    if len(seen) > _MOST:
        yield FieldError("FieldValueTooMany", path, len(seen), f"must have at most {_MOST} items")


def _follow(json_path: str, schema: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The schema at a path like `.spec.color`; ValueError if there is none."""
    names: list[str] = []
    tokens = iter(re.findall(r"[.\[\]]|[^.\[\]]+", json_path))
    for token in tokens:
        if token == "[":
            raise ValueError("array notation is not allowed")
        if token != ".":
            raise ValueError(f"expected [ or . but got: {token}")
        name = next(tokens, None)
        if name is None:
            raise ValueError("unexpected end of JSON path")
        names.append(name)
        properties = schema.get("properties")
        additional = schema.get("additionalProperties")
        if properties and name in properties:
            schema = properties[name]
        elif not properties and isinstance(additional, dict):
            schema = additional
        else:
            raise ValueError("does not refer to a valid field")
    return schema, names
