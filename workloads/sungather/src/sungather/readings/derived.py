"""Values that no register holds: upstream's virtual registers vr001 to vr007, under the same names.

vr001 run_state, vr002 timestamp, vr003 last_reset, vr004 export_to_grid, vr005 import_from_grid (W),
vr006 daily_export_to_grid, vr007 daily_import_from_grid (kWh, power by elapsed time).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, datetime

from sungather.registers.decoding import Value

Values = Mapping[str, Value | None]

VIRTUAL = {
    "run_state": ("vr001", ""),
    "timestamp": ("vr002", ""),
    "last_reset": ("vr003", ""),
    "export_to_grid": ("vr004", "W"),
    "import_from_grid": ("vr005", "W"),
    "daily_export_to_grid": ("vr006", "kWh"),
    "daily_import_from_grid": ("vr007", "kWh"),
}
CLOCK = ("year", "month", "day", "hour", "minute", "second")
ALARM_CLOCK = tuple(f"alarm_time_{part}" for part in CLOCK)
NO_ALARM = "No alarm"

METERS = {
    "meter_power": -1,
    "export_power_hybrid": 1,
    "meter_total_power": -1,
    "power_meter": -1,
    "export_power": 1,
}
"""Registers that tell what flows at the grid connection, and the sign that makes export positive. Which of them a model
fills, its documents do not say: the others are marked as missing, or 0. So the first that is not 0 counts."""

_RUNNING = ("run", "derating", "dispatch", "starting", "restarting", "startup")
_NOT_RUNNING = ("stop", "standby", "fault")
_STRANGE_DAY_BELIEVED_AFTER = 3
_LONGEST_GAP = 900.0
"""Seconds between two collections over which power still says something about energy."""


def inverter_time(values: Values) -> datetime | None:
    """The inverter's clock, or None when it was not read or shows an impossible date."""
    parts = [values.get(name) for name in CLOCK]
    if not all(isinstance(part, int) for part in parts):
        return None
    year, month, day, hour, minute, second = (int(p) for p in parts if p is not None)
    try:
        found = datetime(year + 2000 if year < 100 else year, month, day, hour, minute, second)
    except ValueError:
        return None
    return found if 2000 < found.year < 2100 else None


def alarm_time(values: Values) -> str | None:
    """When the last alarm was, as text; None when there was none."""
    parts = [p for name in ALARM_CLOCK if isinstance(p := values.get(name), int)]
    if len(parts) < len(ALARM_CLOCK) or not parts[0]:
        return None
    year, month, day, hour, minute, second = parts
    return f"{year}-{month:02d}-{day:02d} {hour:02d}:{minute:02d}:{second:02d}"


def run_state(values: Values) -> str | None:
    """ON or OFF; None when nothing tells."""
    if values.get("start_stop") == "Stop":
        return "OFF"
    for name in ("work_state_1", "system_state", "work_state_2"):
        state = values.get(name)
        if isinstance(state, str):
            text = state.lower()
            if any(word in text for word in _NOT_RUNNING):
                return "OFF"
            if any(word in text for word in _RUNNING):
                return "ON"
    return "ON" if values.get("start_stop") == "Start" else None


def grid_power(values: Values) -> tuple[float, float] | None:
    """(export, import) in watts; None when no meter tells."""
    exported = None
    for name, sign in METERS.items():
        value = values.get(name)
        if isinstance(value, (int, float)):
            exported = sign * value
            if exported:
                break
    return None if exported is None else (max(exported, 0), max(-exported, 0))


def load_power(values: Values) -> float | None:
    """What the house uses: a hybrid says it; else production plus what comes from the grid."""
    told = values.get("load_power_hybrid")
    if isinstance(told, (int, float)):
        return told
    active, grid = values.get("total_active_power"), grid_power(values)
    return active + grid[1] - grid[0] if isinstance(active, (int, float)) and grid else None


@dataclass
class DailyCounters:
    """vr003, vr006, vr007: kept across restarts, reset when the local day changes."""

    day: str = ""
    last_reset: str = ""
    exported: float = 0.0
    imported: float = 0.0
    strange_day: str = ""
    strange_times: int = 0
    last_system_day: str = ""

    def saved(self) -> dict[str, object]:
        return asdict(self)

    def add(
        self, power: tuple[float, float] | None, elapsed: float, when: datetime, system: datetime
    ) -> None:
        """Count `elapsed` seconds of (export, import) watts up to local time `when`; `system` is this machine's."""
        self._turn_day(when, system)
        if power is not None and 0 < elapsed <= _LONGEST_GAP:
            self.exported += power[0] / 1000 * elapsed / 3600
            self.imported += power[1] / 1000 * elapsed / 3600

    def _turn_day(self, when: datetime, system: datetime) -> None:
        today = when.date().isoformat()
        before, self.last_system_day = self.last_system_day, system.date().isoformat()
        if today == self.day:
            self.strange_times = 0
            return
        if self.day and not self._plausible(today, before):
            return
        if not self.day or today > self.day:
            self.exported = self.imported = 0.0
            self.last_reset = when.strftime("%Y-%m-%d %H:%M:%S")
        self.day, self.strange_times = today, 0

    def _plausible(self, today: str, system_before: str) -> bool:
        """A clock that jumps more than a day forward, or backward at all, must insist before it is believed."""
        step = (date.fromisoformat(today) - date.fromisoformat(self.day)).days
        if step == 1:
            return True
        if step > 1 and system_before:
            passed = (date.fromisoformat(self.last_system_day) - date.fromisoformat(system_before)).days
            if passed >= step - 1:
                return True
        self.strange_times = self.strange_times + 1 if today == self.strange_day else 1
        self.strange_day = today
        return self.strange_times >= _STRANGE_DAY_BELIEVED_AFTER
