"""Edges, holds, cooldowns, budgets and hysteresis, one step at a time in virtual time."""

from typing import Any

import pytest

from kco.rules.book import RuleBook
from kco.rules.trigger import Observation
from kco.spec.reading import read
from kco.spec.targetapp import TargetAppSpec
from kco.state.value import MISSING


def spec(*actions: dict[str, Any], **more: Any) -> TargetAppSpec:
    return read(
        {"graphqlEndpoint": "http://a/graphql", "stateQuery": "{ x }", "actions": list(actions), **more}
    )


def rule(condition: str = "greater_than", value: Any = 0.85, **more: Any) -> dict[str, Any]:
    trigger = {"field": "x", "condition": condition, "value": value, **more.pop("trigger", {})}
    return {"name": "r", "trigger": trigger, "action": "webhook", "parameters": {}, **more}


class Line:
    """Feeds values of `x` to a book and notes when the rule fires."""

    def __init__(self, book: RuleBook) -> None:
        self.book = book
        self.previous: Any = MISSING
        self.fired: list[float] = []
        self.outcomes: list[str] = []

    def see(self, at: float, value: Any) -> str:
        state = {} if value is MISSING else {"x": value}
        stepped = self.book.observe("", Observation(state, self.previous), at)
        self.previous = state
        self.fired += [at for _ in stepped.fired]
        outcome = stepped.decisions["r"].outcome
        self.outcomes.append(outcome)
        return outcome


def line(**given: Any) -> Line:
    return Line(RuleBook(spec(rule(**given))))


def test_29_crossing_a_threshold_fires_once_until_it_clears() -> None:
    values = line()
    for at, value in enumerate([0.80, 0.86, 0.87, 0.88, 0.80, 0.90]):
        values.see(at, value)
    assert values.fired == [1, 5]


def test_29_repeat_every_fires_again_while_the_condition_holds() -> None:
    values = line(repeatEvery="10s")
    for at in range(0, 30, 2):
        values.see(at, 1.0)
    assert values.fired == [0, 10, 20]


def test_29_changed_fires_for_each_change() -> None:
    values = line(condition="changed")
    assert [values.see(at, value) for at, value in enumerate(["a", "a", "b", "c", "c", MISSING])] == [
        "idle",
        "idle",
        "fired",
        "fired",
        "idle",
        "fired",
    ]


def test_30_for_fires_only_after_the_condition_has_held_so_long() -> None:
    values = line(**{"for": "10m"})
    for at in range(0, 1200, 30):
        values.see(at, 1.0 if at >= 60 else 0.0)
    assert values.fired == [660]


def test_30_a_gap_in_the_condition_starts_the_hold_anew() -> None:
    values = line(**{"for": 60})
    for at, value in [(0, 1.0), (50, 0.0), (60, 1.0), (110, 1.0), (120, 1.0)]:
        values.see(at, value)
    assert values.fired == [120]


def test_30_cooldown_delays_a_second_edge_and_does_not_lose_it() -> None:
    values = line(cooldown="100s")
    for at, value in [(0, 1.0), (10, 0.0), (20, 1.0), (60, 1.0), (100, 1.0)]:
        values.see(at, value)
    assert values.fired == [0, 100]
    assert values.outcomes[2:4] == ["suppressed", "suppressed"]


def test_30_a_condition_that_clears_during_the_cooldown_does_not_fire() -> None:
    values = line(cooldown="100s")
    for at, value in [(0, 1.0), (10, 0.0), (20, 1.0), (60, 0.0), (100, 0.0)]:
        values.see(at, value)
    assert values.fired == [0]


def test_30_max_per_hour_holds_back_until_the_oldest_is_an_hour_old() -> None:
    values = line(maxPerHour=2)
    for at in range(0, 4000, 100):
        values.see(at, 1.0 if at % 200 == 0 else 0.0)
    assert values.fired == [0, 200, 3600, 3800]


def test_30_the_budget_of_the_target_counts_all_rules() -> None:
    second = {**rule(), "name": "s"}
    book = RuleBook(spec(rule(), second, maxActionsPerHour=1))
    stepped = book.observe("", Observation({"x": 1.0}), 0)
    assert [fired.rule.rule for fired in stepped.fired] == ["r"]
    assert stepped.decisions["s"].outcome == "suppressed"
    assert "maxActionsPerHour" in stepped.decisions["s"].reason


def test_30_hysteresis_clears_only_beyond_the_clear_bound() -> None:
    values = line(trigger={"clear": 0.7})
    for at, value in enumerate([0.9, 0.8, 0.9, 0.75, 0.9, 0.69, 0.9]):
        values.see(at, value)
    assert values.fired == [0, 6]


@pytest.mark.parametrize("moment", range(1, 9))
def test_30_memory_survives_a_restart_at_any_moment(moment: int) -> None:
    given = {"for": "20s", "cooldown": "60s", "maxPerHour": 3, "trigger": {"clear": 0.5}}
    script = [
        (0, 0.9),
        (10, 0.9),
        (20, 0.8),
        (30, 0.4),
        (40, 0.9),
        (60, 0.9),
        (80, 0.9),
        (100, 0.9),
        (200, 0.9),
    ]
    undisturbed = line(**given)
    for at, value in script:
        undisturbed.see(at, value)
    restarted = line(**given)
    for position, (at, value) in enumerate(script):
        if position == moment:
            entries = restarted.book.write()
            restarted.book = RuleBook(spec(rule(**given)), entries)
        restarted.see(at, value)
    assert restarted.fired == undisturbed.fired == [20, 80]


def test_04_editing_one_rule_resets_only_that_rule() -> None:
    other = {**rule(), "name": "other"}
    book = RuleBook(spec(rule(), other))
    book.observe("", Observation({"x": 1.0}), 0)
    book.replace_rules(spec(rule(value=0.5), other))
    stepped = book.observe("", Observation({"x": 1.0}), 1)
    assert [(fired.rule.rule, fired.decision.transition) for fired in stepped.fired] == [("r", 2)]


def test_04_reordering_unnamed_rules_resets_none() -> None:
    first, second = rule(), rule(value=0.5)
    del first["name"], second["name"]
    book = RuleBook(spec(first, second))
    assert len(book.observe("", Observation({"x": 1.0}), 0).fired) == 2
    book.replace_rules(spec(second, first))
    assert not book.observe("", Observation({"x": 1.0}), 1).fired


def test_31_all_and_any_compose() -> None:
    trigger = {
        "all": [
            {"field": "a", "condition": "equals", "value": 1},
            {"any": [{"field": "b", "condition": "exists"}, {"field": "c", "condition": "exists"}]},
        ]
    }
    book = RuleBook(spec({"name": "r", "trigger": trigger, "action": "webhook"}))
    assert not book.observe("", Observation({"a": 1}), 0).fired
    assert not book.observe("", Observation({"b": 1}), 1).fired
    assert book.observe("", Observation({"a": 1, "c": 0}), 2).fired


@pytest.mark.parametrize(
    ("path", "match", "expected"),
    [
        ("nodes[*].status", "any", True),
        ("nodes[*].status", "all", False),
        ("nodes[1].status", "any", True),
        ("nodes[0].status", "any", False),
        ("nodes[7].status", "any", False),
        ("nothing[*].status", "all", False),
    ],
)
def test_31_list_positions_and_wildcards(path: str, match: str, expected: bool) -> None:
    trigger = {"field": path, "condition": "equals", "value": "down", "match": match}
    book = RuleBook(spec({"name": "r", "trigger": trigger, "action": "webhook"}))
    state = {"nodes": [{"status": "up"}, {"status": "down"}]}
    assert bool(book.observe("", Observation(state), 0).fired) is expected


def test_32_failed_runs_open_the_breaker_and_it_closes_by_itself() -> None:
    book = RuleBook(spec(rule(breaker={"failures": 2, "resetAfter": "100s"}, repeatEvery="1s")))
    fired = []
    for at in range(0, 140, 10):
        stepped = book.observe("", Observation({"x": 1.0}), at)
        if stepped.fired:
            fired.append(at)
            book.settle("r", "", succeeded=False, now=at)
    assert fired == [0, 10, 110]


def test_22_rules_about_the_endpoint_are_judged_without_a_state() -> None:
    down = {"field": "@endpoint.up", "condition": "equals", "value": False}
    book = RuleBook(spec({"name": "down", "trigger": down, "action": "webhook"}, rule()))
    stepped = book.observe("", Observation({}, MISSING, {"up": False}), 0, endpoint_only=True)
    assert [fired.rule.rule for fired in stepped.fired] == ["down"]
    assert "r" not in stepped.decisions


def test_47_the_ledger_knows_a_later_transition_than_the_status() -> None:
    book = RuleBook(spec(rule()))
    book.already_ran("r", "", 7, 0)
    assert not book.observe("", Observation({"x": 1.0}), 1).fired
    book.observe("", Observation({"x": 0.0}), 2)
    assert book.observe("", Observation({"x": 1.0}), 3).fired[0].decision.transition == 8
