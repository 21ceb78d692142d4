"""What a real 1.37 API server answered to custom resources of one CRD with every validation keyword."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.schema.structural import apply_defaults, drop_nulls, prune, shape_of_schema, validate

RECORDINGS = Path(__file__).parents[2] / "conformance" / "recordings" / "1.37"
SCENARIOS = json.loads((RECORDINGS / "cr_validation.json").read_text())
CRD = SCENARIOS[0]["steps"][0]["body"]
SHAPE = shape_of_schema(CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
CASES = [scenario["steps"][0] for scenario in SCENARIOS if "/case-" in scenario["name"]]


@pytest.mark.parametrize("step", CASES, ids=lambda step: json.dumps(step["body"]["spec"])[:60])
def test_a_custom_resource_is_answered_as_the_real_server_answers_it(step: dict[str, Any]) -> None:
    obj = copy.deepcopy(step["body"])
    prune(obj, SHAPE)
    drop_nulls(obj, SHAPE)
    apply_defaults(obj, SHAPE)
    errors = validate(obj, SHAPE)

    answer = step["answer"]["body"]
    if step["answer"]["status"] == 201:
        assert errors == []
        assert obj["spec"] == answer["spec"]
    else:
        assert _sorted([error.cause() for error in errors]) == _sorted(answer["details"]["causes"])


def _sorted(causes: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(causes, key=lambda cause: sorted(cause.items()))
