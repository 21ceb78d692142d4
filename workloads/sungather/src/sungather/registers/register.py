"""One register: where it is, how its words become a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """The two address spaces that Sungrow uses: input (function 4) and holding (functions 3, 6, 16)."""

    INPUT = "input"
    HOLDING = "holding"


class DataType(StrEnum):
    """How words make a value. 32-bit values have their low word first; words are big-endian."""

    U16 = "U16"
    S16 = "S16"
    U32 = "U32"
    S32 = "S32"
    TEXT = "UTF-8"


@dataclass(frozen=True, eq=False)
class Register:
    """A row of the register catalogue, equal only to itself. `address` is the documented one (wire address + 1)."""

    name: str
    kind: Kind
    address: int
    type: DataType
    level: int
    words: int = 1
    scale: float | None = None
    unit: str = ""
    models: tuple[str, ...] = ("all",)
    mask: int | None = None
    states: Mapping[int, str] = field(default_factory=dict)
    otherwise: str | None = None
    bits: bool = False
    smart_meter: bool = False
    mppt: int = 0
    string: int = 0
    counter: str | None = None
    group: str = "device"
    source: str = ""

    @property
    def end(self) -> int:
        """The first address after this register."""
        return self.address + self.words


@dataclass(frozen=True)
class Device:
    """What a device type code says: the model's name and what the model has."""

    code: int
    model: str
    family: str
    phases: int = 3
    mppts: int = 12
    strings: int = 24
    known: bool = True

    @property
    def hybrid(self) -> bool:
        return self.family.startswith(("SH", "MG"))
