"""/metrics: readings and the collector's own state, as Prometheus text or OpenMetrics.

Every reading that is a number is a gauge named sungather_<register>_<unit>; texts are labels of sungather_text_info.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import version

from sungather.application import Application
from sungather.collection.collector import State as CollectorState
from sungather.exports.delivery import State as ExportState
from sungather.readings.snapshot import Quality

_UNITS = {
    "W": ("watts", 1),
    "kW": ("watts", 1000),
    "kWh": ("kwh", 1),
    "V": ("volts", 1),
    "A": ("amperes", 1),
    "Hz": ("hertz", 1),
    "°C": ("celsius", 1),
    "%": ("percent", 1),
    "h": ("seconds", 3600),
    "min": ("seconds", 60),
    "VA": ("voltamperes", 1),
    "Var": ("vars", 1),
    "kVar": ("vars", 1000),
    "k-ohm": ("ohms", 1000),
    "kg": ("grams", 1000),
}
"""The base unit that a metric has in its name, and how many of it make the register's own unit."""


@dataclass
class Family:
    """One metric with its samples: (labels, value)."""

    name: str
    kind: str
    help: str
    samples: list[tuple[dict[str, str], float]] = field(default_factory=list)


def render(application: Application, *, openmetrics: bool) -> str:
    """The whole page."""
    lines: list[str] = []
    for family in [*_readings(application), *_collector(application), *_exports(application)]:
        if not family.samples:
            continue
        base = family.name.removesuffix("_total") if openmetrics and family.kind == "counter" else family.name
        lines.append(f"# HELP {base} {_escape(family.help)}")
        lines.append(f"# TYPE {base} {family.kind}")
        for labels, value in family.samples:
            inside = ",".join(f'{k}="{_escape(v, quotes=True)}"' for k, v in labels.items())
            lines.append(f"{family.name}{'{' + inside + '}' if inside else ''} {_number(value)}")
    if openmetrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


def metric_name(register: str, unit: str) -> str:
    """sungather_internal_temperature_celsius from internal_temperature and °C."""
    name = re.sub(r"[^a-zA-Z0-9_]", "_", register)
    suffix = _UNITS[unit][0] if unit in _UNITS else re.sub(r"[^a-zA-Z0-9]", "", unit).lower()
    return f"sungather_{name}_{suffix}" if suffix else f"sungather_{name}"


def _readings(application: Application) -> Iterable[Family]:
    snapshot = application.collector.snapshot
    if snapshot is None:
        return
    texts = Family("sungather_text_info", "gauge", "A reading that is a text, as a label")
    quality = Family(
        "sungather_readings", "gauge", "How many readings of the last collection have this quality"
    )
    counted = dict.fromkeys(Quality, 0)
    for reading in snapshot.shown().values():
        counted[reading.quality] += 1
        if isinstance(reading.value, str):
            texts.samples.append(({"name": reading.name, "value": reading.value}, 1))
        elif reading.value is not None:
            about = f"Register {reading.name} at address {reading.address}"
            value = reading.value * _UNITS.get(reading.unit, ("", 1))[1]
            yield Family(metric_name(reading.name, reading.unit), "gauge", about, [({}, value)])
    quality.samples = [({"quality": str(q)}, n) for q, n in counted.items()]
    yield texts
    yield quality


def _collector(application: Application) -> Iterable[Family]:
    collector, session = application.collector, application.session
    identity = session.identity
    yield Family(
        "sungather_build_info", "gauge", "Version of the collector", [({"version": version("sungather")}, 1)]
    )
    if identity is not None:
        labels = {"model": identity.model or "", "serial_number": identity.serial}
        yield Family("sungather_inverter_info", "gauge", "The inverter that answered", [(labels, 1)])
    states = [({"state": str(s)}, float(collector.state is s)) for s in CollectorState]
    yield Family("sungather_collector_state", "gauge", "1 for the state that the collector is in", states)
    yield Family(
        "sungather_up", "gauge", "1 when a reading came within three intervals", [({}, collector.fresh())]
    )
    age = collector.age()
    if not math.isinf(age):
        yield Family("sungather_reading_age_seconds", "gauge", "Age of the last reading", [({}, age)])
    yield Family("sungather_scans_total", "counter", "Collections tried", [({}, collector.cycles)])
    yield Family(
        "sungather_scans_failed_total",
        "counter",
        "Collections that read nothing",
        [({}, collector.failed_cycles)],
    )
    yield Family(
        "sungather_ticks_skipped_total",
        "counter",
        "Ticks skipped because a collection took longer than the interval",
        [({}, collector.skipped_ticks)],
    )
    errors = [({"class": label}, float(n)) for label, n in session.read_errors.items()]
    yield Family("sungather_read_errors_total", "counter", "Reads that failed, by class", errors)
    withheld = collector.assembly.quarantine.withheld
    yield Family(
        "sungather_readings_withheld_total", "counter", "Impossible counter values withheld", [({}, withheld)]
    )
    if collector.last_cycle:
        seconds = collector.last_cycle.seconds
        yield Family(
            "sungather_scan_duration_seconds", "gauge", "Duration of the last collection", [({}, seconds)]
        )


def _exports(application: Application) -> Iterable[Family]:
    exporters = application.exporters

    def each(name: str, kind: str, about: str, pick: str) -> Family:
        return Family(
            name, kind, about, [({"export": e.name}, float(e.outbox.counts.get(pick, 0))) for e in exporters]
        )

    yield Family(
        "sungather_export_up",
        "gauge",
        "1 when the destination takes readings",
        [({"export": e.name}, float(e.status.state is ExportState.OK)) for e in exporters],
    )
    yield Family(
        "sungather_export_queue_length",
        "gauge",
        "Readings waiting for the destination",
        [({"export": e.name}, float(e.waiting)) for e in exporters],
    )
    yield Family(
        "sungather_export_last_success_timestamp_seconds",
        "gauge",
        "When the destination last took a reading",
        [({"export": e.name}, e.status.last_success.timestamp()) for e in exporters if e.status.last_success],
    )
    yield each("sungather_export_sent_total", "counter", "Readings that the destination took", "sent")
    yield each(
        "sungather_export_dropped_total", "counter", "Readings dropped because the queue was full", "dropped"
    )
    yield each(
        "sungather_export_rejected_total",
        "counter",
        "Readings that the destination refused for good",
        "rejected",
    )
    yield each("sungather_export_failures_total", "counter", "Attempts to deliver that failed", "failures")


def _escape(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _number(value: float) -> str:
    return repr(float(value)) if isinstance(value, float) else str(int(value))
