"""What a TargetApp may say, and in which words it is told that it may not."""

import json
from typing import Any

import pytest
from graphql import build_schema, get_introspection_query, graphql_sync
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kco.spec import lint
from kco.spec.crd import manifests
from kco.spec.document import InvalidQuery, check_query, read_schema
from kco.spec.duration import parse_duration
from kco.spec.reading import InvalidSpec, read
from kco.spec.targetapp import TargetAppSpec

GOOD = {"graphqlEndpoint": "http://a/graphql", "stateQuery": "{ a }"}
MINA = """
type Query { syncStatus: SyncStatus!, daemonStatus: DaemonStatus! }
type DaemonStatus { blockchainLength: Int, peers: [Peer!]!, version: String }
type Peer { host: String }
enum SyncStatus { CONNECTING LISTENING OFFLINE BOOTSTRAP SYNCED CATCHUP }
"""


def problems(**changes: Any) -> str:
    with pytest.raises(InvalidSpec) as failure:
        read({**GOOD, **changes})
    return "\n".join(failure.value.problems)


def action(**changes: Any) -> list[dict[str, Any]]:
    trigger = changes.pop("trigger", {"field": "a", "condition": "equals", "value": 1})
    return [{"trigger": trigger, "action": "webhook", **changes}]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pollingInterval": 0}, "spec.pollingInterval: Input should be greater than or equal to 1"),
        ({"pollingInterval": "20"}, "spec.pollingInterval"),
        ({"stateQury": "x"}, "spec.stateQury: unknown field"),
        ({"stateQuery": None}, "spec.stateQuery: is needed and missing"),
        ({"actions": action(trigger={"field": "a", "condition": "equls", "value": 1})}, "equls"),
        (
            {"actions": action(trigger={"field": "a", "condition": "equals"})},
            "condition equals needs a value",
        ),
        (
            {"actions": action(trigger={"field": "a", "condition": "greater_than", "value": "1"})},
            "needs a number",
        ),
        ({"actions": action(trigger={"field": "a", "condition": "in", "value": 1})}, "needs a list"),
        (
            {"actions": action(trigger={"field": "a", "condition": "matches", "value": "("})},
            "regular expression",
        ),
        ({"actions": action(trigger={"field": "a.", "condition": "exists"})}, "path 'a.'"),
        ({"actions": action(trigger={})}, "exactly one of"),
        ({"actions": action(**{"for": "ten"})}, "is not a length of time"),
        ({"actions": action() * 101}, "101 actions; at most 100"),
        ({"actions": [*action(name="x"), *action(name="x")]}, "two actions have the same name"),
        ({"headers": [{"name": "A", "value": "x\r\nB: y"}]}, "line breaks"),
        ({"headers": [{"name": "A"}]}, "exactly one of value and valueFrom"),
        (
            {"actions": action(trigger={"field": "a", "condition": "greater_than", "value": 1, "clear": 2})},
            "clear must be at most value",
        ),
    ],
)
def test_33_each_wrong_field_is_named_with_what_is_allowed(changes: dict[str, Any], words: str) -> None:
    assert words in problems(**changes)


def test_17_an_empty_selector_with_a_path_is_refused() -> None:
    for selector in ({}, {"selector": {}}, {"selector": {"matchLabels": {}}}):
        with pytest.raises(InvalidSpec, match="selector must choose pods"):
            read({"stateQuery": "{ a }", **selector})
    assert read(
        {"stateQuery": "{ a }", "selector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}
    )


def test_28_value_is_optional_for_exists_not_exists_and_changed() -> None:
    for condition in ("exists", "not_exists", "changed"):
        read({**GOOD, "actions": action(trigger={"field": "a", "condition": condition})})


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("x" * 100_000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [field.alias or name for name, field in TargetAppSpec.model_fields.items()]


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.dictionaries(st.sampled_from(FIELDS), junk, max_size=4), junk)
def test_58_no_spec_whatsoever_does_more_than_give_a_message(parts: dict[str, Any], trigger: Any) -> None:
    given_spec = {**GOOD, **parts}
    if isinstance(given_spec.get("actions"), list):
        given_spec["actions"] = [{"trigger": trigger, "action": "webhook"}]
    said = "fine"
    try:
        lint.check(read(given_spec))
    except (InvalidSpec, InvalidQuery) as failure:
        said = str(failure)
    assert 0 < len(said) < 5000


def test_58_ten_thousand_actions_and_deep_nesting_are_refused_quickly() -> None:
    assert "10000 actions" in problems(actions=action() * 10_000)
    deep: Any = {"field": "a", "condition": "exists"}
    for _ in range(500):
        deep = {"all": [deep]}
    problems(actions=action(trigger=deep))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("   ", "empty"),
        ("{", "is not GraphQL at line 1"),
        ("mutation { reset }", "has a mutation; only a query is sent"),
        ("subscription { a }", "has a subscription"),
        ("query A { a } query B { b }", "2 operations; set operationName"),
        ("query A { a } mutation B { b }", "2 operations"),
        ("fragment F on Q { a }", "no operation"),
        ("{ ...F }", "does not define"),
        ("{ ...F } fragment F on Q { ...F }", "contains itself"),
        ("{" + "a {" * 40 + "b" + "}" * 41, "deeper"),
        ("{ a }" * 3000, "not GraphQL"),
    ],
)
def test_25_only_one_query_is_accepted(text: str, words: str) -> None:
    with pytest.raises(InvalidQuery, match=words):
        check_query(text)


def test_25_a_mutation_beside_a_chosen_query_is_refused_too() -> None:
    with pytest.raises(InvalidQuery, match="mutation"):
        check_query("query A { a } mutation B { b }", operation_name="A")


def lint_of(query: str, trigger: dict[str, Any], schema: str | None = MINA) -> list[str]:
    spec = read({**GOOD, "stateQuery": query, "actions": action(trigger=trigger)})
    return lint.check(spec, read_schema(schema) if schema else None)[1]


@pytest.mark.parametrize(
    ("query", "trigger", "words"),
    [
        ("{ syncStatus }", {"field": "syncstatus", "condition": "exists"}, "did you mean 'syncStatus'"),
        (
            "{ syncStatus }",
            {"field": "syncStatus", "condition": "equals", "value": "CATCHPU"},
            "did you mean 'CATCHUP'",
        ),
        (
            "{ syncStatus }",
            {"field": "syncStatus", "condition": "in", "value": ["SYNCED", "X"]},
            "'X' is not a value",
        ),
        (
            "{ syncStatus }",
            {"field": "syncStatus", "condition": "greater_than", "value": 1},
            "is the enum SyncStatus",
        ),
        ("{ syncStat }", {"field": "syncStat", "condition": "exists"}, "Cannot query field 'syncStat'"),
        (
            "{ daemonStatus { version } }",
            {"field": "daemonStatus.version", "condition": "less_than", "value": 1},
            "is String",
        ),
        (
            "{ daemonStatus { blockchainLength } }",
            {"field": "daemonStatus.blockchainLength", "condition": "equals", "value": "1"},
            "never equals '1'",
        ),
        (
            "{ daemonStatus { peers { host } } }",
            {"field": "daemonStatus.peers[*].name", "condition": "exists"},
            "is not in the query",
        ),
    ],
)
def test_33_a_schema_proves_triggers_wrong(query: str, trigger: dict[str, Any], words: str) -> None:
    assert any(words in problem for problem in lint_of(query, trigger)), lint_of(query, trigger)


def test_33_right_triggers_pass_with_aliases_fragments_and_lists() -> None:
    query = "{ s: syncStatus daemonStatus { ...D } } fragment D on DaemonStatus { peers { host } }"
    assert not lint_of(query, {"field": "s", "condition": "equals", "value": "CATCHUP"})
    assert not lint_of(query, {"field": "daemonStatus.peers[*].host", "condition": "equals", "value": "h"})
    assert not lint_of(query, {"field": "@endpoint.up", "condition": "equals", "value": False})


def test_33_a_schema_may_be_an_introspection_result() -> None:
    result = graphql_sync(build_schema(MINA), get_introspection_query())
    schema = json.dumps({"data": result.data})
    trigger = {"field": "syncStatus", "condition": "equals", "value": "SINCED"}
    assert "did you mean 'SYNCED'" in lint_of("{ syncStatus }", trigger, schema)[0]


@pytest.mark.parametrize(
    ("text", "seconds"), [(90, 90), ("90", 90), ("10m", 600), ("1h30m", 5400), ("250ms", 0.25)]
)
def test_30_lengths_of_time(text: Any, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "m", "10 apples", "-1", -1, True, None, "1y", float("nan"), float("inf"), "9" * 400]
)
def test_30_what_is_no_length_of_time_is_refused(text: Any) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


def test_14_the_manifests_are_made_from_the_fields(request: pytest.FixtureRequest) -> None:
    root = request.config.rootpath / "operators" / "kco"
    for name, text in manifests().items():
        assert (root / "crds" / name).read_text() == text, (
            "run: python -m kco.spec.crd operators/kco/crds operators/kco/chart/crds"
        )
        assert (root / "chart" / "crds" / name).read_text() == text


def test_64_what_targets_have_in_common_is_kept_once() -> None:
    def written(number: int) -> dict[str, Any]:
        rule = {
            "name": "restart",
            "trigger": {"field": "application.health", "condition": "equals", "value": "unhealthy"},
            "action": "restart_pod",
        }
        return {
            "stateQuery": "{ application { health } }",
            "graphqlEndpoint": f"http://h{number}/g",
            "actions": [rule],
        }

    one, other = read(written(1)), read(written(2))
    assert one.actions[0] is other.actions[0]
    assert one.state_query is other.state_query
    assert one.__dict__.keys() == {"state_query", "graphql_endpoint", "actions"}
    edited = written(1)
    edited["actions"][0]["trigger"]["value"] = True
    alike = written(1)
    alike["actions"][0]["trigger"]["value"] = 1
    assert read(edited).actions[0].fingerprint != read(alike).actions[0].fingerprint


def test_64_what_was_not_given_has_its_default() -> None:
    spec = read({"stateQuery": "{ a }", "graphqlEndpoint": "http://h/g", "port": 8080, "dryRun": False})
    whole = TargetAppSpec.model_validate({"stateQuery": "{ a }", "graphqlEndpoint": "http://h/g"})
    for name in TargetAppSpec.model_fields:
        assert getattr(spec, name) == getattr(whole, name), name
    with pytest.raises(AttributeError, match="no_such_field"):
        spec.no_such_field  # noqa: B018
