"""Power now and energy today, in five words that fit every model: for the web page and the energy summary.

Sources by model: hybrids have their own load, battery and grid registers; string inverters have a meter or nothing.
"""

from __future__ import annotations

from sungather.readings.snapshot import Snapshot


def _first(snapshot: Snapshot, *names: str) -> float | None:
    for name in names:
        value = snapshot.number(name)
        if value is not None:
            return value
    return None


def battery_power(snapshot: Snapshot) -> float | None:
    """Watts into the battery; negative while discharging. Newer firmware signs it, older shows bits for direction."""
    magnitude = snapshot.number("battery_power")
    if snapshot.number("state_battery_discharging"):
        return -abs(magnitude) if magnitude is not None else None
    if snapshot.number("state_battery_charging"):
        return abs(magnitude) if magnitude is not None else None
    signed = snapshot.number("battery_power_signed")
    return -signed if signed is not None else magnitude


def power(snapshot: Snapshot) -> dict[str, float | None]:
    """Watts: pv, load, grid (positive when importing), battery (positive when charging); soc in percent."""
    exported, imported = snapshot.number("export_to_grid"), snapshot.number("import_from_grid")
    grid = imported - exported if exported is not None and imported is not None else None
    device = snapshot.identity.device
    hybrid = device is not None and device.hybrid
    pv = (
        _first(snapshot, "total_dc_power")
        if hybrid
        else _first(snapshot, "total_active_power", "total_dc_power")
    )
    load = _first(snapshot, "load_power_hybrid", "load_power")
    if load is None and not hybrid and pv is not None and grid is not None:
        load = pv + grid
    return {
        "pv": pv,
        "load": load,
        "grid": grid,
        "battery": battery_power(snapshot),
        "soc": _first(snapshot, "battery_level", "soc"),
    }


def today(snapshot: Snapshot) -> dict[str, float | None]:
    """Kilowatt-hours since midnight."""
    return {
        "produced": _first(snapshot, "daily_pv_generation", "daily_power_yields"),
        "imported": _first(snapshot, "daily_import_energy", "daily_import_from_grid"),
        "exported": _first(snapshot, "daily_export_energy", "daily_export_to_grid"),
        "charged": _first(snapshot, "daily_charge_energy"),
        "discharged": _first(snapshot, "daily_battery_discharge_energy"),
    }


def summary(days: list[dict[str, float | None]]) -> dict[str, float | None]:
    """Totals over days, what the house used, and how much of its use and of the production stayed at home (%)."""
    total: dict[str, float | None] = {}
    for name in ("produced", "imported", "exported", "charged", "discharged"):
        known = [value for day in days if (value := day.get(name)) is not None]
        total[name] = round(sum(known), 2) if known else None
    produced, imported, exported = total["produced"], total["imported"], total["exported"]
    used = None
    if produced is not None and imported is not None and exported is not None:
        used = max(0.0, produced + imported - exported + (total["discharged"] or 0) - (total["charged"] or 0))
        used = round(used, 2)
    total["used"] = used
    total["self_use_percent"] = (
        _percent(produced - exported, produced) if produced and exported is not None else None
    )
    total["autarky_percent"] = _percent(used - imported, used) if used and imported is not None else None
    return total


def _percent(part: float, whole: float) -> float:
    return round(max(0.0, min(100.0, 100 * part / whole)), 1)
