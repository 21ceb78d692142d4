"""Prometheus series, made from live counters at each scrape, so that a deleted TargetApp leaves nothing behind.

Polls are counted by the polls themselves (plain integers); this module only reads them. Histograms are plain
lists with a bisection: a poll must not pay for locks.
"""

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

POLL_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ACTION_BOUNDS = (0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0)


class Durations:
    """A histogram of seconds."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def write(self, family: HistogramMetricFamily, labels: list[str]) -> None:
        total = 0
        buckets: list[tuple[str, float]] = []
        for bound, count in zip((*self._bounds, math.inf), self._counts, strict=True):
            total += count
            buckets.append(("+Inf" if math.isinf(bound) else f"{bound:g}", total))
        family.add_metric(labels, buckets=buckets, sum_value=self._sum)


POLLS, EVENTS, ACTIONS, ERRORS = "polls", "events", "actions", "errors"


class TargetCounts:
    """What happened for one TargetApp: one small dictionary, since there are thousands of them.

    What is counted (POLLS, EVENTS, ACTIONS, ERRORS) is told apart by the values of the metric's last label(s).
    """

    __slots__ = ("_counts",)
    _keys: ClassVar[dict[tuple[str, ...], tuple[str, ...]]] = {}

    def __init__(self) -> None:
        self._counts: dict[tuple[str, ...], int] = {}

    def add(self, what: str, *words: str, by: int = 1) -> None:
        key = (what, *words)
        key = self._keys.setdefault(key, key)
        self._counts[key] = self._counts.get(key, 0) + by

    def of(self, what: str) -> list[tuple[tuple[str, ...], int]]:
        """The words and the count of everything of one sort."""
        return [(key[1:], count) for key, count in self._counts.items() if key[0] == what]


@dataclass(frozen=True)
class TargetReading:
    """One TargetApp at the moment of a scrape. `fields`: (metric, labels, value) of state fields."""

    namespace: str
    name: str
    counts: TargetCounts
    fields: list[tuple[str, dict[str, str], float]] = field(default_factory=list)


class KcoCollector(Collector):
    """Everything under `operator_kco_`."""

    def __init__(self, readings: Callable[[], Iterable[TargetReading]], *, per_target: bool = True) -> None:
        self._readings = readings
        self._per_target = per_target
        self.poll_seconds = Durations(POLL_BOUNDS)
        self.action_seconds: dict[str, Durations] = {}
        self.errors: Counter[str] = Counter()
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}

    def register(self, registry: CollectorRegistry) -> None:
        registry.register(self)

    def action_took(self, action: str, seconds: float) -> None:
        self.action_seconds.setdefault(action, Durations(ACTION_BOUNDS)).observe(seconds)

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        readings = list(self._readings())
        where = ["namespace", "tapp_name"] if self._per_target else []
        yield self._counter(
            "operator_kco_tapp_polls",
            "GraphQL polls by outcome",
            [*where, "status"],
            readings,
            POLLS,
        )
        yield self._counter(
            "operator_kco_events_generated",
            "Kubernetes Events that the API server has taken",
            [*where, "event_type"],
            readings,
            EVENTS,
        )
        yield self._counter(
            "operator_kco_actions_executed",
            "Action runs by outcome",
            [*where, "action", "status"],
            readings,
            ACTIONS,
        )
        yield self._errors(readings)
        polls = HistogramMetricFamily(
            "operator_kco_tapp_poll_duration_seconds", "Request to answer, without actions"
        )
        self.poll_seconds.write(polls, [])
        yield polls
        actions = HistogramMetricFamily(
            "operator_kco_action_duration_seconds", "Execution time of actions", labels=["action"]
        )
        for action, durations in sorted(self.action_seconds.items()):
            durations.write(actions, [action])
        yield actions
        for name, (text, read) in self.gauges.items():
            yield GaugeMetricFamily(name, text, value=read())
        yield from self._fields(readings)

    def _counter(
        self,
        name: str,
        text: str,
        labels: list[str],
        readings: list[TargetReading],
        what: str,
    ) -> Metric:
        family = CounterMetricFamily(name, text, labels=labels)
        total: Counter[tuple[str, ...]] = Counter()
        for reading in readings:
            where = (reading.namespace, reading.name) if self._per_target else ()
            for words, count in reading.counts.of(what):
                total[where + words] += count
        for values, count in total.items():
            family.add_metric(list(values), count)
        return family

    def _errors(self, readings: list[TargetReading]) -> Metric:
        family = CounterMetricFamily("operator_kco_errors", "Errors by category", labels=["category"])
        total = Counter(self.errors)
        for reading in readings:
            for (category,), count in reading.counts.of(ERRORS):
                total[category] += count
        for category, count in sorted(total.items()):
            family.add_metric([category], count)
        return family

    def _fields(self, readings: list[TargetReading]) -> Iterator[Metric]:
        families: dict[tuple[str, tuple[str, ...]], GaugeMetricFamily] = {}
        for reading in readings:
            for name, labels, value in reading.fields:
                own = {"namespace": reading.namespace, "tapp_name": reading.name, **labels}
                key = (name, tuple(own))
                if key not in families:
                    families[key] = GaugeMetricFamily(
                        name, "A field of an application's state", labels=list(own)
                    )
                families[key].add_metric(list(own.values()), value)
        yield from families.values()
