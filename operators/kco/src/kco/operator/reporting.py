"""What a target shows of itself: its status, its metrics."""

from typing import Any

from kco.events.wording import cut
from kco.metrics import TargetCounts
from kco.operator.target import Target
from kco.rules.step import Decision
from kco.spec.path import parse_path
from kco.spec.targetapp import StateMetric
from kco.state.value import MISSING, is_number, values_at
from operator_kit.clock import to_rfc3339

MAX_SERIES = 50
MAX_ROWS = 100
Series = list[tuple[str, dict[str, str], float]]


def status(target: Target) -> dict[str, Any]:
    """The whole status as it should be now."""
    body: dict[str, Any] = {
        "observedGeneration": target.generation,
        "state": target.state_word,
        "endpoint": target.endpoint_text or None,
        "lastError": target.last_error or None,
        "actionsExecuted": target.actions_executed(),
        "eventsGenerated": target.events_generated(),
        "conditions": target.conditions.write(),
        "rules": target.rule_entries(),
        "pods": {"selected": target.pod_counts[0], "ready": target.pod_counts[1]},
        "recentRuns": list(target.recent_runs),
        "instances": _instances(target),
    }
    polled = target.last_polled()
    if polled:
        body["lastPolled"] = to_rfc3339(polled)
    if target.book is not None:
        body["explanations"] = [
            {"rule": rule, **({"instance": instance} if instance else {}), "text": _explain(target, decision)}
            for (rule, instance), decision in target.book.latest()
        ][:MAX_ROWS]
    return body


def _explain(target: Target, decision: Decision) -> str:
    # Values are left out here: the status is readable by everybody who may read the TargetApp.
    return cut(target.redact(f"{decision.outcome}: {decision.reason}"), 256)


def _instances(target: Target) -> list[dict[str, Any]]:
    rows = [
        {
            "name": name,
            "digest": followed.seen_digest,
            **({"pod": followed.instance.pod} if followed.instance.pod else {}),
            **({"error": followed.error} if followed.error else {}),
        }
        for name, followed in sorted(target.followed.items())
    ]
    known = {row["name"] for row in rows}
    rows += [
        {"name": name, "digest": mark}
        for name, mark in sorted(target.restored.items())
        if name not in known and mark
    ]
    return rows[:MAX_ROWS]


def fields(target: Target) -> Series:
    """State fields as metrics, and forecasts."""
    if target.prepared is None:
        return []
    rows: Series = []
    for metric in target.prepared.spec.metrics:
        for name, followed in target.followed.items():
            if followed.state is not MISSING:
                rows += state_series(metric, followed.state, {"instance": name} if name else {})
    return rows + (target.forecaster.series() if target.forecaster is not None else [])


def state_series(metric: StateMetric, state: Any, labels: dict[str, str]) -> Series:
    """The series of one metric: at most so many, whatever a wildcard finds."""
    rows: Series = []
    found = values_at(state, parse_path(metric.field))
    for position, value in enumerate(found[:MAX_SERIES]):
        own = {**labels, "index": str(position)} if len(found) > 1 else dict(labels)
        if isinstance(value, bool) or is_number(value):
            rows.append((f"kco_state_{metric.name}", own, float(value)))
        elif metric.values:
            rows += [
                (f"kco_state_{metric.name}", {**own, "value": word}, float(word == value))
                for word in metric.values
            ]
    return rows


def counts(target: Target) -> TargetCounts:
    """Counts including those that running polls still hold."""
    target.gather_polls()
    return target.counts
