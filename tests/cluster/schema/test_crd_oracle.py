"""What a real API server answered to invalid CustomResourceDefinitions."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.schema.crd import set_defaults, status_on_create
from slipway.cluster.schema.crd_validation import crd_errors

RECORDED = json.loads((Path(__file__).parent / "recorded" / "invalid_crds.json").read_text())


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: case["name"])
def test_an_invalid_crd_is_answered_as_the_real_server_answers_it(case: dict[str, Any]) -> None:
    crd = copy.deepcopy(case["crd"])
    set_defaults(crd)
    crd["status"] = status_on_create(crd)

    assert _sorted([error.cause() for error in crd_errors(crd)]) == _sorted(case["causes"])


def _sorted(causes: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(causes, key=lambda cause: sorted(cause.items()))
