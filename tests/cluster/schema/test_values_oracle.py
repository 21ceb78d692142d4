"""What a real 1.37 API server says of values against schemas: 1,450 defaults in CRDs, every format and keyword."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.schema.crd_schema import SchemaContext, schema_errors

RECORDED = json.loads((Path(__file__).parent / "recorded" / "values_1.37.json").read_text())


@pytest.mark.parametrize(
    "number", range(len(RECORDED["schemas"])), ids=lambda n: json.dumps(RECORDED["schemas"][n])[:70]
)
def test_values_are_answered_as_the_real_server_answers_them(number: int) -> None:
    rows = [row for row in RECORDED["cases"] if row[0] == number]
    assert rows
    for _, value, answers in rows:
        assert _answers(RECORDED["schemas"][number], value) == sorted(answers), value


def _answers(schema: dict[str, Any], value: Any) -> list[str]:
    field = {**copy.deepcopy(schema), "default": value}
    spec = {"type": "object", "properties": {"p": field}}
    errors = schema_errors({"type": "object", "properties": {"spec": spec}}, "root", SchemaContext())
    place = "root.properties[spec].properties[p]"
    return sorted(f"{error.reason} {error.field.removeprefix(place)}: {error.body}" for error in errors)
