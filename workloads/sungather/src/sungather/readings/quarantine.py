"""Energy counters that say the impossible are withheld until they make sense again.

A lifetime counter never falls; a daily one falls only when the day changes; neither grows faster than the plant can
produce or draw. What stays consistent with itself for a few readings is believed: meters are replaced, days are missed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

_BELIEVE_AFTER = 3
_SLACK_KWH = 1.0
_HEADROOM = 3.0
_LEAST_KILOWATTS = 30.0
"""Import and load are not bounded by the inverter's rating: the grid connection of a large house is."""
_MIDNIGHT_SLACK = timedelta(hours=2)


@dataclass
class _Counter:
    value: float
    at: datetime
    day: str
    doubtful: list[tuple[float, float]] = field(default_factory=list)


class Quarantine:
    """Remembers each counter's last good value."""

    def __init__(self, saved: dict[str, list[Any]] | None = None) -> None:
        self._counters: dict[str, _Counter] = {}
        for name, (value, at, day, *doubtful) in (saved or {}).items():
            last = _Counter(float(value), datetime.fromisoformat(str(at)), str(day))
            last.doubtful = [(float(v), float(most)) for v, most in doubtful]
            self._counters[name] = last
        self.withheld = 0

    def saved(self) -> dict[str, list[Any]]:
        return {n: [c.value, c.at.isoformat(), c.day, *c.doubtful] for n, c in self._counters.items()}

    def accepts(
        self,
        name: str,
        kind: str,
        value: float,
        inverter_time: datetime,
        elapsed: float,
        rated_watts: float | None,
    ) -> bool:
        """False when the value must be withheld. `elapsed` is seconds since the last collection, by any clock
        that moved most; `inverter_time` is naive local time."""
        day = inverter_time.date().isoformat()
        last = self._counters.get(name)
        if last is None:
            self._counters[name] = _Counter(value, inverter_time, day)
            return True
        hours = max(elapsed, abs((inverter_time - last.at).total_seconds())) / 3600
        most = _SLACK_KWH + hours * _HEADROOM * max((rated_watts or 0) / 1000, _LEAST_KILOWATTS)
        if self._possible(kind, last, value, inverter_time, day, most) or self._consistent(last, value, most):
            self._counters[name] = _Counter(value, inverter_time, day)
            return True
        last.doubtful.append((value, most))
        self.withheld += 1
        return False

    def _possible(
        self, kind: str, last: _Counter, value: float, now: datetime, day: str, most: float
    ) -> bool:
        if value >= last.value:
            return value - last.value <= most
        if kind != "daily":
            return False
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        near = min(now - midnight, midnight + timedelta(days=1) - now) <= _MIDNIGHT_SLACK
        return (day != last.day or near) and value <= most

    def _consistent(self, last: _Counter, value: float, most: float) -> bool:
        if len(last.doubtful) < _BELIEVE_AFTER:
            return False
        recent = [v for v, _ in last.doubtful[-_BELIEVE_AFTER:]] + [value]
        del last.doubtful[:-_BELIEVE_AFTER]
        return all(0 <= b - a <= most for a, b in pairwise(recent))
