"""Cron schedules as CronJobs write them: five fields, names, ranges, steps, `@hourly` and `@every 1h30m`. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], start=1
    )
}
_DAYS = {name: number for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_FIELDS: tuple[tuple[str, int, int, dict[str, int]], ...] = (
    ("minute", 0, 59, {}),
    ("hour", 0, 23, {}),
    ("day of month", 1, 31, {}),
    ("month", 1, 12, _MONTHS),
    ("day of week", 0, 6, _DAYS),
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s)")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_YEARS_AHEAD = 5  # a schedule that does not come true within that long never does


class CronError(ValueError):
    """The text is no schedule; says which field, what it is, and what is allowed."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """`every` is set for @every alone. A day matches by both day fields if one of them is `*`, else by either."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    any_day: bool = False
    every: timedelta | None = None

    def next(self, after: datetime, zone: tzinfo = UTC) -> datetime | None:
        """The first time after `after` (aware) in that zone, in UTC; None when there is none.

        A time that a clock change skips does not come that day.
        """
        if self.every is not None:
            return (after + self.every).replace(microsecond=0)
        at = after.astimezone(UTC).replace(second=0, microsecond=0) + timedelta(minutes=1)
        limit = at.year + _YEARS_AHEAD
        while at.year <= limit:
            local = at.astimezone(zone)
            if local.month not in self.months:
                following = local.year + local.month // 12, local.month % 12 + 1
                at = _forward(at, datetime(*following, 1, tzinfo=zone))
            elif not self._on_day(local):
                tomorrow = local.date() + timedelta(days=1)
                at = _forward(at, datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=zone))
            elif local.hour not in self.hours:
                at += timedelta(minutes=60 - local.minute)
            elif local.minute not in self.minutes:
                at += timedelta(minutes=1)
            else:
                return at
        return None

    def _on_day(self, local: datetime) -> bool:
        by_month = local.day in self.days
        by_week = (local.weekday() + 1) % 7 in self.weekdays
        return (by_month and by_week) if self.any_day else (by_month or by_week)


def _forward(at: datetime, to: datetime) -> datetime:
    target = to.astimezone(UTC)
    return target if target > at else at + timedelta(hours=1)


def parse(text: str) -> Schedule:
    """Read a schedule; CronError when it is none."""
    text = text.strip()
    if text.startswith("@every "):
        return Schedule(every=_duration(text.removeprefix("@every ").strip()))
    if text.startswith("@"):
        if text not in _MACROS:
            raise CronError(f"unrecognized descriptor: {text}; known are @every and {', '.join(_MACROS)}")
        text = _MACROS[text]
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise CronError(f"expected exactly 5 fields, found {len(parts)}: {parts}")
    minutes, hours, days, months, weekdays = (
        _field(part, *field) for part, field in zip(parts, _FIELDS, strict=True)
    )
    any_day = any(_is_star(parts[index]) for index in (2, 4))
    return Schedule(minutes, hours, days, months, weekdays, any_day)


def _is_star(part: str) -> bool:
    return any(piece in ("*", "?", "*/1") for piece in part.split(","))


def _field(text: str, name: str, low: int, high: int, names: dict[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for piece in text.split(","):
        span, slash, step_text = piece.partition("/")
        step = _number(step_text, name, names) if slash else 1
        if step < 1:
            raise CronError(f"{name}: step of range should be a positive number: {piece}")
        if span in ("*", "?"):
            first, last = low, high
        else:
            first_text, dash, last_text = span.partition("-")
            first = _number(first_text, name, names)
            # `5/15` means from five on.
            last = _number(last_text, name, names) if dash else (high if slash else first)
        if first < low or last > high:
            raise CronError(f"{name}: {piece} is outside {low}-{high}")
        if first > last:
            raise CronError(f"{name}: beginning of range ({first}) beyond end of range ({last}): {piece}")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, name: str, names: dict[str, int]) -> int:
    if text.lower() in names:
        return names[text.lower()]
    if not text.isascii() or not text.isdigit():
        raise CronError(f"{name}: failed to parse {text!r} as a number")
    return int(text)


def _duration(text: str) -> timedelta:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise CronError(f"@every {text}: not a duration such as 1h30m")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return timedelta(seconds=max(1, int(seconds)))
