"""Objects as kubectl's tables (meta.k8s.io Table)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal
from urllib.parse import parse_qs

from slipway.cluster.schema import crd_columns
from slipway.cluster.schema.resource import Resource
from slipway.cluster.server.partial_metadata import partial
from slipway.cluster.server.printers.columns import columns_of, default_columns
from slipway.cluster.server.printers.storage import is_default_class
from slipway.cluster.server.printers.subject import Subject
from slipway.cluster.server.printers.workloads import row_conditions
from slipway.cluster.status import bad_request

Object = dict[str, Any]
Include = Literal["Metadata", "Object", "None"]


def included(query: str) -> Include:
    """`includeObject` of a request: what each row carries of its object. 400 for what it cannot be."""
    if "includeObject" not in query:
        return "Metadata"
    value = parse_qs(query).get("includeObject", [""])[0]
    match value:
        case "" | "Metadata":
            return "Metadata"
        case "Object" | "None":
            return value
    raise bad_request(
        f'Unable to convert to Table as requested: includeObject: Invalid value: "{value}":'
        " must be 'Metadata', 'Object', 'None', or empty"
    )


class TableMaker:
    """Makes tables of one resource; `columns` are a custom resource's additionalPrinterColumns."""

    def __init__(
        self,
        resource: Resource,
        columns: list[Object] | None,
        version: str,
        include: Include,
    ) -> None:
        self._resource = resource
        self._custom = columns
        self._version = version
        self._include = include
        self._built_in = () if columns is not None else columns_of(resource.group, resource.kind)

    def definitions(self) -> list[Object]:
        """metav1.TableColumnDefinitions."""
        if self._custom is not None:
            return crd_columns.column_definitions(self._custom)
        return [column.definition for column in self._built_in]

    def table(
        self, objects: Sequence[Object], metadata: Object, now: float, *, headers: bool = True
    ) -> Object:
        """A Table of `objects`, which have kind and apiVersion; `now` is what ages are counted to."""
        rows = [self._row(obj, now) for obj in objects]
        if self._resource.qualified == "storageclasses.storage.k8s.io" and len(objects) > 0:
            self._mark_default(objects, rows)
        return {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{self._version}",
            "metadata": metadata,
            "columnDefinitions": self.definitions() if headers else None,
            # The API server's own default leaves an empty list out of an empty list.
            "rows": None if not rows and self._built_in == default_columns() else rows,
        }

    def single(self, obj: Object, now: float, *, headers: bool = True) -> Object:
        """A Table of one object that was asked for by name or that a watch tells of."""
        metadata = {"resourceVersion": (obj.get("metadata") or {}).get("resourceVersion", "")}
        return {**self.table((), metadata, now, headers=headers), "rows": [self._row(obj, now)]}

    def _row(self, obj: Object, now: float) -> Object:
        row: Object = {"cells": self._cells(obj, now)}
        if self._resource.qualified == "pods" and (conditions := row_conditions(obj)):
            row["conditions"] = conditions
        if self._include == "Object":
            row["object"] = obj
        else:
            row["object"] = partial(obj, self._version) if self._include == "Metadata" else None
        return row

    def _cells(self, obj: Object, now: float) -> list[Any]:
        subject = Subject(obj, now)
        if self._custom is not None:
            return crd_columns.cells(obj, self._custom, subject.since)
        return [column.fill(subject) for column in self._built_in]

    @staticmethod
    def _mark_default(objects: Sequence[Object], rows: list[Object]) -> None:
        """Of several default storage classes the newest counts, then the first by name."""
        defaults = [index for index, obj in enumerate(objects) if is_default_class(obj)]
        if defaults:
            by_name = sorted(defaults, key=lambda index: objects[index]["metadata"]["name"])
            newest = max(by_name, key=lambda index: objects[index]["metadata"].get("creationTimestamp") or "")
            rows[newest]["cells"][0] += " (default)"
