"""View: what a person sees of a running inverter, as a screen that is drawn again, or as lines."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

from sungrow_simulator.energy import Energy
from sungrow_simulator.faults import Rule
from sungrow_simulator.inverter import Inverter

SLOTS = 48  # columns of a day, half an hour each
BLOCKS = " ▁▂▃▄▅▆▇█"
BAR = 32  # columns of a bar
SUN_ROWS = 4
YELLOW, BLUE, GREEN, RED, BOLD = 33, 34, 32, 31, 1


@dataclass
class Day:
    """The curves of one day: highest power of each half hour in W, and the battery's charge at its end."""

    date: date
    sun: list[int | None] = field(default_factory=lambda: [None] * SLOTS)
    house: list[int | None] = field(default_factory=lambda: [None] * SLOTS)
    charge: list[float | None] = field(default_factory=lambda: [None] * SLOTS)

    def note(self, inverter: Inverter) -> None:
        """Remember the present moment."""
        now, plant = inverter.now, inverter.plant
        slot = (now.hour * 60 + now.minute) * SLOTS // 1440
        self.sun[slot] = max(self.sun[slot] or 0, plant.flows.pv_w)
        self.house[slot] = max(self.house[slot] or 0, plant.flows.load_w)
        self.charge[slot] = plant.level


def line(inverter: Inverter) -> str:
    """The present moment in one line. Battery: + charges. Grid: + is bought, - is sold."""
    plant, flows = inverter.plant, inverter.plant.flows
    battery = f"  battery {flows.battery_w:+6} W {plant.level:4.0%}" if inverter.profile.battery_wh else ""
    return (
        f"{plant.now:%Y-%m-%d %H:%M}  sun {flows.pv_w:6} W  house {flows.load_w:6} W{battery}"
        f"  grid {-flows.export_w:+6} W"
    )


def screen(inverter: Inverter, day: Day) -> list[str]:
    """The whole picture, line by line."""
    plant, flows, profile = inverter.plant, inverter.plant.flows, inverter.profile
    most = max(profile.rated_w, sum(profile.peak_w))
    rows = [
        paint(BOLD, f"{profile.name}  serial {profile.serial}") + f"   {plant.now:%a %d %b %Y  %H:%M}",
        "",
        f"  sun      {paint(YELLOW, bar(flows.pv_w / most))} {flows.pv_w:7,} W",
        f"  house    {paint(BLUE, bar(flows.load_w / most))} {flows.load_w:7,} W",
    ]  # fmt: skip
    if profile.battery_wh:
        doing = "charging" if flows.battery_w > 0 else "discharging" if flows.battery_w < 0 else "at rest"
        rows.append(
            f"  battery  {paint(GREEN, bar(plant.level))} {plant.level:7.1%}    {doing} {abs(flows.battery_w):,} W"
        )
    side = "sold to the grid" if flows.export_w > 0 else "bought from the grid" if flows.export_w < 0 else ""
    rows.append(
        f"  grid     {paint(RED, bar(abs(flows.export_w) / most))} {abs(flows.export_w):7,} W    {side}"
    )
    if not inverter.control.orders.running:
        rows.append(paint(RED, "  the inverter is stopped (start/stop register)"))
    rows += ["", *_curves(day, most, battery=bool(profile.battery_wh)), ""]
    rows += [f"  today    {energies(plant.energy.today)}", f"  ever     {energies(plant.energy.total)}", ""]
    rows += [f"  {traffic(inverter.faults.counters)}", *scheduled(inverter.faults.rules)]
    return rows


def _curves(day: Day, most: float, *, battery: bool) -> list[str]:
    """The day so far, below its hours."""
    rows = [f"  {most / 1000:3.0f} kW   " + "".join(f"{hour:<8}" for hour in range(0, 24, 4))]
    *upper, lowest = chart(day.sun, most, SUN_ROWS)
    rows += [f"           {paint(YELLOW, row)}" for row in upper]
    rows.append(f"  sun      {paint(YELLOW, lowest)}")
    rows.append(f"  house    {paint(BLUE, curve(day.house, most))}")
    if battery:
        rows.append(f"  charge   {paint(GREEN, curve(day.charge, 1.0))}")
    return rows


def scheduled(rules: Iterable[Rule]) -> list[str]:
    """Which faults are yet to come, as rows of the picture."""
    names = ", ".join(sorted({str(rule.fault) for rule in rules}))
    return [paint(RED, f"  faults scheduled: {names}")] if names else []


def bar(share: float) -> str:
    """A bar of BAR columns, filled as far as `share` says."""
    eighths = round(max(0.0, min(1.0, share)) * BAR * 8)
    whole, rest = divmod(eighths, 8)
    partial = " ▏▎▍▌▋▊▉"[rest] if rest else ""
    return ("█" * whole + partial).ljust(BAR, "·")


def curve(values: list[int | None] | list[float | None], most: float) -> str:
    """One column for each value; blank where there is none yet."""
    return "".join(
        " " if value is None else BLOCKS[max(1, round(min(1.0, value / most) * 8))] for value in values
    )


def chart(values: list[int | None], most: float, height: int) -> list[str]:
    """Columns as high as `height` rows, from the top row down."""
    eighths = [
        None if value is None else max(1, round(min(1.0, value / most) * 8 * height)) for value in values
    ]
    return [
        "".join(" " if high is None else BLOCKS[max(0, min(8, high - 8 * row))] for high in eighths)
        for row in reversed(range(height))
    ]


def energies(counted: Mapping[str, float]) -> str:
    """Energies in kWh, in words."""
    shown = (
        ("made", "pv"), ("used", "load"), ("bought", "import"), ("sold", "export"), ("stored", "charge")
    )  # fmt: skip
    return ", ".join(f"{word} {counted[name] / 1000:.1f}" for word, name in shown) + " kWh"


def traffic(counters: Mapping[str, int]) -> str:
    """What was asked so far, and what went wrong by schedule."""
    text = f"{_many(counters.get('requests', 0), 'request')} on {_many(counters.get('connections', 0), 'connection')}"
    if counters.get("writes"):
        text += f", {_many(counters['writes'], 'write')}"
    injected = [
        f"{name.removeprefix('faults.')} {count}"
        for name, count in sorted(counters.items())
        if name.startswith("faults.")
    ]
    return text + (f"; faults: {', '.join(injected)}" if injected else "")


def summary(begun: datetime, now: datetime, energy: Energy, counters: Mapping[str, int]) -> str:
    """What a run was, when it ends: the balance of its energies, and its traffic."""
    hours = (now - begun).total_seconds() / 3600
    return f"{hours:.1f} simulated hours: {balance(energy.total)}\n{traffic(counters)}"


def balance(counted: Mapping[str, float]) -> str:
    """What came and where it went, in kWh; what was lost is the rest of the numbers as they are shown."""
    came = {"made": "pv", "bought": "import", "from the battery": "discharge"}
    went = {"used": "load", "sold": "export", "into the battery": "charge"}
    without = () if counted["charge"] or counted["discharge"] else ("from the battery", "into the battery")
    sides = [
        {word: round(counted[name] / 1000, 1) for word, name in side.items() if word not in without}
        for side in (came, went)
    ]
    sides[1]["lost"] = max(0.0, round(sum(sides[0].values()) - sum(sides[1].values()), 1))
    return (
        " = ".join(" + ".join(f"{word} {kwh:.1f}" for word, kwh in side.items()) for side in sides) + " kWh"
    )


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def paint(code: int, text: str) -> str:
    """In a colour, or without where the person wants none (NO_COLOR)."""
    return text if os.environ.get("NO_COLOR") else f"\x1b[{code}m{text}\x1b[0m"
