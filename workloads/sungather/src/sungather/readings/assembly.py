"""From a scan to a snapshot: one value a name, counters checked, derived values added.

The order and names are upstream's `latest_scrape`, so that the JSON state has the same keys: the clock's parts become
`timestamp`, the alarm's parts `alarm_timestamp`, device_type_code shows the model.
"""

from __future__ import annotations

import logging
from datetime import datetime

from sungather.clock import Clock
from sungather.readings import derived
from sungather.readings.derived import DailyCounters, Values
from sungather.readings.quarantine import Quarantine
from sungather.readings.snapshot import Quality, Reading, Snapshot
from sungather.registers.decoding import Value
from sungather.registers.register import Register
from sungather.registers.scan import Scan

log = logging.getLogger("sungather.readings")


class Assembly:
    """Turns scans into snapshots; holds what must outlive a restart (see saved)."""

    def __init__(
        self, clock: Clock, *, level: int, use_local_time: bool, saved: dict[str, object] | None = None
    ) -> None:
        self._clock, self._level, self._use_local_time = clock, level, use_local_time
        kept = saved or {}
        daily = kept.get("daily")
        counters = kept.get("quarantine")
        self.daily = DailyCounters(**daily) if isinstance(daily, dict) else DailyCounters()
        self.quarantine = Quarantine(counters if isinstance(counters, dict) else None)
        self._last: tuple[float, datetime] | None = None
        self._last_id = 0
        self._clock_broken = False
        self._told: set[str] = set()

    def saved(self) -> dict[str, object]:
        return {"daily": self.daily.saved(), "quarantine": self.quarantine.saved()}

    def snapshot(self, scan: Scan) -> Snapshot:
        readings = self._measured(scan)
        values: Values = {name: r.value for name, r in readings.items()}
        when = self._time(values)
        elapsed = self._elapsed(when)
        self._check_counters(scan, readings, when, elapsed)
        values = {name: r.value for name, r in readings.items()}
        self._add_derived(readings, values, when, elapsed)
        stamp = max(int(scan.taken.timestamp() * 1000), self._last_id + 1)
        self._last_id = stamp
        return Snapshot(
            id=f"{scan.identity.serial or 'unknown'}:{stamp}",
            taken=scan.taken,
            identity=scan.identity,
            readings=readings,
            seconds=scan.seconds,
            reads_ok=scan.reads_ok,
            reads_failed=len(scan.failures),
        )

    def _measured(self, scan: Scan) -> dict[str, Reading]:
        found: dict[str, Reading] = {
            "device_type_code": Reading("device_type_code", scan.identity.model, address="5000")
        }
        for item in scan.measured:
            register, value = item.register, item.value
            if register.name == "device_type_code":
                continue
            before = found.get(register.name)
            if before is not None and value is None and before.value is not None:
                continue
            found[register.name] = Reading(
                register.name,
                value,
                register.unit,
                Quality.GOOD if value is not None else Quality.ABSENT,
                str(register.first),
                register.group,
                item.shown or (before is not None and before.shown),
            )
        return found

    def _time(self, values: Values) -> datetime:
        """The time of the readings in the inverter's words; this machine's when asked to or when it has none."""
        local = self._clock.local().replace(tzinfo=None, microsecond=0)
        if self._use_local_time:
            return local
        shown = derived.inverter_time(values)
        broken = shown is None
        if broken != self._clock_broken:
            self._clock_broken = broken
            if broken:
                log.warning("the inverter's clock cannot be read: using this machine's time")
            else:
                log.info("the inverter's clock is readable again")
        return shown or local

    def _elapsed(self, when: datetime) -> float:
        now = self._clock.monotonic()
        last, self._last = self._last, (now, when)
        return now - last[0] if last else 0.0

    def _check_counters(
        self, scan: Scan, readings: dict[str, Reading], when: datetime, elapsed: float
    ) -> None:
        counters: dict[str, Register] = {
            m.register.name: m.register for m in scan.measured if m.register.counter
        }
        doubtful: dict[str, Value] = {}
        for name, register in counters.items():
            reading = readings[name]
            if not isinstance(reading.value, (int, float)):
                continue
            if self.quarantine.accepts(
                name, register.counter or "", reading.value, when, elapsed, scan.identity.rated_watts
            ):
                continue
            doubtful[name] = reading.value
            readings[name] = Reading(
                name,
                None,
                reading.unit,
                Quality.SUSPECT,
                reading.address,
                reading.group,
                reading.shown,
                reading.value,
            )
        if news := {name: value for name, value in doubtful.items() if name not in self._told}:
            said = ", ".join(f"{name} {value}" for name, value in news.items())
            log.warning("withheld until it makes sense, for it cannot be: %s", said)
        self._told = set(doubtful)

    def _add_derived(
        self, readings: dict[str, Reading], values: Values, when: datetime, elapsed: float
    ) -> None:
        power = derived.grid_power(values)
        self.daily.add(power, elapsed, when, self._clock.local())
        for name in derived.CLOCK:
            readings.pop(name, None)
        alarm = derived.alarm_time(values)
        for name in derived.ALARM_CLOCK:
            readings.pop(name, None)
        if alarm and values.get("pid_alarm_code") not in (None, derived.NO_ALARM):
            readings["alarm_timestamp"] = Reading("alarm_timestamp", alarm)
        self._fill(readings, "load_power", derived.load_power(values), "load")
        self._fill(readings, "meter_power", power[1] - power[0] if power else None, "grid")
        known = power is not None
        virtual: dict[str, str | float | None] = {
            "run_state": derived.run_state(values),
            "timestamp": when.strftime("%Y-%m-%d %H:%M:%S"),
            "last_reset": self.daily.last_reset,
            "export_to_grid": power[0] if power else None,
            "import_from_grid": power[1] if power else None,
            "daily_export_to_grid": round(self.daily.exported, 4) if known or self.daily.exported else None,
            "daily_import_from_grid": round(self.daily.imported, 4) if known or self.daily.imported else None,
        }
        for name, value in virtual.items():
            address, unit = derived.VIRTUAL[name]
            group = "grid" if unit else "device"
            quality = Quality.ABSENT if value is None else Quality.GOOD
            shown = self._level >= 1 or name not in ("export_to_grid", "import_from_grid")  # as upstream
            readings[name] = Reading(name, value, unit, quality, address, group, shown)

    @staticmethod
    def _fill(readings: dict[str, Reading], name: str, computed: float | None, group: str) -> None:
        """A value that the model has elsewhere, or not at all, under the name that exports ask for."""
        old = readings.get(name)
        if old is not None and not old.value and computed is not None:
            readings[name] = Reading(name, computed, "W", address=old.address, group=group, shown=old.shown)
