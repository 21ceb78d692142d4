"""columns.json read: the columns of a kind, each with the function that makes its cell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from slipway.cluster.server.printers.subject import CELLS, CellFunction, Subject, value_at

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A metav1.TableColumnDefinition and how to fill it."""

    definition: Object
    fill: CellFunction


def columns_of(group: str, kind: str) -> tuple[Column, ...]:
    """The columns of a built-in kind; Name and Created At for those without any of their own."""
    return _all().get(f"{group}/{kind}") or default_columns()


def default_columns() -> tuple[Column, ...]:
    """Name and Created At."""
    return _all()["*/*"]


@cache
def _all() -> dict[str, tuple[Column, ...]]:
    # These enter their cells where `_filler` looks for them.
    from slipway.cluster.server.printers import cluster, network, storage, workloads  # noqa: F401

    data = orjson.loads((Path(__file__).parent / "columns.json").read_bytes())
    shared = {name: _column(row) for name, row in data["shared"].items()}
    return {
        kind: tuple(shared[row] if isinstance(row, str) else _column(row) for row in rows)
        for kind, rows in data["kinds"].items()
    }


def _column(row: Object) -> Column:
    definition = {
        "name": row["name"],
        "type": row["type"],
        "format": row.get("format", ""),
        "description": row["description"],
        "priority": row.get("priority", 0),
    }
    return Column(definition, _filler(row["cell"]))


def _filler(cell: Object) -> CellFunction:
    default = cell.get("default")
    match cell:
        case {"path": str(path)}:
            return lambda subject: _or(value_at(subject.obj, path), default)
        case {"text": str(path)}:
            return lambda subject: str(_or(value_at(subject.obj, path), default))
        case {"age": str(path)}:
            return lambda subject: subject.since(value_at(subject.obj, path), str(default))
        case {"count": str(path)}:
            return lambda subject: len(value_at(subject.obj, path) or ())
        case {"function": str(name), "at": str(path)}:
            function = CELLS[name]
            return lambda subject: function(Subject(subject.obj, subject.now, value_at(subject.obj, path)))
        case {"function": str(name)}:
            return CELLS[name]
    raise ValueError(f"columns.json: no cell is made from {cell}; columns.schema.json says what is allowed")


def _or(value: Any, default: Any) -> Any:
    return default if value is None or value == "" else value
