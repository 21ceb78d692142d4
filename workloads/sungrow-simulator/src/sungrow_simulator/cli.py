"""Command line: runs one simulated inverter and shows its day."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
from datetime import datetime

from sungrow_simulator.inverter import Inverter
from sungrow_simulator.profiles import all_profiles
from sungrow_simulator.wire.answers import Answers
from sungrow_simulator.wire.modbus import ModbusTcp


async def run(profile: str, fast: float, port: int, seed: int) -> None:
    """Serve until interrupted, one line a real second."""
    start = datetime.now().replace(hour=5, minute=0, second=0, microsecond=0)
    inverter = Inverter(profile, start, seed)
    server = ModbusTcp(Answers(inverter), inverter.faults)
    await server.start(port=port)
    print(f"{profile} on 127.0.0.1:{server.port}, unit 1", flush=True)
    loop = asyncio.get_running_loop()
    last = loop.time()
    try:
        while True:
            await asyncio.sleep(1)
            now = loop.time()
            inverter.advance((now - last) * fast)
            last = now
            f = inverter.plant.flows
            print(f"{inverter.plant.now:%H:%M}  sun {f.pv_w:6} W  house {f.load_w:6} W  battery {f.battery_w:+6} W  grid {-f.export_w:+6} W", flush=True)  # fmt: skip
    finally:
        await server.stop()


def main() -> None:
    """Entry point of `sungrow-simulator`."""
    parser = argparse.ArgumentParser(prog="sungrow-simulator", description="A simulated Sungrow inverter.")
    parser.add_argument("--profile", default="SH10RT", choices=list(all_profiles()))
    parser.add_argument("--fast", type=float, default=1.0, help="simulated seconds for each real second")
    parser.add_argument("--port", type=int, default=0, help="Modbus TCP port; 0 takes a free one")
    parser.add_argument("--seed", type=int, default=1, help="fixes clouds and load")
    args = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(args.profile, args.fast, args.port, args.seed))
