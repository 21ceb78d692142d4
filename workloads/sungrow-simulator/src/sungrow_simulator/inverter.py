"""Inverter: the register state of one profile over one plant."""

from __future__ import annotations

import json
from datetime import datetime
from importlib.resources import files
from typing import Any

from sungrow_simulator.plant import Plant
from sungrow_simulator.registers import encode


class Inverter:
    """Answers reads and writes by documented address."""

    def __init__(self, profile: str, start: datetime, seed: int = 1) -> None:
        found = files("sungrow_simulator") / "profiles" / f"{profile}.json"
        if not found.is_file():
            raise ValueError(f"profile {profile!r} is unknown: choose SH10RT or SG10RT")
        self._profile: dict[str, Any] = json.loads(found.read_text())
        self._written: dict[int, int] = {int(a): w for a, w in self._profile["writable"].items()}
        self.plant = Plant(self._profile["rated_w"], self._profile["battery_wh"], start, seed)

    def words(self, table: str) -> dict[int, int]:
        """Every word of the table `input` or `holding` as it is now."""
        values = {**self._profile, **self.plant.values()}
        result: dict[int, int] = {}
        for address, source, kind, scale in self._profile[table]:
            result.update(enumerate(encode(kind, values[source], scale), address))
        if table == "holding":
            result.update(self._written)
        return result

    def write(self, address: int, words: list[int]) -> bool:
        """Write all words or none; False when one is outside the writable map."""
        if any(address + at not in self._written for at in range(len(words))):
            return False
        self._written.update(enumerate(words, address))
        return True
