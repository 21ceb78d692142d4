"""Dumps of real inverters, as their owners published them, read by the collector: does what it says agree with itself?

    .venv/bin/python workloads/sungather/scripts/public_dumps.py FOLDER

FOLDER is a checkout of AlexanderLanin/homeassistant-sungrow (two SH8.0RT-20; its dump*.yaml at any commit). Of each dump:
the day's energy in the table of days against the counter 13002, the table's days against its month, and the power to
the grid against 13010 (or the meter at 5601 when that is 0) although smart_meter asks for a meter that hybrids lack.
Ends with 1 when one does not agree.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sungather.application import Application
from sungather.configuration.settings import load
from sungather.registers.catalogue import built_in
from sungather.registers.register import Kind
from sungather.transports.transport import Asked, Outcome, Refusal, one_by_one

DAYS, DAY_TOLERANCE = range(6196, 6227), 0.11
"""The table lags behind the counter by up to one count of 0.1 kWh."""
CONFIG = "inverter: {host: dump, level: 2, smart_meter: true}\ncollector: {state_folder: STATE}\n"


class Dump:
    """A transport without a wire: the words that a dump has, the rest refused."""

    name, max_words = "dump", 125

    def __init__(self, path: Path) -> None:
        document: dict[str, Any] = yaml.safe_load(path.read_text())
        tables = document.get("registers", document)
        self.words = {
            kind: {
                int(a): w for a, w in tables.get(name, {}).items() if isinstance(w, int) and 0 <= w <= 0xFFFF
            }
            for kind, name in ((Kind.INPUT, "read"), (Kind.HOLDING, "hold"))
        }

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def read(self, kind: Kind, address: int, count: int) -> Sequence[int]:
        try:
            return [self.words[kind][a] for a in range(address, address + count)]
        except KeyError:
            raise Refusal(2) from None

    async def read_all(self, asked: Sequence[Asked]) -> list[Outcome]:
        return await one_by_one(self, asked)

    async def write(self, address: int, words: Sequence[int]) -> None:
        raise Refusal(2)


async def judge(path: Path, state: Path) -> bool:
    """True when all that the dump tells agrees; prints it."""
    dump = Dump(path)
    config = state / "config.yaml"
    config.write_text(CONFIG.replace("STATE", str(state / "state")))
    application = Application(load(config), built_in(), new_transport=lambda _: dump)
    snapshot = (await application.collector.collect()).snapshot
    await application.stop()
    if snapshot is None or snapshot.value("daily_pv_energy_yields") is None:
        print(f"{path.name:40} has no history: from a WiNet-S, or incomplete")
        return True
    day, counter = snapshot.number("daily_pv_energy_yields"), snapshot.number("daily_pv_generation")
    month = snapshot.number("monthly_pv_energy_yields")
    days = round(sum(dump.words[Kind.INPUT].get(a, 0) for a in DAYS) * 0.1, 1)
    export = snapshot.number("export_to_grid")
    said = snapshot.number("export_power_hybrid") or -(snapshot.number("meter_total_power") or 0)
    agrees = (
        day is not None
        and counter is not None
        and abs(day - counter) < DAY_TOLERANCE
        and days == month
        and export == max(said, 0)
    )
    print(
        f"{path.name:40} {snapshot.identity.model} {snapshot.value('timestamp')}: day {day} (counter {counter}), month {month}"
        f" (its days {days}), to the grid {export} W (meter {said} W): {'agrees' if agrees else 'DIFFERS'}"
    )
    return agrees


def main(folder: Path) -> int:
    dumps = sorted({*folder.rglob("*dump*.yaml")})
    if not dumps:
        print(f"{folder} has no dump*.yaml: check out a commit that has, such as 9130517", file=sys.stderr)
        return 1
    agreed = []
    for path in dumps:
        with tempfile.TemporaryDirectory() as state:
            agreed.append(asyncio.run(judge(path, Path(state))))
    return 0 if all(agreed) else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1])))
