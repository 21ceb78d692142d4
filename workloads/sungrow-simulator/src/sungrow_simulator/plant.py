"""Plant: sun, house, battery and grid whose energy always adds up."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from datetime import datetime, timedelta

STEP_S = 60.0
EFFICIENCY = 0.97


@dataclass
class Flows:
    """Powers in watts; battery positive = charging (DC side), export positive = to the grid."""

    dc_w: int = 0
    ac_w: int = 0
    load_w: int = 0
    battery_w: int = 0
    export_w: int = 0


class Plant:
    """A house with an inverter, advanced by its owner; the seed fixes clouds and load."""

    def __init__(self, rated_w: int, battery_wh: int, start: datetime, seed: int) -> None:
        self._rated_w = rated_w
        self._battery_wh = battery_wh
        self._random = random.Random(seed)
        self.now = start
        self.stored_wh = battery_wh * 0.5
        self.flows = Flows()
        self.pv_day_wh = self.pv_total_wh = self.import_total_wh = self.export_total_wh = 0.0
        self._step(0.0)

    def advance(self, seconds: float) -> None:
        """Let simulated time pass in steps of at most a minute."""
        while seconds > 0:
            step = min(seconds, STEP_S)
            self._step(step)
            seconds -= step

    def _step(self, seconds: float) -> None:
        before = self.now.date()
        self.now += timedelta(seconds=seconds)
        if self.now.date() != before:
            self.pv_day_wh = 0.0
        hour = self.now.hour + self.now.minute / 60
        sun = max(0.0, math.sin(math.pi * (hour - 6) / 12)) * self._random.uniform(0.85, 1.0)
        dc = round(self._rated_w * sun)
        load = round(350 + 900 * math.exp(-((hour - 19) ** 2) / 4) + self._random.uniform(0, 150))
        hours = seconds / 3600
        battery = self._battery_power(dc, load, hours)
        ac = math.floor((dc - battery) * EFFICIENCY)
        self.flows = Flows(dc, ac, load, battery, ac - load)
        self.stored_wh += battery * hours
        self.pv_day_wh += dc * hours
        self.pv_total_wh += dc * hours
        self.export_total_wh += max(0, ac - load) * hours
        self.import_total_wh += max(0, load - ac) * hours

    def _battery_power(self, dc: int, load: int, hours: float) -> int:
        if not self._battery_wh or not hours:
            return 0
        wish = dc - math.ceil(load / EFFICIENCY)
        limit = self._rated_w // 2
        room = (self._battery_wh - self.stored_wh) / hours
        spare = (self.stored_wh - 0.05 * self._battery_wh) / hours
        return max(-math.floor(max(0.0, spare)), -limit, min(math.floor(room), limit, wish))

    def values(self) -> dict[str, float]:
        """What the registers show now, by the names used in profiles."""
        f = self.flows
        pairs = ((1, f.dc_w), (2, f.battery_w), (4, -f.battery_w), (16, f.export_w), (32, -f.export_w))
        now = self.now
        return {
            "dc_w": f.dc_w, "ac_w": f.ac_w, "load_w": f.load_w, "export_w": f.export_w, "meter_w": -f.export_w,
            "battery_magnitude_w": abs(f.battery_w), "pv_day_wh": self.pv_day_wh, "pv_total_wh": self.pv_total_wh,
            "import_total_wh": self.import_total_wh, "export_total_wh": self.export_total_wh,
            "soc_percent": 100 * self.stored_wh / self._battery_wh if self._battery_wh else 0,
            "flow_bits": 8 + sum(bit for bit, power in pairs if power > 0),
            "hybrid_state": 0x40, "string_state": 0 if f.dc_w else 0x1400,
            "temperature_c": 25 + 25 * f.dc_w / self._rated_w, "grid_v": 230.0, "grid_hz": 50.0,
            "year": now.year, "month": now.month, "day": now.day,
            "hour": now.hour, "minute": now.minute, "second": now.second,
        }  # fmt: skip
