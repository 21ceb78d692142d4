"""Registers: which words an inverter has at which addresses, and how values become words.

Documented addresses are wire addresses + 1. Facts are in data/registers.yaml, with their sources.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

LIMITS = {"U16": (0, 0xFFFE), "S16": (-0x8000, 0x7FFE), "U32": (0, 0xFFFFFFFE), "S32": (-(2**31), 2**31 - 2)}
"""What a number may be: the largest value of each type says that the device has no such value."""
MISSING = {"U16": [0xFFFF], "S16": [0x7FFF], "U32": [0xFFFF, 0xFFFF], "S32": [0xFFFF, 0x7FFF]}

Value = float | str | Sequence[float]


@dataclass(frozen=True, slots=True)
class Register:
    """One row of data/registers.yaml."""

    table: str
    address: int
    type: str
    value: str
    of: str
    scale: float = 1
    count: int = 1

    @property
    def width(self) -> int:
        """Words of one value."""
        if self.type.startswith("TEXT"):
            return int(self.type.removeprefix("TEXT"))
        return 2 if self.type.endswith("32") else 1

    def missing(self) -> list[int]:
        """What stands where the device has no value."""
        one = [0] * self.width if self.type.startswith("TEXT") else MISSING[self.type]
        return one * self.count

    def words(self, value: Value) -> list[int]:
        """A value, or `count` of them, as words."""
        if isinstance(value, str):
            return encode_text(value, self.width)
        if not isinstance(value, int | float):
            given = encode_numbers(self.type, [item / self.scale for item in value[: self.count]])
            return given + self.missing()[len(given) :]
        return encode_numbers(self.type, [value / self.scale]) * self.count


def encode_numbers(kind: str, values: Sequence[float]) -> list[int]:
    """The words of numbers; 32-bit values have their low word first. What is too large stays at the limit, as a
    counter of the device does."""
    least, most = LIMITS[kind]
    whole = [min(most, max(least, round(value))) for value in values]
    if kind.endswith("16"):
        return [number & 0xFFFF for number in whole]
    return [word for number in whole for word in (number & 0xFFFF, number >> 16 & 0xFFFF)]


def encode_text(text: str, words: int) -> list[int]:
    """The words of a text: two bytes a word, high byte first, padded with NUL."""
    raw = text.encode("ascii")[: 2 * words].ljust(2 * words, b"\0")
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]


@cache
def _document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(
        (files("sungrow_simulator") / "data" / "registers.yaml").read_text()
    )
    return found


@cache
def all_registers() -> tuple[Register, ...]:
    """Every row, whatever the model."""
    return tuple(Register(**row) for row in _document()["registers"])


class RegisterMap:
    """The registers of one model. `features` are all, hybrid or string, and what its profile names."""

    def __init__(self, features: Collection[str]) -> None:
        self._rows = [row for row in all_registers() if row.of in features]
        self.readable: dict[str, list[range]] = {"input": [], "holding": []}
        for feature, tables in _document()["readable"].items():
            if feature in features:
                for table, pairs in tables.items():
                    self.readable[table] += [range(first, last + 1) for first, last in pairs]
        self._blank = {table: self._gaps(table) for table in self.readable}

    def _gaps(self, table: str) -> dict[int, int]:
        """Every readable word as it is while nothing is known of it."""
        blank = {address: 0xFFFF for addresses in self.readable[table] for address in addresses}
        for row in self._rows:
            if row.table == table:
                blank.update((a, w) for a, w in enumerate(row.missing(), row.address) if a in blank)
        return blank

    def words(self, table: str, values: Callable[[str], Value | None]) -> dict[int, int]:
        """Every readable word of a table; `values` gives a value by its name, None where there is none."""
        found = dict(self._blank[table])
        for row in self._rows:
            if row.table == table and (value := values(row.value)) is not None:
                found.update(enumerate(row.words(value), row.address))
        return found


def consecutive(addresses: Iterable[int], words: Mapping[int, int]) -> list[int] | None:
    """The words at the addresses; None if one of them cannot be read."""
    try:
        return [words[address] for address in addresses]
    except KeyError:
        return None
