"""Inverter: one model's registers over one plant; what every transport reads and writes."""

from __future__ import annotations

from datetime import datetime

from sungrow_simulator.control import Control
from sungrow_simulator.faults import Faults
from sungrow_simulator.plant import TICK_S, Plant
from sungrow_simulator.profiles import Profile, profile
from sungrow_simulator.readings import readings
from sungrow_simulator.registers import RegisterMap, consecutive


class Inverter:
    """`advance` lets simulated time pass; nothing else does.

    Addresses are documented ones (wire address + 1); tables are `input` and `holding`.
    """

    def __init__(
        self, model: str | Profile, start: datetime, seed: int = 1, *, latitude: float = 48.0
    ) -> None:
        self.profile = profile(model) if isinstance(model, str) else model
        self.plant = Plant(self.profile, start, seed=seed, latitude=latitude)
        self.control = Control(self.profile)
        self.faults = Faults(lambda: self.now)
        self._map = RegisterMap(self.profile.features)
        self._words: dict[str, dict[int, int]] = {}
        self._due = 0.0  # seconds that passed and are no whole tick yet
        self.advance(TICK_S)

    @property
    def now(self) -> datetime:
        """The inverter's own clock."""
        return self.plant.now

    def advance(self, seconds: float) -> None:
        """Let simulated time pass."""
        self._due += seconds
        while self._due >= TICK_S:
            self._due -= TICK_S
            self.control.check_heartbeat(self.now)
            self.plant.tick(self.control.orders)
            self._words.clear()

    def words(self, table: str) -> dict[int, int]:
        """Every word that can be read, as it is now."""
        if table not in self._words:
            values = readings(self.plant, running=self.control.orders.running)
            found = self._map.words(table, values.get)
            if table == "holding":
                found |= self.control.words()
            self._words[table] = found
        return self._words[table]

    def read(self, table: str, address: int, count: int) -> list[int] | None:
        """The words from `address` on; None when one of them is out of reach."""
        return consecutive(range(address, address + count), self.words(table))

    def write(self, address: int, words: list[int]) -> int:
        """Write holding registers, all or none: 0, or a Modbus exception code (2 address, 3 value)."""
        code = self.control.write(address, words, self.now)
        if not code:
            self._words.clear()
        return code
