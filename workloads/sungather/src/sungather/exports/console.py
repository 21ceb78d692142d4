"""The console export: a table of the readings on standard output, in upstream's layout."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, TextIO

from sungather.readings.snapshot import Snapshot


class Console:
    """Prints. Nothing is queued: what nobody saw at the time is of no use later."""

    def __init__(self, settings: Mapping[str, Any], stream: TextIO | None = None) -> None:
        self._settings = settings
        self._stream = stream or sys.stdout
        self._started = False

    def show(self, snapshot: Snapshot) -> None:
        lines = [] if self._started else self._head(snapshot)
        self._started = True
        rule = "+" + "-" * 70 + "+"
        lines += [rule, f"| {'Address':<7} | {'Register':<35} | {'Value':<20} |"]
        lines.append("+---------+-------------------------------------+----------------------+")
        shown = snapshot.shown()
        for reading in shown.values():
            value = "-" if reading.value is None else f"{reading.value} {reading.unit}".rstrip()
            lines.append(f"| {reading.address:<7} | {reading.name:<35} | {value:<20} |")
        lines += [rule, f"Logged {len(shown)} registers to Console"]
        print("\n".join(lines), file=self._stream, flush=True)

    def _head(self, snapshot: Snapshot) -> list[str]:
        rule = "+" + "-" * 46 + "+"
        lines = [rule, f"| {'Inverter Configuration Settings':<44} |", rule]
        lines += [f"| {'Config':<18} | {'Value':<23} |", "+--------------------+-------------------------+"]
        facts = {
            "model": snapshot.identity.model,
            "serial_number": snapshot.identity.serial,
            **self._settings,
        }
        lines += [f"| {name:<18} | {value!s:<23} |" for name, value in facts.items()]
        return [*lines, rule]
