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

import yaml

from kco.simulation.timeline import Simulation
from kco.spec import lint
from kco.spec.document import InvalidQuery, read_schema
from kco.spec.duration import parse_duration
from kco.spec.targetapp import InvalidSpec, TargetAppSpec, read

STEP_KEYS = {"at", "state", "set", "down", "instance", "expect", "results"}
EXPECT_KEYS = {"fired", "at", "held", "outcome"}


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
        unknown = set(step) - STEP_KEYS
        if unknown:
            raise InvalidScenario(
                f"{place}: unknown key {sorted(unknown)[0]!r}; known: {', '.join(sorted(STEP_KEYS))}"
            )
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


def _apply(simulation: Simulation, step: dict[str, Any], place: str) -> None:
    instance = str(step.get("instance") or "")
    for rule, word in (step.get("results") or {}).items():
        simulation.results[rule] = str(word) == "Succeeded"
    if step.get("down"):
        simulation.turn(None, instance)
    if "state" in step:
        if not isinstance(step["state"], dict):
            raise InvalidScenario(f"{place}: state must be an object")
        simulation.turn(copy.deepcopy(step["state"]), instance)
    if "set" in step:
        state = copy.deepcopy(simulation._states.get(instance) or simulation._previous.get(instance) or {})
        _merge(state, step["set"])
        simulation.turn(state, instance)


def _compare(simulation: Simulation, expected: Any, when: str, place: str) -> list[str]:
    if expected is None:
        return []
    if not isinstance(expected, dict) or set(expected) - EXPECT_KEYS:
        raise InvalidScenario(f"{place}: expect may hold {', '.join(sorted(EXPECT_KEYS))}")
    rules = {rule.rule for rule in simulation.spec.actions}
    fired: dict[str, list[float]] = {rule: [] for rule in rules}
    for happening in simulation.happened:
        if happening.outcome == "fired":
            fired[happening.rule].append(happening.at)
    failures = []
    for part in expected.values():
        for rule in part:
            if rule not in rules:
                raise InvalidScenario(
                    f"{place}: expect names {rule!r}; the rules are {', '.join(sorted(rules))}"
                )
    for rule, count in (expected.get("fired") or {}).items():
        if len(fired[rule]) != count:
            why = _why(simulation, rule)
            failures.append(f"{when}: rule {rule} fired {len(fired[rule])} times, expected {count}; {why}")
    for rule, times in (expected.get("at") or {}).items():
        wanted = [_duration(text, place) for text in times]
        if fired[rule] != wanted:
            shown = ", ".join(spell(moment) for moment in fired[rule]) or "never"
            failures.append(f"{when}: rule {rule} fired at {shown}, expected {', '.join(map(str, times))}")
    for rule, outcome in {**(expected.get("held") or {}), **(expected.get("outcome") or {})}.items():
        found = {decision.outcome for (name, _), decision in simulation.book.latest.items() if name == rule}
        if outcome not in found:
            failures.append(
                f"{when}: rule {rule} is {', '.join(sorted(found)) or 'idle'}, expected {outcome}"
            )
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
        document = yaml.safe_load(path.read_text())
    except OSError as failure:
        raise InvalidScenario(f"{path}: {failure.strerror}") from None
    except yaml.YAMLError as failure:
        raise InvalidScenario(f"{path}: not YAML: {str(failure).splitlines()[0]}") from None
    if not isinstance(document, dict):
        raise InvalidScenario(f"{path}: must be an object with targetApp and steps")
    return document


def _spec(document: dict[str, Any], path: Path) -> TargetAppSpec:
    given = document.get("targetApp")
    if isinstance(given, str):
        try:
            documents = list(yaml.safe_load_all((path.parent / given).read_text()))
        except (OSError, yaml.YAMLError) as failure:
            raise InvalidScenario(f"{path}: targetApp {given}: {str(failure).splitlines()[0]}") from None
        given = next(
            (body for body in documents if isinstance(body, dict) and body.get("kind") == "TargetApp"), None
        )
    if not isinstance(given, dict):
        raise InvalidScenario(f"{path}: targetApp must be a TargetApp or the name of a file that holds one")
    try:
        spec = read(given.get("spec"))
        schema = None
        if document.get("schema"):
            schema = read_schema((path.parent / str(document["schema"])).read_text())
        _, problems = lint.check(spec, schema)
    except (InvalidSpec, InvalidQuery, OSError) as failure:
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
