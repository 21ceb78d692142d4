"""One collection's readings, as exports and the API get them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from sungather.registers.decoding import Value
from sungather.registers.scan import Identity


class Quality(StrEnum):
    """How far a value can be trusted."""

    GOOD = "good"
    ABSENT = "absent"
    """The inverter marks it as missing."""
    SUSPECT = "suspect"
    """Impossible, so withheld: see quarantine."""


class Reading(NamedTuple):
    """One named value. `value` is None unless the quality is good; `withheld` is what a suspect one said."""

    name: str
    value: Value | None
    unit: str = ""
    quality: Quality = Quality.GOOD
    address: str = "----"
    group: str = "device"
    shown: bool = True
    withheld: Value | None = None


@dataclass(frozen=True)
class Snapshot:
    """All readings of one collection. `id` is the key by which a receiver can drop a repeat."""

    id: str
    taken: datetime
    identity: Identity
    readings: Mapping[str, Reading]
    seconds: float = 0.0
    reads_ok: int = 0
    reads_failed: int = 0

    def value(self, name: str) -> Value | None:
        reading = self.readings.get(name)
        return reading.value if reading else None

    def number(self, name: str) -> float | None:
        value = self.value(name)
        return value if isinstance(value, (int, float)) else None

    def shown(self) -> dict[str, Reading]:
        """What exports get: without the readings that only the web page needs."""
        return {name: reading for name, reading in self.readings.items() if reading.shown}
