"""The tables in which a hybrid keeps its own history, and which of their values is the one of this moment.

Facts: Communication Protocol of Residential Hybrid Inverter (see registers.yaml), and fourteen public dumps of two
SH8.0RT-20 (AlexanderLanin/homeassistant-sungrow): at 13:49 on 31 December 2023 the newest quarter hour is the 56th,
the day's value the 31st, the month's the 12th, the year's the 9th; the days add up to the month, and the month is the year.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

_FIRST_YEAR = 2015


class Period(StrEnum):
    """What each value of a table stands for."""

    QUARTER_HOUR = "quarter-hour"
    DAY = "day"
    MONTH = "month"
    YEAR = "year"

    @property
    def values(self) -> int:
        """How many values the table has: a day's quarter hours, a month's days, a year's months, years from 2015 on."""
        return {"quarter-hour": 96, "day": 31, "month": 12, "year": 20}[self]

    def position(self, moment: datetime) -> int:
        """Which of them, from 0, is the one under way at this local time."""
        found = {
            "quarter-hour": moment.hour * 4 + moment.minute // 15,
            "day": moment.day - 1,
            "month": moment.month - 1,
            "year": moment.year - _FIRST_YEAR,
        }[self]
        return min(max(found, 0), self.values - 1)
