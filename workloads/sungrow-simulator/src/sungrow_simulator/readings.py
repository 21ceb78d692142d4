"""Readings: what an inverter's registers say about its plant, by the names that data/registers.yaml uses.

Base units: W, Wh, V, A, Hz, °C, %. A name that is not here, or None, is a value that the model does not have.
"""

from __future__ import annotations

from sungrow_simulator.energy import HISTORY
from sungrow_simulator.plant import Plant
from sungrow_simulator.registers import Value

RUN, STANDBY, STOPPED = 0x0000, 0x1400, 0x8000  # work_state_1 of string inverters
RUN_BITS, STANDBY_BITS = 1 << 0 | 1 << 17, 1 << 3
HYBRID_RUN, HYBRID_STANDBY, HYBRID_STOPPED = 0x40, 0x08, 0x02
GENERATING, CHARGING, DISCHARGING, USING, FEEDING_IN, IMPORTING = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
ON_GRID = 0x55
STRINGS_PER_INPUT = 2
YEARS = range(2015, 2035)  # of the history by years
CO2_KG_PER_WH = 0.000997
COUNTERS = "yield", "pv", "import", "export", "direct", "charge", "discharge", "pv_charge", "pv_export"


def readings(plant: Plant, *, running: bool) -> dict[str, Value]:
    """Everything as it is now."""
    found: dict[str, Value] = {**_identity(plant), **_modules(plant), **_grid(plant), **_counters(plant)}
    found |= _states(plant, running)
    if plant.profile.hybrid:
        found |= _battery(plant)
        found |= _history(plant)
    if plant.profile.metered:
        found |= _meter(plant)
    return found


def _identity(plant: Plant) -> dict[str, Value]:
    profile, now = plant.profile, plant.now
    return {
        "serial": profile.serial, "type_code": profile.code, "rated_power": profile.rated_w,
        "output_type": 0 if profile.phases == 1 else 1, "rated_reactive_power": round(profile.rated_w * 0.6),
        "protocol_number": 0x32010000, "protocol_version": 0x01010B00,
        "arm_firmware": "SAPPHIRE-H_01011.95.03", "dsp_firmware": "SAPPHIRE-H_03011.95.03",
        "firmware_1": "SIMULATED_V01", "firmware_2": "SIMULATED_V02", "firmware_3": "SIMULATED_V03",
        "no_alarm": 0, "pid_state": 4, "insulation_resistance": 4200, "co2": plant.energy.total["pv"] * CO2_KG_PER_WH,
        "clock_year": now.year, "clock_month": now.month, "clock_day": now.day,
        "clock_hour": now.hour, "clock_minute": now.minute, "clock_second": now.second,
    }  # fmt: skip


def _modules(plant: Plant) -> dict[str, Value]:
    found: dict[str, Value] = {"dc_power": plant.flows.pv_w}
    currents: list[float] = []
    for number, (watts, peak) in enumerate(zip(plant.flows.mppt_w, plant.profile.peak_w, strict=True), 1):
        # More light gives more current and a little more voltage; in the dark there is neither.
        volts = round(340 + 180 * min(1.0, watts / peak), 1) if watts else 0.0
        amperes = round(watts / volts, 1) if volts else 0.0
        found[f"mppt_{number}_voltage"], found[f"mppt_{number}_current"] = volts, amperes
        currents += [amperes / STRINGS_PER_INPUT] * STRINGS_PER_INPUT
    found["string_currents"] = currents
    return found


def _grid(plant: Plant) -> dict[str, Value]:
    flows, phases = plant.flows, plant.profile.phases
    found: dict[str, Value] = {
        "active_power": flows.ac_w, "apparent_power": abs(flows.ac_w), "reactive_power": 0, "reactive_setpoint": 0,
        "power_setpoint": plant.profile.rated_w, "power_factor": 1.0, "grid_frequency": plant.grid_hz,
        "bus_voltage": 640.0 if flows.pv_w else 0.0, "negative_voltage": -320.0 if flows.pv_w else 0.0,
    }  # fmt: skip
    for at, phase in enumerate("abc"[:phases]):
        volts = plant.grid_v[at]
        found[f"phase_{phase}_voltage"] = volts
        found[f"phase_{phase}_current"] = round(flows.ac_w / phases / volts, 1)
    return found


def _states(plant: Plant, running: bool) -> dict[str, Value]:
    flows = plant.flows
    busy = bool(flows.pv_w or flows.ac_w)
    warm = 12 + 34 * abs(flows.ac_w) / plant.profile.rated_w + 9 * (6 < plant.now.hour < 20)
    signs = (
        (flows.pv_w > 0, GENERATING), (flows.battery_w > 0, CHARGING), (flows.battery_w < 0, DISCHARGING),
        (flows.load_w > 0, USING), (flows.export_w > 0, FEEDING_IN), (flows.export_w < 0, IMPORTING),
    )  # fmt: skip
    return {
        "work_state": (RUN if busy else STANDBY) if running else STOPPED,
        "work_state_bits": (RUN_BITS if busy else STANDBY_BITS) if running else 1 << 1,
        "system_state": (HYBRID_RUN if busy else HYBRID_STANDBY) if running else HYBRID_STOPPED,
        "flow_bits": sum(bit for true, bit in signs if true),
        "grid_state": ON_GRID,
        "inside_temperature": round(warm, 1),
    }  # fmt: skip


def _counters(plant: Plant) -> dict[str, Value]:
    energy = plant.energy
    found: dict[str, Value] = {
        "running_minutes_today": energy.running_s_today // 60, "running_hours": energy.running_s // 3600,
        "yield_month": energy.month["yield"],
    }  # fmt: skip
    total = energy.total
    for name in COUNTERS:
        found[f"{name}_today"], found[f"{name}_total"] = energy.today[name], total[name]
    made = energy.today["pv"]
    found["self_consumption_today"] = (
        round(100 * (made - energy.today["pv_export"]) / made, 1) if made else 0.0
    )
    return found


def _battery(plant: Plant) -> dict[str, Value]:
    profile, watts = plant.profile, plant.flows.battery_w
    volts = round(profile.battery_v * (0.94 + 0.1 * plant.level), 1)
    amperes = round(watts / volts, 1)
    return {
        "battery_voltage": volts, "battery_current": amperes, "battery_magnitude": abs(watts),
        "battery_current_coarse": abs(amperes) if profile.phases == 3 else amperes,
        "battery_output_power": -watts, "battery_level": round(100 * plant.level, 1), "battery_health": 99.0,
        "battery_temperature": round(21 + 9 * abs(watts) / profile.battery_w, 1),
        "battery_capacity": profile.battery_wh, "battery_rated_power": profile.battery_w,
        "battery_most_current": round(profile.battery_w / profile.battery_v),
        "export_limit_least": 0, "export_limit_most": profile.rated_w, "backup_power": 0,
    }  # fmt: skip


def _meter(plant: Plant) -> dict[str, Value]:
    """The meter's signs: import is positive, export negative."""
    watts, phases = -plant.flows.export_w, plant.profile.phases
    found: dict[str, Value] = {"meter_power": watts, "load_power": plant.flows.load_w, "export_power": -watts}
    for at, phase in enumerate("abc"[:phases]):
        part = watts // phases + (at < watts % phases)
        found[f"meter_phase_{phase}_power"] = part
        found[f"meter_phase_{phase}_current"] = round(abs(part) / plant.grid_v[at], 2)
    return found


def _history(plant: Plant) -> dict[str, Value]:
    energy = plant.energy
    short = {"pv": "pv", "direct": "direct", "pv_export": "export", "pv_charge": "charge"}
    this_year = energy.year
    found: dict[str, Value] = {}
    for name in HISTORY:
        found[f"{short[name]}_quarters"] = [4 * wh for wh in energy.quarters[name]]  # mean powers in W
        found[f"{short[name]}_days"] = energy.days(name)
        found[f"{short[name]}_months"] = energy.months(name)
        found[f"{short[name]}_years"] = [this_year[name] * (year == energy.date.year) for year in YEARS]
    return found
