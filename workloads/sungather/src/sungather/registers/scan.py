"""What one pass over an inverter gave: who answered, and the value of each register that could be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sungather.registers.decoding import Value
from sungather.registers.register import Device, Register


@dataclass(frozen=True)
class Identity:
    """Which inverter answered."""

    device: Device | None
    serial: str
    rated_watts: float | None = None
    output_type: str | None = None

    @property
    def model(self) -> str | None:
        return self.device.model if self.device else None


class Measured(NamedTuple):
    """One register's value from a scan; None is the inverter's own mark for missing."""

    register: Register
    value: Value | None
    shown: bool
    """False for what only the web page needs at this level."""


@dataclass
class Scan:
    """The result of one pass; `failures` pairs each read that failed with its error."""

    taken: datetime
    identity: Identity
    measured: list[Measured] = field(default_factory=list)
    reads_ok: int = 0
    failures: list[tuple[object, Exception]] = field(default_factory=list)
    seconds: float = 0.0
