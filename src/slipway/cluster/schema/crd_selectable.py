"""Validation of a CRD's `selectableFields`: simple paths to scalar fields that the schema knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from slipway.cluster.status import FieldError

_MOST = 8
_WORD = re.compile(r"\.([A-Za-z_][A-Za-z0-9_]*)")


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
    at = 0
    while at < len(json_path):
        word = _WORD.match(json_path, at)
        if word is None:
            shown = json_path[at:]
            raise ValueError(
                f"expected [ or . but got: {shown}" if at or shown[0] not in "[." else _odd(shown)
            )
        names.append(word[1])
        at = word.end()
        properties = schema.get("properties") or {}
        if word[1] == "metadata" and len(names) == 1 and "metadata" not in properties:
            schema = {"type": "object", "properties": {"name": {"type": "string"}}}
        elif word[1] in properties:
            schema = properties[word[1]]
        else:
            raise ValueError("does not refer to a valid field")
    return schema, names


def _odd(shown: str) -> str:
    return f"unexpected token: {shown}"
