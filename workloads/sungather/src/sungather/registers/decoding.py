"""Words to values and back.

Missing markers (U16 0xFFFF, S16 0x7FFF, U32 0xFFFFFFFF, S32 0x7FFFFFFF) become absent, never zero, and -1 stays -1,
but for registers that models without them fill with ones (`blank`).
Source: the vendor's protocol documents named in registers.yaml.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import cache

from sungather.registers.register import DataType, Register

Value = int | float | str

_ABSENT = {
    DataType.U16: 0xFFFF,
    DataType.S16: 0x7FFF,
    DataType.U32: 0xFFFFFFFF,
    DataType.S32: 0x7FFFFFFF,
}
_BITS = {DataType.U16: 16, DataType.S16: 16, DataType.U32: 32, DataType.S32: 32}
_SUMMARY_BITS = (17, 18)  # work_state_2: "total run", "total fault" only sum up the others


def decode(register: Register, words: Sequence[int]) -> Value | None:
    """The value of a register's words, or None when the inverter marks it as missing."""
    if len(words) != register.words:
        raise ValueError(f"{register.name} has {register.words} words, got {len(words)}")
    if register.type is DataType.TEXT:
        return decode_text(words)
    raw = words[0] if len(words) == 1 else words[0] | words[1] << 16
    if raw == _ABSENT[register.type] or (register.blank and raw == _all_ones(register)):
        return None
    if register.mask is not None:
        return 1 if raw & register.mask else 0
    if register.bits:
        return _bits(register, raw)
    if register.states:
        known = register.states.get(raw)
        return known if known is not None else register.otherwise or f"Unknown (0x{raw:X})"
    if register.type in (DataType.S16, DataType.S32) and raw >> (_BITS[register.type] - 1):
        raw -= 1 << _BITS[register.type]
    return scaled(raw, register.scale)


def decode_text(words: Sequence[int]) -> str | None:
    """Two characters a word, high byte first; NUL, 0xFF and blank padding is cut; odd bytes become U+FFFD."""
    data = b"".join(w.to_bytes(2, "big") for w in words)
    data = data.split(b"\0", 1)[0].rstrip(b"\xff")
    text = data.decode("utf-8", "replace").strip()
    return text or None


def scaled(raw: int, scale: float | None) -> int | float:
    """raw x scale, with exactly the decimals that the scale has."""
    if scale is None or scale == 1:
        return raw
    if scale >= 1:
        return int(raw * scale) if scale == int(scale) else raw * scale
    return round(raw * scale, _decimals(scale))


@cache
def _decimals(scale: float) -> int:
    exponent = Decimal(str(scale)).as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _all_ones(register: Register) -> int:
    return (1 << _BITS[register.type]) - 1


def encode(register: Register, value: Value | None) -> tuple[int, ...]:
    """The words for a value; None gives the missing marker. ValueError when the value does not fit."""
    if register.type is DataType.TEXT:
        data = ("" if value is None else str(value)).encode()
        if len(data) > register.words * 2:
            raise ValueError(f"{register.name}: text of {len(data)} bytes, room for {register.words * 2}")
        data = data.ljust(register.words * 2, b"\0")
        return tuple(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    raw = _ABSENT[register.type] if value is None else _raw(register, value)
    return (raw,) if register.words == 1 else (raw & 0xFFFF, raw >> 16)


def _raw(register: Register, value: Value) -> int:
    if isinstance(value, str):
        for raw, name in register.states.items():
            if name == value:
                return raw
        allowed = ", ".join(sorted(set(register.states.values()))) or "a number"
        raise ValueError(f"{register.name}: {value!r} is not one of: {allowed}")
    raw = int((Decimal(str(value)) / Decimal(str(register.scale or 1))).to_integral_value())
    bits = _BITS[register.type]
    signed = register.type in (DataType.S16, DataType.S32)
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    words = raw & _all_ones(register)
    absent = words == _ABSENT[register.type] or (register.blank and words == _all_ones(register))
    if not low <= raw <= high or absent:
        raise ValueError(f"{register.name}: {value} does not fit {register.type}")
    return words


def _bits(register: Register, raw: int) -> str:
    names = [
        name for bit, name in register.states.items() if raw >> bit & 1 and bit not in _SUMMARY_BITS
    ] or [name for bit, name in register.states.items() if raw >> bit & 1]
    return ", ".join(names) or f"Unknown (0x{raw:X})"
