"""What a real API server answered to custom resources of one CRD with every validation keyword."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.schema.structural import apply_defaults, drop_nulls, prune, shape_of_schema, validate

RECORDED = json.loads((Path(__file__).parent / "recorded" / "custom_resources.json").read_text())
SHAPE = shape_of_schema(RECORDED["schema"])


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: json.dumps(case["spec"])[:60])
def test_a_custom_resource_is_answered_as_the_real_server_answers_it(case: dict[str, Any]) -> None:
    obj = {"apiVersion": "o.example.com/v1", "kind": "Valid", "metadata": {"name": "c"}}
    obj["spec"] = copy.deepcopy(case["spec"])
    prune(obj, SHAPE)
    drop_nulls(obj, SHAPE)
    apply_defaults(obj, SHAPE)
    errors = validate(obj, SHAPE)

    if "stored" in case:
        assert errors == []
        assert obj["spec"] == case["stored"]
    else:
        assert _sorted([error.cause() for error in errors]) == _sorted(case["causes"])


def _sorted(causes: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(causes, key=lambda cause: sorted(cause.items()))
