"""What a real 1.37 API server says of CRDs with CEL rules: compile errors, costs, and evaluation on a default."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.schema.crd import set_defaults, status_on_create
from slipway.cluster.schema.crd_validation import crd_errors

RECORDED = json.loads((Path(__file__).parent / "recorded" / "rules_1.37.json").read_text())
COSTS = json.loads((Path(__file__).parent / "recorded" / "rule_costs_1.37.json").read_text())
SPEC = "spec.validation.openAPIV3Schema.properties[spec]"


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: json.dumps(case["rule"])[:80])
def test_a_rule_is_answered_as_the_real_server_answers_it(case: dict[str, Any]) -> None:
    spec = {**copy.deepcopy(RECORDED["schema"]), "x-kubernetes-validations": [case["rule"]]}
    assert answers(spec, SPEC) == sorted(case["answers"])


@pytest.mark.parametrize("case", COSTS["cases"], ids=lambda case: case["rule"])
def test_each_function_costs_what_it_costs_the_real_server(case: dict[str, Any]) -> None:
    items = {"type": "string", "x-kubernetes-validations": [{"rule": case["rule"]}]}
    spec = {"type": "array", "maxItems": 100, "items": items}
    assert answers(spec, f"{SPEC}.items") == sorted(case["answers"])


def answers(spec: dict[str, Any], place: str) -> list[str]:
    """What is said of a definition whose objects have this spec; fields are told from `place` on."""
    schema = {"type": "object", "properties": {"spec": spec}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "difs", "kind": "Dif"}
    crd = {
        "metadata": {"name": "difs.dif.example.com"},
        "spec": {"group": "dif.example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    set_defaults(crd)
    crd["status"] = status_on_create(crd)
    said = [f"{error.field.removeprefix(place)}: {error.body}" for error in crd_errors(crd)]
    return sorted(re.sub(r"selfType\d*", "selfType", one) for one in said)
