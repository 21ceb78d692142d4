"""Answers: the Modbus functions 3, 4, 6 and 16 over one inverter's words."""

from __future__ import annotations

import struct

from sungrow_simulator.inverter import Inverter


class Answers:
    """Gaps between known registers read as 0, as on real devices."""

    def __init__(self, inverter: Inverter, units: tuple[int, ...] = (1,)) -> None:
        self._inverter, self._units = inverter, units

    def answer(self, unit: int, request: bytes) -> bytes | None:
        """The reply to one request, exceptions included; None for a unit that is not there."""
        if unit not in self._units:
            return None
        function = request[0]
        if function in (3, 4):
            return self._read(function, request)
        if function in (6, 16):
            return self._write(function, request)
        return bytes([function | 0x80, 1])

    def _read(self, function: int, request: bytes) -> bytes:
        if len(request) != 5:
            return bytes([function | 0x80, 3])
        wire, count = struct.unpack(">HH", request[1:])
        if not 1 <= count <= 125:
            return bytes([function | 0x80, 3])
        words = self._inverter.words("input" if function == 4 else "holding")
        asked = range(wire + 1, wire + 1 + count)
        if not any(address in words for address in asked):
            return bytes([function | 0x80, 2])
        return struct.pack(f">BB{count}H", function, 2 * count, *(words.get(a, 0) for a in asked))

    def _write(self, function: int, request: bytes) -> bytes:
        if function == 6:
            good = len(request) == 5
            payload = request[3:5]
        else:
            count = struct.unpack(">H", request[3:5])[0] if len(request) > 5 else 0
            good = 1 <= count <= 123 and request[5] == 2 * count == len(request) - 6
            payload = request[6:]
        if not good:
            return bytes([function | 0x80, 3])
        words = list(struct.unpack(f">{len(payload) // 2}H", payload))
        if not self._inverter.write(struct.unpack(">H", request[1:3])[0] + 1, words):
            return bytes([function | 0x80, 2])
        return request[:5]
