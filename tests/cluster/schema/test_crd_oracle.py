"""What a real 1.37 API server answered to invalid CustomResourceDefinitions."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.schema.crd import set_defaults, status_on_create
from slipway.cluster.schema.crd_validation import crd_errors

RECORDINGS = Path(__file__).parents[2] / "conformance" / "recordings" / "1.37"
SCENARIOS = json.loads((RECORDINGS / "crd_invalid.json").read_text())


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["name"])
def test_an_invalid_crd_is_answered_as_the_real_server_answers_it(scenario: dict[str, Any]) -> None:
    (step,) = scenario["steps"]
    crd = copy.deepcopy(step["body"])
    set_defaults(crd)
    crd["status"] = status_on_create(crd)

    causes = [error.cause() for error in crd_errors(crd)]
    assert _sorted(causes) == _sorted(step["answer"]["body"]["details"]["causes"])


def _sorted(causes: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(causes, key=lambda cause: sorted(cause.items()))
