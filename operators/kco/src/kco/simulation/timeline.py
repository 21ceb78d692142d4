"""Polls a made-up application in virtual time and notes what the rules decide.

The same `RuleBook`, `Forecaster` and difference as in the operator; only the answers come from a timeline of
states instead of the network.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from kco.prediction.forecaster import Forecaster
from kco.rules.book import RuleBook
from kco.rules.step import CLEARED, FIRED, SUPPRESSED
from kco.rules.trigger import Observation
from kco.spec.targetapp import TargetAppSpec
from kco.state.value import MISSING


@dataclass(frozen=True)
class Moment:
    """From `at` (seconds) on, the application says `state`; None: it does not answer."""

    at: float
    state: dict[str, Any] | None
    instance: str = ""


@dataclass(frozen=True)
class Happening:
    """One noteworthy decision."""

    at: float
    rule: str
    action: str
    outcome: str
    reason: str
    instance: str = ""
    findings: tuple[str, ...] = ()


@dataclass
class Simulation:
    """An application and its rules at a moment. `results` gives a run's outcome by rule; default: success."""

    spec: TargetAppSpec
    start: float = 0.0
    default_interval: float = 30.0
    results: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.interval = float(self.spec.polling_interval or self.default_interval)
        self.book = RuleBook(self.spec)
        self.forecaster = Forecaster(self.spec)
        self.now = self.start
        self._next_poll = self.start
        self._states: dict[str, Any] = {}
        self._previous: dict[str, Any] = {}
        self._failures: dict[str, int] = {}
        self.happened: list[Happening] = []

    def turn(self, state: dict[str, Any] | None, instance: str = "") -> None:
        """From now on the application says this."""
        self._states[instance] = state

    def advance(self, until: float) -> None:
        """Let time pass, polling at each interval; a poll that falls on `until` itself is still made."""
        while self._next_poll <= until:
            self.now = self._next_poll
            for instance in list(self._states):
                self._poll(instance)
            self._next_poll += self.interval
        self.now = until

    def poll(self, moment: float, instance: str = "") -> None:
        """Poll one instance now; the next polls are an interval later."""
        self.now = moment
        self._poll(instance)
        self._next_poll = moment + self.interval

    def _poll(self, instance: str) -> None:
        state = self._states[instance]
        if state is None:
            failures = self._failures[instance] = self._failures.get(instance, 0) + 1
            down = failures >= self.spec.failure_threshold
            endpoint = {"up": not down, "failures": failures, "error": "no answer"}
            self._note(instance, Observation({}, MISSING, endpoint), endpoint_only=True)
            return
        self._failures[instance] = 0
        previous = self._previous.get(instance, MISSING)
        forecasts = self.forecaster.learn(instance, state, self.now)
        endpoint = {"up": True, "failures": 0, "error": None}
        self._note(instance, Observation(state, previous, endpoint, forecasts))
        self._previous[instance] = state

    def _note(self, instance: str, seen: Observation, *, endpoint_only: bool = False) -> None:
        stepped = self.book.observe(instance, seen, self.now, endpoint_only=endpoint_only)
        actions = {rule.rule: rule.action for rule in self.spec.actions}
        for rule, decision in stepped.decisions.items():
            told = decision.outcome in (FIRED, CLEARED) or (decision.outcome == SUPPRESSED and decision.tell)
            if told:
                findings = tuple(str(finding) for finding in decision.findings)
                self.happened.append(
                    Happening(
                        self.now, rule, actions[rule], decision.outcome, decision.reason, instance, findings
                    )
                )
        for fired in stepped.fired:
            self.book.settle(
                fired.rule.rule, instance, succeeded=self.results.get(fired.rule.rule, True), now=self.now
            )

    def explain(self) -> Iterator[tuple[str, str, str]]:
        """Rule, instance and the latest decision in words."""
        for (rule, instance), decision in self.book.latest():
            yield rule, instance, decision.explain()


def replay(
    spec: TargetAppSpec, timeline: Iterable[Moment], *, until: float | None = None
) -> Simulation | None:
    """Run rules over recorded states; None where nothing is recorded."""
    simulation: Simulation | None = None
    for moment in timeline:
        if simulation is None:
            simulation = Simulation(spec, start=moment.at)
        elif moment.at > simulation.now:
            simulation.advance(moment.at - 1e-6)
        simulation.turn(moment.state, moment.instance)
        # It is on record because a poll saw it then, however soon the next state came.
        simulation.poll(moment.at, moment.instance)
    if simulation is not None:
        simulation.advance(max(until or 0.0, simulation.now + simulation.interval))
    return simulation
