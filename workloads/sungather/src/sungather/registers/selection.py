"""Which registers are read: by model, level and smart meter, with upstream's meaning of each level."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

from sungather.registers.register import Device, Register

EVERYTHING = 3
"""The level at which every register is read, whatever the model."""


def applies(register: Register, device: Device | None) -> bool:
    """True when the vendor's documents give this register for the model (or none is known yet)."""
    if "all" in register.models:
        fits = True
    elif device is None:
        return False
    else:
        fits = any(
            pattern == device.model or fnmatchcase(device.family, pattern.replace("SG*", "SG-*"))
            for pattern in register.models
        )
    if device is None:
        return fits
    return fits and register.mppt <= device.mppts and register.string <= device.strings


def select(
    registers: Iterable[Register], device: Device | None, *, level: int, smart_meter: bool
) -> list[Register]:
    """The registers to read, in the order in which a later one of the same name wins.

    Levels: 0 model and generation, 1 useful, 2 everything for the model, 3 every register. What the model's documents do
    not give may have nothing but ones in its words, which is absent.
    """
    inside, outside = [], []
    for register in registers:
        if register.level > level and level < EVERYTHING:
            continue
        if applies(register, device):
            inside.append(register)
        elif register.smart_meter and smart_meter:
            inside.append(replace(register, blank=True))
        elif level >= EVERYTHING:
            outside.append(replace(register, blank=True))
    return outside + inside
