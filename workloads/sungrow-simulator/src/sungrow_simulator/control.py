"""Control: what was written to an inverter, which values it takes, and what they mean for the plant.

External control (modes 3 and 4 of the energy management) must be confirmed: when the heartbeat register was not
written for as long as it says, the inverter goes back to self-consumption by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from sungrow_simulator.profiles import Profile

ON, START, STOP = 0xAA, 0xCF, 0xCE
CHARGE, DISCHARGE, REST = 0xAA, 0xBB, 0xCC
SELF_CONSUMPTION, FORCED, EXTERNAL, POWER_PLANT = 0, 2, 3, 4
ILLEGAL_ADDRESS, ILLEGAL_VALUE = 2, 3


@cache
def _rows() -> tuple[dict[str, Any], ...]:
    text = (files("sungrow_simulator") / "data" / "writable.yaml").read_text()
    return tuple(yaml.safe_load(text)["writable"])


@dataclass(frozen=True, slots=True)
class Orders:
    """What the plant is to do. Powers in W, charge as a share of the capacity; None is no limit."""

    running: bool = True
    most_ac: float | None = None  # share of the rated power
    most_export: int | None = None
    forced: int | None = None  # battery power: positive charges
    most_charging: int | None = None
    most_discharging: int | None = None
    least_charge: float = 0.05
    most_charge: float = 1.0


class Control:
    """The writable registers of one model."""

    def __init__(self, profile: Profile) -> None:
        self._rows = {row["address"]: row for row in _rows() if row["of"] in profile.features}
        self._values = {row["name"]: int(row["first"]) for row in self._rows.values()}
        if profile.hybrid:
            self._values["export_limit"] = min(0xFFFE, profile.rated_w)
            self._values["most_charging"] = self._values["most_discharging"] = profile.battery_w // 10
        self._confirmed: datetime | None = None
        self.orders = self._orders()

    def words(self) -> dict[int, int]:
        """By documented address."""
        return {address: self._values[row["name"]] for address, row in self._rows.items()}

    def write(self, address: int, words: list[int], now: datetime) -> int:
        """Write all words or none; 0, or the exception code."""
        rows = [self._rows.get(at) for at in range(address, address + len(words))]
        if None in rows:
            return ILLEGAL_ADDRESS
        for row, word in zip(rows, words, strict=True):
            assert row is not None
            least, most = row.get("range", (0, 0xFFFF))
            if not (word in row["values"] if "values" in row else least <= word <= most):
                return ILLEGAL_VALUE
        for row, word in zip(rows, words, strict=True):
            assert row is not None
            self._values[row["name"]] = word
            if row["name"] == "heartbeat" or (row["name"] == "ems_mode" and word in (EXTERNAL, POWER_PLANT)):
                self._confirmed = now
        self.orders = self._orders()
        return 0

    def check_heartbeat(self, now: datetime) -> None:
        """Back to self-consumption when nobody has confirmed external control for too long."""
        if self._values.get("ems_mode") not in (EXTERNAL, POWER_PLANT) or self._confirmed is None:
            return
        if now - self._confirmed > timedelta(seconds=self._values["heartbeat"]):
            self._values["ems_mode"], self._values["battery_command"] = SELF_CONSUMPTION, REST
            self._confirmed = None
            self.orders = self._orders()

    def _orders(self) -> Orders:
        value = self._values
        limited = value.get("power_limit_switch") == ON
        ratio = value["power_limit_ratio"] / 1000 if limited else None
        running = value.get("start_stop") != STOP
        if "ems_mode" not in value:
            return Orders(running=running, most_ac=ratio)
        return Orders(
            running=running,
            most_ac=ratio,
            most_export=value["export_limit"] if value["export_limit_switch"] == ON else None,
            forced=self._forced(),
            most_charging=10 * value["most_charging"],
            most_discharging=10 * value["most_discharging"],
            least_charge=value["least_charge"] / 1000,
            most_charge=value["most_charge"] / 1000,
        )

    def _forced(self) -> int | None:
        value = self._values
        if value["ems_mode"] == SELF_CONSUMPTION:
            return None
        sign = {CHARGE: 1, DISCHARGE: -1, REST: 0}[value["battery_command"]]
        return sign * value["battery_power"]
