"""Dumps: an inverter's words in a file, and such a file served again.

The format is the collector's, `sungather-register-dump/1`: words by documented address (wire address + 1) under
`input` and `holding`; under `refused` the ranges that the device does not answer.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

from sungrow_simulator.registers import consecutive
from sungrow_simulator.wire.dongle import Device

FORMAT = "sungather-register-dump/1"
TYPE_CODE = 5000
SERIAL = range(4990, 5000)
HYBRID_ONLY = 13000
ILLEGAL_ADDRESS = 2
TABLES = ("input", "holding")


class DumpError(ValueError):
    """A file is no dump; the text says which, where and what is allowed."""


class Source(Protocol):
    """What can be recorded."""

    def words(self, table: str) -> dict[int, int]: ...


def record(source: Source, *, model: str, taken: str, unit: int) -> dict[str, Any]:
    """The dump of everything that can be read now."""
    words = {
        table: {str(address): word for address, word in sorted(source.words(table).items())}
        for table in TABLES
    }
    return {
        "format": FORMAT, "taken": taken, "model": model, "unit_id": unit, "redacted": False, **words, "refused": [],
    }  # fmt: skip


class Replay:
    """Serves the words of a dump as they were. What was written is kept, as long as the address was in the dump."""

    def __init__(self, document: Any, where: str = "dump") -> None:
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            found = document.get("format") if isinstance(document, dict) else document
            raise DumpError(f"{where}: format is {str(found)[:40]!r}, expected {FORMAT!r}")
        self._words = {table: _words(document.get(table, {}), f"{where}: {table}") for table in TABLES}
        if not self._words["input"]:
            raise DumpError(f"{where}: input: no register, so there is nothing to serve")
        self.model = str(document.get("model") or "unknown")
        self.unit = _number(document.get("unit_id", 1), f"{where}: unit_id", 0xFF)

    @classmethod
    def load(cls, path: Path) -> Replay:
        """From a file. DumpError, or OSError when it cannot be read."""
        try:
            return cls(json.loads(path.read_text()), str(path))
        except UnicodeDecodeError:
            raise DumpError(f"{path}: not a text, expected JSON") from None
        except json.JSONDecodeError as error:
            raise DumpError(f"{path}: line {error.lineno}: not JSON: {error.msg}") from None

    @property
    def device(self) -> Device:
        """What a dongle's list shows of it."""
        words = self._words["input"]
        raw = b"".join(words.get(address, 0).to_bytes(2, "big") for address in SERIAL)
        serial = raw.rstrip(b"\0\xff").decode("ascii", "replace")
        return Device(self.model, words.get(TYPE_CODE, 0), serial, HYBRID_ONLY in words, self.unit)

    def words(self, table: str) -> dict[int, int]:
        return self._words[table]

    def read(self, table: str, address: int, count: int) -> list[int] | None:
        """The words from `address` on; None when the dump lacks one of them."""
        return consecutive(range(address, address + count), self._words[table])

    def write(self, address: int, words: list[int]) -> int:
        """Keep what is written: 0, or Modbus exception code 2 for an address that the dump lacks."""
        holding = self._words["holding"]
        places = range(address, address + len(words))
        if any(place not in holding for place in places):
            return ILLEGAL_ADDRESS
        holding.update(zip(places, words, strict=True))
        return 0


def _words(found: Any, where: str) -> dict[int, int]:
    if not isinstance(found, dict):
        raise DumpError(f'{where}: expected words by address, such as {{"5000": 3587}}')
    words = {}
    for key, value in found.items():
        if not str(key).isdigit() or not 1 <= int(key) <= 0xFFFF:
            raise DumpError(f"{where}: {key!r} is no documented address: allowed are 1 to 65535")
        words[int(key)] = _number(value, f"{where}.{key}", 0xFFFF)
    return words


def _number(value: Any, where: str, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise DumpError(f"{where}: {value!r} is not a whole number from 0 to {most}")
    return value
