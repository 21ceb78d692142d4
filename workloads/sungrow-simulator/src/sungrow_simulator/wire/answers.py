"""Answers: the Modbus functions 3, 4, 6 and 16 over one inverter's words."""

from __future__ import annotations

import struct
from typing import Protocol

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3


class Words(Protocol):
    """An inverter, or the replay of a dump. Documented addresses: wire address + 1."""

    def read(self, table: str, address: int, count: int) -> list[int] | None: ...
    def write(self, address: int, words: list[int]) -> int: ...


class Answers:
    """`units` are the ids that answer."""

    def __init__(self, words: Words, units: tuple[int, ...] = (1,)) -> None:
        self._words, self._units = words, units

    def answer(self, unit: int, request: bytes) -> bytes | None:
        """The reply to one request, exceptions included; None for a unit that is not there."""
        if unit not in self._units:
            return None
        function = request[0]
        if function in (3, 4):
            return self._read(function, request)
        if function in (6, 16):
            return self._write(function, request)
        return refusal(function, ILLEGAL_FUNCTION)

    def _read(self, function: int, request: bytes) -> bytes:
        if len(request) != 5:
            return refusal(function, ILLEGAL_VALUE)
        wire, count = struct.unpack(">HH", request[1:])
        if not 1 <= count <= 125:
            return refusal(function, ILLEGAL_VALUE)
        words = self._words.read("input" if function == 4 else "holding", wire + 1, count)
        if words is None:
            return refusal(function, ILLEGAL_ADDRESS)
        return struct.pack(f">BB{count}H", function, 2 * count, *words)

    def _write(self, function: int, request: bytes) -> bytes:
        if function == 6:
            good = len(request) == 5
            payload = request[3:5]
        else:
            count = struct.unpack(">H", request[3:5])[0] if len(request) > 5 else 0
            good = 1 <= count <= 123 and request[5] == 2 * count == len(request) - 6
            payload = request[6:]
        if not good:
            return refusal(function, ILLEGAL_VALUE)
        words = list(struct.unpack(f">{len(payload) // 2}H", payload))
        code = self._words.write(struct.unpack(">H", request[1:3])[0] + 1, words)
        return refusal(function, code) if code else request[:5]


def refusal(function: int, code: int) -> bytes:
    """An exception."""
    return bytes((function | 0x80, code))
