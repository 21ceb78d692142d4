"""Plant: modules, inverter, battery, house and grid, whose energies always add up.

Time passes in ticks of the same length, whoever asks and how often: the same seed gives the same day. At each tick
sun and house give, the inverter decides by its orders, and every flow is a whole number of watts:

    sum of the modules + battery (discharging positive) = direct current into the inverter
    alternating current out of it = house + export
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple

from sungrow_simulator.control import Orders
from sungrow_simulator.energy import Energy
from sungrow_simulator.house import House
from sungrow_simulator.profiles import Profile
from sungrow_simulator.sky import Clouds, clear_sky, sun

TICK_S = 5
TICK = timedelta(seconds=TICK_S)
EFFICIENCY = 0.976  # of the inverter, beyond what it needs itself
OWN_W = 14  # what it needs itself, as long as anything flows
CELL_EFFICIENCY = 0.97  # of the battery, each way
START_W = 30  # less light than this and a string inverter sleeps


class Flows(NamedTuple):
    """Powers in W. `battery_w` positive charges, `ac_w` negative draws, `export_w` negative imports."""

    mppt_w: tuple[int, ...] = ()
    battery_w: int = 0
    dc_w: int = 0
    ac_w: int = 0
    load_w: int = 0

    @property
    def pv_w(self) -> int:
        return sum(self.mppt_w)

    @property
    def export_w(self) -> int:
        return self.ac_w - self.load_w


def to_ac(dc: int) -> int:
    """What the inverter makes of direct current; negative when it takes from the house's side."""
    if dc == 0:
        return 0
    return max(0, math.floor(dc * EFFICIENCY - OWN_W)) if dc > 0 else math.floor(dc / EFFICIENCY - OWN_W)


def to_dc(ac: int) -> int:
    """The direct current that gives so much."""
    return math.ceil((ac + OWN_W) / EFFICIENCY) if ac > 0 else 0


class Plant:
    """`tick` lets TICK_S seconds pass. `stored_wh` is what the battery holds."""

    def __init__(self, profile: Profile, start: datetime, *, seed: int = 1, latitude: float = 48.0) -> None:
        self.profile = profile
        self.now = start
        self.latitude = latitude
        self._clouds = Clouds(Random(f"{seed} clouds"))
        self._house = House(Random(f"{seed} house"), size=max(1.0, profile.rated_w / 15_000))
        self._small = Random(f"{seed} noise")
        self._clear: list[float] = []  # watts of each input without clouds, for this minute
        self.stored_wh = profile.battery_wh * 0.35
        self.flows = Flows(mppt_w=(0,) * len(profile.peak_w))
        self.grid_v: tuple[float, ...] = (230.0,) * 3
        self.grid_hz = 50.0
        self.energy = Energy(start)

    @property
    def level(self) -> float:
        """The battery's charge, 0 to 1."""
        return self.stored_wh / self.profile.battery_wh if self.profile.battery_wh else 0.0

    def tick(self, orders: Orders) -> None:
        """Let the next TICK_S seconds pass."""
        self._clouds.pass_by(self.now, TICK_S)
        offered = [math.floor(watts * self._clouds.light) for watts in self._clear_watts()]
        load = self._house.power(self.now, TICK_S)
        self.flows = self._decide(offered, load, orders)
        noise = self._small.gauss
        sag = self.flows.export_w / self.profile.phases / 4000
        self.grid_v = tuple(round(230.5 + at * 0.4 + sag + noise(0, 0.25), 1) for at in range(3))
        self.grid_hz = round(50.0 + noise(0, 0.012), 2)
        battery_wh = self.flows.battery_w * TICK_S / 3600
        self.stored_wh += battery_wh * CELL_EFFICIENCY if battery_wh > 0 else battery_wh / CELL_EFFICIENCY
        self.energy.add(self.now, self.flows, TICK_S)
        self.now += TICK

    def _clear_watts(self) -> list[float]:
        # The sun moves little in a minute, and this costs more than all the rest.
        if not self._clear or self.now.second < TICK_S:
            elevation, azimuth = sun(self.now, self.latitude)
            inputs = zip(self.profile.peak_w, self.profile.azimuth, strict=True)
            self._clear = [peak * clear_sky(elevation, azimuth, turned) for peak, turned in inputs]
        return self._clear

    def _decide(self, offered: list[int], load: int, orders: Orders) -> Flows:
        profile = self.profile
        asleep = sum(offered) < START_W and not profile.battery_wh
        if not orders.running or asleep:
            return Flows(mppt_w=(0,) * len(offered), load_w=load)
        most_ac = round(profile.rated_w * min(1.0, 1.0 if orders.most_ac is None else orders.most_ac))
        if orders.most_export is not None:
            most_ac = min(most_ac, load + orders.most_export)
        pv = sum(offered)
        battery = self._battery(pv, load, most_ac, orders)
        usable = min(pv, max(0, to_dc(most_ac) + battery))  # the rest stays on the roof
        mppt = _shared(offered, usable)
        dc = usable - battery
        return Flows(mppt_w=mppt, battery_w=battery, dc_w=dc, ac_w=min(to_ac(dc), most_ac), load_w=load)

    def _battery(self, pv: int, load: int, most_ac: int, orders: Orders) -> int:
        """What goes into the battery; negative comes out of it."""
        profile = self.profile
        if not profile.battery_wh:
            return 0
        per_tick = 3600 / TICK_S
        room = max(
            0.0, (orders.most_charge * profile.battery_wh - self.stored_wh) / CELL_EFFICIENCY * per_tick
        )
        stock = max(
            0.0, (self.stored_wh - orders.least_charge * profile.battery_wh) * CELL_EFFICIENCY * per_tick
        )
        into = min(math.floor(room), profile.battery_w, orders.most_charging or profile.battery_w)
        out = min(math.floor(stock), profile.battery_w, orders.most_discharging or profile.battery_w)
        if orders.forced is not None:
            # From the grid no more than the inverter can take, to it no more than it may give.
            from_grid = math.floor(profile.rated_w * EFFICIENCY)
            into, out = min(into, pv + from_grid), min(out, max(0, to_dc(most_ac) - pv))
            return max(-out, min(into, orders.forced))
        return max(-out, min(into, pv - to_dc(min(load, most_ac))))


def _shared(offered: list[int], usable: int) -> tuple[int, ...]:
    """`usable` watts taken from the inputs in proportion, to the watt."""
    total = sum(offered)
    if usable >= total:
        return tuple(offered)
    taken = [watts * usable // total for watts in offered]
    for at in range(usable - sum(taken)):
        taken[at] += 1
    return tuple(taken)
