"""Whether a whole trigger holds for an observation, and what was seen on the way.

Wildcard paths give several values: `match: any` (default) wants one of them, `match: all` every one; no
value at all satisfies neither.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kco.rules.condition import holds, still_beyond
from kco.spec.path import ENDPOINT
from kco.spec.rule import Trigger
from kco.state.value import MISSING, json_equal, show, values_at


@dataclass(frozen=True, slots=True)
class Forecast:
    """What the predictor says about one field: the probability of passing the trigger's threshold."""

    probability: float
    expected: float


@dataclass(frozen=True, slots=True)
class Observation:
    """What one poll showed. `previous` is MISSING at the first one."""

    state: Any
    previous: Any = MISSING
    endpoint: Mapping[str, Any] = field(default_factory=dict)
    forecasts: Mapping[int, Forecast] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finding:
    """One comparison's outcome, for explanations: `application.health equals unhealthy: is healthy`."""

    field: str
    condition: str
    expected: Any
    actual: Any
    true: bool

    def __str__(self) -> str:
        wanted = "" if self.condition in ("exists", "not_exists", "changed") else f" {show(self.expected)}"
        verdict = "yes" if self.true else "no"
        return f"{self.field} {self.condition}{wanted}: {verdict} (is {show(self.actual)})"


def evaluate(trigger: Trigger, seen: Observation, *, latched: bool) -> tuple[bool, list[Finding]]:
    """Whether the trigger holds. `latched`: it held before, so `clear` bounds count instead of values."""
    if trigger.all or trigger.any:
        results = [evaluate(part, seen, latched=latched) for part in trigger.all or trigger.any]
        findings = [finding for _, found in results for finding in found]
        verdicts = [verdict for verdict, _ in results]
        return (all(verdicts) if trigger.all else any(verdicts)), findings
    return _leaf(trigger, seen, latched)


def _leaf(trigger: Trigger, seen: Observation, latched: bool) -> tuple[bool, list[Finding]]:
    assert trigger.field is not None
    condition = str(trigger.condition)
    actual = look(trigger, seen.state, seen.endpoint)
    if condition == "predicted":
        return _predicted(trigger, seen, actual)
    if condition == "changed":
        before = look(trigger, seen.previous, seen.endpoint) if seen.previous is not MISSING else actual
        true = len(before) != len(actual) or any(
            not _same(old, new) for old, new in zip(before, actual, strict=False)
        )
        return true, [Finding(trigger.field, condition, None, _one(actual), true)]

    def satisfied(value: Any) -> bool:
        if latched and trigger.clear is not None:
            return still_beyond(condition, value, trigger.clear)
        return holds(condition, value, trigger.value)

    verdicts = [satisfied(value) for value in actual]
    true = bool(verdicts) and (all(verdicts) if trigger.match == "all" else any(verdicts))
    if not actual and condition == "not_exists":
        true = True
    expected = trigger.clear if latched and trigger.clear is not None else trigger.value
    return true, [Finding(trigger.field, condition, expected, _one(actual), true)]


def look(trigger: Trigger, state: Any, endpoint: Mapping[str, Any]) -> list[Any]:
    """The values that a comparison is about."""
    path = trigger.path()
    return values_at(dict(endpoint), path[1:]) if path[0] == ENDPOINT else values_at(state, path)


def about_endpoint(trigger: Trigger) -> bool:
    """Whether every comparison is about the endpoint itself, so that it can be judged while it is down."""
    return all(leaf.path()[0] == ENDPOINT for leaf in trigger.leaves())


def _predicted(trigger: Trigger, seen: Observation, actual: list[Any]) -> tuple[bool, list[Finding]]:
    assert trigger.field is not None
    assert trigger.prediction is not None
    forecast = seen.forecasts.get(id(trigger))
    true = forecast is not None and forecast.probability >= trigger.prediction.confidence
    text = (
        f"{trigger.prediction.direction} {trigger.prediction.threshold:g} within "
        f"{trigger.prediction.horizon:g} s with {trigger.prediction.confidence:.0%}"
    )
    shown = (
        f"{show(_one(actual))}, forecast {forecast.expected:.4g} at {forecast.probability:.0%}"
        if forecast
        else f"{show(_one(actual))}, no forecast yet"
    )
    return true, [Finding(trigger.field, "predicted", text, shown, true)]


def _same(left: Any, right: Any) -> bool:
    if left is MISSING or right is MISSING:
        return left is right
    return json_equal(left, right)


def _one(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else (values if values else MISSING)
