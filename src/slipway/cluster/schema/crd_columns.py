"""The table of a custom resource: column definitions from additionalPrinterColumns, and the cells of an object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slipway.cluster.schema.jsonpath import InvalidJSONPath, compile_path, to_text

_NAME = {
    "name": "Name",
    "type": "string",
    "format": "name",
    "description": (
        "Name must be unique within a namespace. Is required when creating resources, although some resources may "
        "allow a client to request the generation of an appropriate name automatically. Name is primarily intended "
        "for creation idempotence and configuration definition. Cannot be updated. More info: "
        "https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
    ),
    "priority": 0,
}
_AGE = {
    "name": "Age",
    "type": "date",
    "description": (
        "CreationTimestamp is a timestamp representing the server time when this object was created. It is not "
        "guaranteed to be set in happens-before order across separate operations. Clients may not set this value. "
        "It is represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. "
        "More info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
    ),
    "jsonPath": ".metadata.creationTimestamp",
}


def column_definitions(columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """metav1.TableColumnDefinitions of a version's `additionalPrinterColumns` (which may be empty)."""
    definitions = [dict(_NAME)]
    for column in _usable(columns):
        shown = f"Custom resource definition column (in JSONPath format): {column['jsonPath']}"
        definitions.append(
            {
                "name": column["name"],
                "type": column["type"],
                "format": column.get("format", ""),
                "description": column.get("description") or shown,
                "priority": column.get("priority", 0),
            }
        )
    return definitions


def cells(obj: dict[str, Any], columns: list[dict[str, Any]], age: Callable[[str], str]) -> list[Any]:
    """The row of `obj`; `age` turns a timestamp into `5m` or `<unknown>`."""
    row: list[Any] = [obj.get("metadata", {}).get("name", "")]
    for column in _usable(columns):
        found = compile_path(column["jsonPath"]).find(obj)
        row.append(_cell(column["type"], found[0], age) if found else None)
    return row


def _usable(columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The columns to show; after the first whose path cannot be read there are none, as upstream."""
    usable = []
    for column in columns or [_AGE]:
        try:
            compile_path(column["jsonPath"])
        except InvalidJSONPath:
            break
        usable.append(column)
    return usable


def _cell(kind: str, value: Any, age: Callable[[str], str]) -> Any:
    if kind == "string":
        return to_text(value)
    if kind == "date":
        return age(value) if isinstance(value, str) else None
    if kind == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if kind == "integer" else float(value)
