"""Scenario files: states over time, and what the rules are expected to do.

    targetApp: daemon.yaml          # a manifest beside the file, or the object itself
    schema: daemon.graphql          # optional: triggers are checked against it first
    steps:
      - at: 0s
        state: {syncStatus: SYNCED}     # replaces the state (`set` merges into it, `down: true` stops answering)
      - at: 5m
        set: {syncStatus: CATCHUP}
      - at: 16m
        expect: {fired: {restart-stuck: 1}}
    expect:                         # at the end; `fired` counts by rule, `at` when each came
      fired: {restart-stuck: 1}
      at: {restart-stuck: [15m]}

`results: {rule: Failed}` in a step makes the runs of a rule fail from then on. The last `at` ends the scenario.
"""

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kco.rules.step import OUTCOMES
from kco.simulation.timeline import Simulation
from kco.spec import lint
from kco.spec.document import InvalidQuery, read_schema, suggestion
from kco.spec.duration import parse_duration
from kco.spec.reading import InvalidSpec, read
from kco.spec.targetapp import TargetAppSpec
from kco.spec.yaml_file import Unreadable, read_documents, read_text

FILE_KEYS = {"name", "targetApp", "schema", "steps", "expect"}
STEP_KEYS = {"at", "state", "set", "down", "instance", "expect", "results"}
EXPECT_KEYS = {"fired", "at", "held", "outcome"}
RESULTS = ("Succeeded", "Failed")


class InvalidScenario(Exception):
    """A scenario file that cannot be run; the text names the file and the place."""


@dataclass
class Outcome:
    """What came of one scenario."""

    name: str
    failures: list[str] = field(default_factory=list)
    simulation: Simulation | None = None


def run(path: Path) -> Outcome:
    """Run one scenario file."""
    document = _load(path)
    spec = _spec(document, path)
    outcome = Outcome(str(document.get("name") or path.name))
    simulation = outcome.simulation = Simulation(spec)
    steps = document.get("steps") or []
    if not isinstance(steps, list) or not steps:
        raise InvalidScenario(f"{path}: steps: give a list with at least one step")
    for position, step in enumerate(steps):
        place = f"{path}: steps[{position}]"
        if not isinstance(step, dict) or "at" not in step:
            raise InvalidScenario(f"{place}: must be an object with at")
        _known_keys(step, STEP_KEYS, place)
        moment = _duration(step["at"], place)
        if moment < simulation.now:
            raise InvalidScenario(f"{place}: at {step['at']} lies before the step above")
        # A state that comes at this moment is what the poll of this moment sees.
        changes = {"state", "set", "down"} & set(step)
        if not changes:
            simulation.advance(moment)
        elif moment > 0:
            simulation.advance(moment - 1e-6)
        _apply(simulation, step, place)
        if changes:
            simulation.advance(moment)
        outcome.failures += _compare(simulation, step.get("expect"), f"at {step['at']}", place)
    outcome.failures += _compare(simulation, document.get("expect"), "at the end", str(path))
    return outcome


def _known_keys(given: dict[str, Any], known: set[str], place: str) -> None:
    for key in given:
        if key not in known:
            raise InvalidScenario(f"{place}: unknown key {key!r}{suggestion(key, sorted(known))}")


def _object(given: Any, place: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise InvalidScenario(f"{place}: must be an object")
    return given


def _by_rule(simulation: Simulation, given: Any, place: str) -> dict[str, Any]:
    """What a file says of each rule: an object whose keys are rules."""
    rules = sorted(rule.rule for rule in simulation.spec.actions)
    words = _object({} if given is None else given, place)
    for rule in words:
        if rule not in rules:
            raise InvalidScenario(f"{place}: no rule {rule!r}{suggestion(rule, rules)}")
    return words


def _apply(simulation: Simulation, step: dict[str, Any], place: str) -> None:
    instance = str(step.get("instance") or "")
    for rule, word in _by_rule(simulation, step.get("results"), f"{place}: results").items():
        if word not in RESULTS:
            raise InvalidScenario(f"{place}: results: {rule}: {word!r} is none of {', '.join(RESULTS)}")
        simulation.results[rule] = word == "Succeeded"
    if step.get("down"):
        simulation.turn(None, instance)
    if "state" in step:
        state = _object(step["state"], f"{place}: state")
        simulation.turn(copy.deepcopy(state), instance)
    if "set" in step:
        change = _object(step["set"], f"{place}: set")
        state = copy.deepcopy(simulation._states.get(instance) or simulation._previous.get(instance) or {})
        _merge(state, change)
        simulation.turn(state, instance)


def _compare(simulation: Simulation, expected: Any, when: str, place: str) -> list[str]:
    if expected is None:
        return []
    place = f"{place}: expect"
    _known_keys(_object(expected, place), EXPECT_KEYS, place)
    parts = {key: _by_rule(simulation, expected.get(key), f"{place}: {key}") for key in EXPECT_KEYS}
    fired: dict[str, list[float]] = {rule.rule: [] for rule in simulation.spec.actions}
    for happening in simulation.happened:
        if happening.outcome == "fired":
            fired[happening.rule].append(happening.at)
    failures = []
    for rule, count in parts["fired"].items():
        if not isinstance(count, int) or isinstance(count, bool):
            raise InvalidScenario(f"{place}: fired: {rule}: {count!r} is not a whole number")
        if len(fired[rule]) != count:
            why = _why(simulation, rule)
            failures.append(f"{when}: rule {rule} fired {len(fired[rule])} times, expected {count}; {why}")
    for rule, times in parts["at"].items():
        if not isinstance(times, list):
            raise InvalidScenario(f"{place}: at: {rule}: give a list of times, as in [5m, 1h]")
        wanted = [_duration(text, place) for text in times]
        if fired[rule] != wanted:
            shown = ", ".join(spell(moment) for moment in fired[rule]) or "never"
            failures.append(f"{when}: rule {rule} fired at {shown}, expected {', '.join(map(str, times))}")
    for rule, outcome in [*parts["held"].items(), *parts["outcome"].items()]:
        if outcome not in OUTCOMES:
            raise InvalidScenario(f"{place}: outcome: {rule}: {outcome!r} is none of {', '.join(OUTCOMES)}")
        found = {decision.outcome for (name, _), decision in simulation.book.latest() if name == rule}
        if outcome not in found:
            shown = ", ".join(sorted(found)) or "idle"
            failures.append(f"{when}: rule {rule} is {shown}, expected {outcome}")
    return failures


def _why(simulation: Simulation, rule: str) -> str:
    words = [text for name, _, text in simulation.explain() if name == rule]
    return words[0] if words else "it was never judged"


def spell(seconds: float) -> str:
    """A moment of virtual time: 15m30s."""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    parts = [f"{hours}h" if hours else "", f"{minutes}m" if minutes else "", f"{left}s" if left else ""]
    return "".join(parts) or "0s"


def _load(path: Path) -> dict[str, Any]:
    try:
        document = next(iter(read_documents(path)), None)
    except Unreadable as failure:
        raise InvalidScenario(str(failure)) from None
    if not isinstance(document, dict):
        raise InvalidScenario(f"{path}: must be an object with targetApp and steps")
    if document.get("kind") == "TargetApp":
        raise InvalidScenario(f"{path}: a TargetApp, not a scenario; a scenario names it as its targetApp")
    _known_keys(document, FILE_KEYS, str(path))
    return document


def _spec(document: dict[str, Any], path: Path) -> TargetAppSpec:
    given = document.get("targetApp")
    if isinstance(given, str):
        try:
            found = read_documents(path.parent / given)
        except Unreadable as failure:
            raise InvalidScenario(f"{path}: targetApp: {failure}") from None
        given = next(
            (body for body in found if isinstance(body, dict) and body.get("kind") == "TargetApp"), None
        )
    if not isinstance(given, dict):
        raise InvalidScenario(f"{path}: targetApp must be a TargetApp or the name of a file that holds one")
    try:
        spec = read(given.get("spec"))
        schema = None
        if document.get("schema"):
            schema = read_schema(read_text(path.parent / str(document["schema"])))
        _, problems = lint.check(spec, schema)
    except (InvalidSpec, InvalidQuery, Unreadable) as failure:
        raise InvalidScenario(f"{path}: targetApp: {failure}") from None
    if problems:
        raise InvalidScenario(f"{path}: targetApp: {problems[0]}")
    return spec


def _duration(text: Any, place: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as failure:
        raise InvalidScenario(f"{place}: {failure}") from None


def _merge(state: dict[str, Any], parts: Any) -> None:
    for key, value in parts.items():
        if isinstance(value, dict) and isinstance(state.get(key), dict):
            _merge(state[key], value)
        else:
            state[key] = value
