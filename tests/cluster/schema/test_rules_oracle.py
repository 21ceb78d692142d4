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
SPEC = "spec.validation.openAPIV3Schema.properties[spec]"


@pytest.mark.parametrize("case", RECORDED["cases"], ids=lambda case: json.dumps(case["rule"])[:80])
def test_a_rule_is_answered_as_the_real_server_answers_it(case: dict[str, Any]) -> None:
    spec = {**copy.deepcopy(RECORDED["schema"]), "x-kubernetes-validations": [case["rule"]]}
    schema = {"type": "object", "properties": {"spec": spec}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "difs", "kind": "Dif"}
    crd = {
        "metadata": {"name": "difs.dif.example.com"},
        "spec": {"group": "dif.example.com", "scope": "Namespaced", "names": names, "versions": [version]},
    }
    set_defaults(crd)
    crd["status"] = status_on_create(crd)

    answers = [f"{error.field.removeprefix(SPEC)}: {error.body}" for error in crd_errors(crd)]
    assert sorted(re.sub(r"selfType\d*", "selfType", answer) for answer in answers) == sorted(case["answers"])
