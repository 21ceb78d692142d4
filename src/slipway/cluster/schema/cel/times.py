"""Timestamps and durations as CEL reads them from text, and time zones."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from slipway.cluster.schema.cel.problems import EvaluationError
from slipway.cluster.schema.cel.values import Duration, Timestamp

_UNITS = {
    "ns": 1,
    "us": 10**3,
    "µs": 10**3,
    "μs": 10**3,
    "ms": 10**6,
    "s": 10**9,
    "m": 60 * 10**9,
    "h": 3600 * 10**9,
}
# No duration has more than 19 digits before the point, nor takes notice of more behind it.
_PART = re.compile(r"(\d{0,19})(?:\.(\d{0,19})\d*)?(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:[.,](\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_LONGEST = 2**63 - 1  # nanoseconds
_OFFSET = re.compile(r"([+-]?)(\d\d):(\d\d)", re.ASCII)


def parse_duration(text: str) -> Duration:
    """Go's time.ParseDuration: `1h30m`, `-1.5s`, `0`."""
    sign = -1 if text[:1] == "-" else 1
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return Duration(0)
    total, at = 0, 0
    while at < len(rest):
        part = _PART.match(rest, at)
        if part is None or not (part[1] or part[2]):
            break
        unit = _UNITS[part[3]]
        total += int(part[1] or 0) * unit
        if part[2]:
            total += int(part[2]) * unit // 10 ** len(part[2])
        at = part.end()
    if at == 0 or at < len(rest) or total > _LONGEST:
        raise EvaluationError(f'time: invalid duration "{text}"')
    return Duration(sign * total)


def parse_timestamp(text: str) -> Timestamp:
    """RFC 3339 with up to nine decimals."""
    found = _STAMP.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        zone = found[4].upper().replace("Z", "+00:00")
        moment = datetime.fromisoformat(f"{found[1]}T{found[2]}{zone}")
    except ValueError:
        raise EvaluationError(
            f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}"'
        ) from None
    passed = moment - datetime(1970, 1, 1, tzinfo=UTC)
    nanos = int((found[3] or "0")[:9].ljust(9, "0"))
    offset = moment.utcoffset() or timedelta()
    return Timestamp(
        (passed.days * 86400 + passed.seconds) * 10**9 + nanos, int(offset.total_seconds()) // 60
    )


@lru_cache(maxsize=256)
def time_zone(name: str) -> tzinfo:
    """`UTC`, `Europe/Berlin`, `+02:30`, `-08:00`."""
    if not name or name == "UTC":
        return UTC
    offset = _OFFSET.fullmatch(name)
    if offset is not None:
        minutes = int(offset[2]) * 60 + int(offset[3])
        return timezone(timedelta(minutes=-minutes if offset[1] == "-" else minutes))
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise EvaluationError(f"unknown time zone {name}") from None
