"""Registers: turns values into 16-bit words at documented addresses."""

from __future__ import annotations

LIMITS = {"U16": (0, 0xFFFF), "S16": (-0x8000, 0x7FFF), "U32": (0, 0xFFFFFFFF), "S32": (-(2**31), 2**31 - 1)}


def encode_number(kind: str, value: int) -> list[int]:
    """The words of a number; 32-bit values have their low word first."""
    low, high = LIMITS[kind]
    if not low <= value <= high:
        raise ValueError(f"{value} does not fit {kind}: allowed are {low} to {high}")
    if kind.endswith("16"):
        return [value & 0xFFFF]
    return [value & 0xFFFF, (value >> 16) & 0xFFFF]


def encode_text(text: str, words: int) -> list[int]:
    """The words of a text: two bytes a word, high byte first, padded with NUL."""
    raw = text.encode()
    if len(raw) > 2 * words:
        raise ValueError(f"{text!r} needs {len(raw)} bytes: {words} registers hold {2 * words}")
    raw = raw.ljust(2 * words, b"\0")
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]


def encode(kind: str, value: float | str, scale: float) -> list[int]:
    """The words of a value as a profile describes it (kind such as U16 or text10)."""
    if kind.startswith("text"):
        return encode_text(str(value), int(kind[4:]))
    return encode_number(kind, round(float(value) / scale))
