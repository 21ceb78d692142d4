"""Energy: what flowed today, this month, this year and ever, as an inverter counts it."""

from __future__ import annotations

from datetime import datetime
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
    """Wh by quantity. Counters only grow, and those of a day, month or year begin anew at its midnight."""

    def __init__(self, start: datetime) -> None:
        self._day, self._month, self._year = start.date(), (start.year, start.month), start.year
        self.today, self.month, self.year, self.total = (dict.fromkeys(QUANTITIES, 0.0) for _ in range(4))
        self.running_s_today = 0.0
        self.running_s = 0.0
        # Wh in each quarter hour of today, day of this month, month of this year.
        self.quarters = {name: [0.0] * 96 for name in HISTORY}
        self.days = {name: [0.0] * 31 for name in HISTORY}
        self.months = {name: [0.0] * 12 for name in HISTORY}

    def add(self, now: datetime, flows: Powers, seconds: float) -> None:
        """Count what flowed for so long from `now` on."""
        self._turn(now)
        hours = seconds / 3600
        charge, discharge = max(0, flows.battery_w), max(0, -flows.battery_w)
        export, bought = max(0, flows.export_w), max(0, -flows.export_w)
        pv_charge = min(charge, flows.pv_w)
        pv_left = flows.pv_w - pv_charge
        pv_export = min(export, pv_left)
        watts = {
            "pv": flows.pv_w, "yield": max(0, flows.ac_w), "import": bought, "export": export, "charge": charge,
            "discharge": discharge, "pv_charge": pv_charge, "pv_export": pv_export,
            "direct": max(0, min(flows.load_w, pv_left - pv_export)), "load": flows.load_w,
        }  # fmt: skip
        for name, power in watts.items():
            for counter in (self.today, self.month, self.year, self.total):
                counter[name] += power * hours
        quarter = now.hour * 4 + now.minute // 15
        for name in HISTORY:
            self.quarters[name][quarter] += watts[name] * hours
            self.days[name][now.day - 1] += watts[name] * hours
            self.months[name][now.month - 1] += watts[name] * hours
        if flows.ac_w or flows.pv_w:
            self.running_s_today += seconds
            self.running_s += seconds

    def _turn(self, now: datetime) -> None:
        if now.date() == self._day:
            return
        self._day = now.date()
        self.today = dict.fromkeys(QUANTITIES, 0.0)
        self.running_s_today = 0.0
        self.quarters = {name: [0.0] * 96 for name in HISTORY}
        if (now.year, now.month) != self._month:
            self._month = (now.year, now.month)
            self.month = dict.fromkeys(QUANTITIES, 0.0)
            self.days = {name: [0.0] * 31 for name in HISTORY}
        if now.year != self._year:
            self._year = now.year
            self.year = dict.fromkeys(QUANTITIES, 0.0)
            self.months = {name: [0.0] * 12 for name in HISTORY}
