"""What a real 1.37 API server answers to CustomResourceDefinitions, most of them invalid."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.schema.crd import set_defaults, status_on_create
from slipway.cluster.schema.crd_validation import crd_errors

HERE = Path(__file__).parent
SCENARIOS = json.loads(
    (HERE.parents[1] / "conformance" / "recordings" / "1.37" / "crd_invalid.json").read_text()
)
RECORDED = json.loads((HERE / "recorded" / "crds_1.37.json").read_text())["cases"]


def answers(crd: dict[str, Any]) -> list[str]:
    set_defaults(crd)
    crd["status"] = status_on_create(crd)
    return sorted(f"{error.reason} {error}" for error in crd_errors(crd))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario["name"])
def test_an_invalid_crd_is_answered_as_the_real_server_answers_it(scenario: dict[str, Any]) -> None:
    (step,) = scenario["steps"]
    causes = step["answer"]["body"]["details"]["causes"]
    wanted = [f"{cause['reason']} {cause['field']}: {cause['message']}" for cause in causes]
    assert answers(copy.deepcopy(step["body"])) == sorted(wanted)


@pytest.mark.parametrize("number", range(len(RECORDED)))
def test_every_rule_of_crds_is_worded_as_the_real_server_words_it(number: int) -> None:
    metadata, spec, wanted = copy.deepcopy(RECORDED[number])
    assert answers({"metadata": metadata, "spec": spec}) == sorted(wanted)
