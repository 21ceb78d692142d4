"""One register: where it is, how its words become a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from sungather.registers.history import Period


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
    blank: bool = False
    """A model without it fills its words with ones, which would read as -1."""
    per: Period | None = None
    """It is a table, of which the value of the period under way is read."""
    index: int = 0
    """Which value of the table `address` points to."""

    @property
    def end(self) -> int:
        """The first address after this register."""
        return self.address + self.words

    @property
    def first(self) -> int:
        """The address under which people know it: of a table, that of the first value."""
        return self.address - self.index * self.words

    def at(self, moment: datetime) -> Register:
        """Of a table, the value for this local time; anything else as it is."""
        index = self.per.position(moment) if self.per else 0
        return (
            self
            if index == self.index
            else replace(self, address=self.first + index * self.words, index=index)
        )

    def whole(self) -> Register:
        """Of a table, all of its words; anything else as it is."""
        return (
            replace(self, address=self.first, index=0, words=self.words * self.per.values)
            if self.per
            else self
        )


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
