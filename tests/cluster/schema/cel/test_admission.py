"""matchConditions: what a real server 1.37 answers to them, and how they decide."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from slipway.cluster.schema.cel.admission import (
    UndecidedConditions,
    compile_condition,
    conditions_match,
    match_condition_errors,
)
from slipway.cluster.schema.cel.authorizer import Access, Answer, Authorizer

RECORDED = Path(__file__).parent.parent / "recorded" / "match_conditions_1.37.json"
Object = dict[str, Any]


def case_name(case: Object) -> str:
    first = case["conditions"][0]
    return str(first.get("expression") if first.get("name") == "c" else first.get("name"))


@pytest.mark.parametrize("case", json.loads(RECORDED.read_text()), ids=case_name)
def test_a_configuration_gets_the_answer_of_a_real_server(case: Object) -> None:
    errors = match_condition_errors(case["conditions"], "webhooks[0].matchConditions")
    assert [error.cause() for error in errors] == case["causes"]


def decide(access: Access) -> Answer:
    return Answer(access.verb == "get", reason=f"{access}")


def bindings(**given: Any) -> Object:
    own = Access(resource="pods", namespace="prod", name="web")
    return {
        "object": {"metadata": {"name": "web"}},
        "oldObject": None,
        "request": {"operation": "CREATE", "userInfo": {"username": "bob", "groups": ["dev"]}},
        "namespaceObject": {"metadata": {"name": "prod", "labels": {"tier": "1"}}},
        "authorizer": Authorizer(decide, own),
        **given,
    }


def holds(*expressions: str) -> bool:
    conditions = [{"name": f"c{i}", "expression": e} for i, e in enumerate(expressions)]
    return conditions_match(conditions, bindings())


@pytest.mark.parametrize(
    ("expressions", "expected"),
    [
        ([], True),
        (["true", "object.metadata.name == 'web'"], True),
        (["oldObject == null", "request.operation in ['CREATE']"], True),
        (["'dev' in request.userInfo.groups"], True),
        (["!has(request.dryRun)"], True),
        (["namespaceObject.metadata.labels['tier'] == '1'"], True),
        (["true", "request.userInfo.username == 'ann'"], False),
        (["object.spec.x == 1", "false"], False),
        (["authorizer.requestResource.check('get').allowed()"], True),
        (["authorizer.requestResource.check('delete').allowed()"], False),
        (["authorizer.requestResource.check('get').reason().contains('prod')"], True),
        (["authorizer.path('/healthz').check('get').allowed()"], True),
        (["authorizer.path('/healthz').check('get').errored()"], False),
    ],
)
def test_all_conditions_must_hold_and_one_that_is_false_decides(
    expressions: list[str], expected: bool
) -> None:
    assert holds(*expressions) is expected


def test_errors_leave_it_undecided() -> None:
    with pytest.raises(UndecidedConditions) as raised:
        holds("object.x == 1", "true")
    assert str(raised.value) == "expression 'object.x == 1' resulted in error: no such key: x"
    with pytest.raises(UndecidedConditions) as raised:
        holds("object.x == 1", "object.y == 1")
    assert str(raised.value).startswith("[expression 'object.x == 1'")


def test_the_authorizer_is_asked_for_what_the_expression_says() -> None:
    asked: list[Access] = []

    def note(access: Access) -> Answer:
        asked.append(access)
        return Answer(True)

    expression = (
        "authorizer.serviceAccount('ns', 'sa').group('apps').resource('deployments').subresource('scale')"
        ".namespace('x').name('y').fieldSelector('a=b').check('update').allowed()"
    )
    program = compile_condition(expression)
    assert program.evaluate(bindings(authorizer=Authorizer(note)))
    assert asked == [Access("update", "apps", "deployments", "scale", "x", "y", service_account=("ns", "sa"))]
