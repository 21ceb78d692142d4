"""Energy: what flowed today, this month, this year and ever, as an inverter counts it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Protocol


class Powers(Protocol):
    """What is counted, in W."""

    @property
    def pv_w(self) -> int: ...
    @property
    def battery_w(self) -> int: ...
    @property
    def ac_w(self) -> int: ...
    @property
    def load_w(self) -> int: ...
    @property
    def export_w(self) -> int: ...


QUANTITIES = (
    "pv", "yield", "import", "export", "charge", "discharge", "pv_charge", "direct", "pv_export", "load"
)  # fmt: skip
HISTORY = ("pv", "direct", "pv_export", "pv_charge")


class Energy:
    """Wh by quantity. Counters only grow, and those of a day, month or year begin anew at its midnight.

    Only today's are counted; what went before is added up at midnight.
    """

    def __init__(self, start: datetime) -> None:
        self.date = start.date()
        self.today = dict.fromkeys(QUANTITIES, 0.0)
        # Until last midnight: of this month, of this year, ever.
        self._month, self._year, self._ever = (dict.fromkeys(QUANTITIES, 0.0) for _ in range(3))
        self.running_s_today = 0.0
        self.running_s = 0.0
        # Each quarter hour of today; each day of this month and month of this year that is over.
        self.quarters = {name: [0.0] * 96 for name in HISTORY}
        self._days = {name: [0.0] * 31 for name in HISTORY}
        self._months = {name: [0.0] * 12 for name in HISTORY}

    @property
    def month(self) -> dict[str, float]:
        """This month's."""
        return self._with_today(self._month)

    @property
    def year(self) -> dict[str, float]:
        """This year's."""
        return self._with_today(self._year)

    @property
    def total(self) -> dict[str, float]:
        """Everything since the plant was built."""
        return self._with_today(self._ever)

    def days(self, name: str) -> list[float]:
        """Of each day of this month."""
        found = self._days[name].copy()
        found[self.date.day - 1] = self.today[name]
        return found

    def months(self, name: str) -> list[float]:
        """Of each month of this year."""
        found = self._months[name].copy()
        found[self.date.month - 1] = self._month[name] + self.today[name]
        return found

    def add(self, now: datetime, flows: Powers, seconds: float) -> None:
        """Count what flowed for so long from `now` on."""
        if now.date() != self.date:
            self._turn(now.date())
        hours = seconds / 3600
        charge, discharge = max(0, flows.battery_w), max(0, -flows.battery_w)
        export, bought = max(0, flows.export_w), max(0, -flows.export_w)
        pv = flows.pv_w
        pv_charge = min(charge, pv)
        pv_export = min(export, pv - pv_charge)
        direct = max(0, min(flows.load_w, pv - pv_charge - pv_export))
        watts = {
            "pv": pv, "yield": max(0, flows.ac_w), "import": bought, "export": export, "charge": charge,
            "discharge": discharge, "pv_charge": pv_charge, "pv_export": pv_export, "direct": direct,
            "load": flows.load_w,
        }  # fmt: skip
        for name, power in watts.items():
            if power:
                self.today[name] += power * hours
        quarter = now.hour * 4 + now.minute // 15
        for name in HISTORY:
            self.quarters[name][quarter] += watts[name] * hours
        if flows.ac_w or pv:
            self.running_s_today += seconds
            self.running_s += seconds

    def _turn(self, today: date) -> None:
        for name in HISTORY:
            self._days[name] = self.days(name)
            self._months[name] = self.months(name)
        self._month, self._year, self._ever = self.month, self.year, self.total
        self.today = dict.fromkeys(QUANTITIES, 0.0)
        self.running_s_today = 0.0
        self.quarters = {name: [0.0] * 96 for name in HISTORY}
        if (today.year, today.month) != (self.date.year, self.date.month):
            self._month = dict.fromkeys(QUANTITIES, 0.0)
            self._days = {name: [0.0] * 31 for name in HISTORY}
        if today.year != self.date.year:
            self._year = dict.fromkeys(QUANTITIES, 0.0)
            self._months = {name: [0.0] * 12 for name in HISTORY}
        self.date = today

    def _with_today(self, before: dict[str, float]) -> dict[str, float]:
        return {name: value + self.today[name] for name, value in before.items()}
