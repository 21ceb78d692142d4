"""Field ownership held to a real API server: 33 kinds, each applied, updated, patched, dropped and cleared.

`data/apply-1.37.json.gz` holds our requests and the answers of kube-apiserver v1.37.0. Each step starts from the
real server's object before it, so that every step is judged on its own.
"""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.patching.apply import FieldManager
from slipway.cluster.patching.custom_shape import with_object_fields
from slipway.cluster.patching.merge_patch import apply_merge_patch
from slipway.cluster.patching.reset_fields import reset_filter
from slipway.cluster.schema.builtin import shape_of
from slipway.cluster.schema.structural import shape_of_schema
from slipway.cluster.schema.zero_values import blank_object, fill_zero_values
from slipway.cluster.status import StatusError

NOW = "2026-11-21T03:00:00Z"
DATA = Path(__file__).parent / "data" / "apply-1.37.json.gz"


@cache
def recorded() -> dict[str, Any]:
    return {row["kind"]: row for row in json.loads(gzip.decompress(DATA.read_bytes()))["kinds"]}


def field_manager(row: dict[str, Any], subresource: str) -> FieldManager:
    group, _, version = row["apiVersion"].rpartition("/")
    custom = "schema" in row
    if custom:
        shape = with_object_fields(shape_of_schema(row["schema"]))
    else:
        shape = shape_of(group, version, row["kind"])
    resource = f"{row['plural']}.{group}" if group else row["plural"]
    return FieldManager(
        group,
        version,
        row["kind"],
        shape,
        subresource,
        reset_filter(resource, subresource, has_status="status" in shape.properties, custom=custom),
        {} if custom else blank_object(group, version, row["kind"]),
    )


def perform(row: dict[str, Any], step: dict[str, Any], live: Any) -> dict[str, Any]:
    manager = field_manager(row, step["sub"])
    if step["op"] == "apply":
        return manager.apply(live, step["body"], step["manager"], step["force"], NOW)
    if step["op"] == "put":
        return manager.update(live, step["body"], step["manager"], NOW)
    patched = apply_merge_patch(live, step["body"])
    if "schema" not in row:
        fill_zero_values(patched, manager.group, manager.version, manager.kind)
    return manager.update(live, patched, step["manager"], NOW)


def entries(obj: dict[str, Any]) -> list[str]:
    """managedFields without times, in an order of their own: times decide theirs."""
    found = obj["metadata"].get("managedFields", [])
    return sorted(json.dumps({k: v for k, v in e.items() if k != "time"}, sort_keys=True) for e in found)


def comparable(status: dict[str, Any]) -> tuple[Any, ...]:
    """A Status whose causes and message lines may stand in any order."""
    causes = sorted(json.dumps(cause, sort_keys=True) for cause in status["details"].get("causes", ()))
    return status["code"], status["reason"], causes, sorted(status["message"].split("\n"))


@pytest.mark.parametrize("kind", recorded())
def test_managed_fields_and_conflicts_are_those_of_a_real_server(kind: str) -> None:
    row = recorded()[kind]
    live: Any = None
    judged = 0
    for number, step in enumerate(row["steps"]):
        if step["op"] != "post" and step["status"] != 422:  # validation is no part of this
            try:
                got, code = perform(row, step, live), 200
            except StatusError as failure:
                got, code = failure.to_object(), failure.code
            where = f"step {number}: {step['op']} by {step['manager']}"
            if step["status"] < 300:
                assert code == 200, f"{where}: {got}"
                assert entries(got) == entries(step["answer"]), where
            else:
                assert comparable(got) == comparable(step["answer"]), where
            judged += 1
        if step["status"] < 300:
            live = step["answer"]
    assert judged >= 11
