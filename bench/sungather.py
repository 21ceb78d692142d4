"""The collector against upstream's SunGather on the same inverter in the same run, and the collector's memory.

    python -m bench.sungather                                       # the collector alone
    python -m bench.sungather --upstream FOLDER --python PYTHON     # FOLDER has registers-sungrow.yaml; PYTHON has its packages
    python -m bench.sungather --inverter 127.0.0.1:5020             # another inverter than the stand-in, for example the simulator

Scan: connect, read a three-phase hybrid (SH10RT) at level 2 over loopback, decode, disconnect; median of the scans, best of the rounds.
The stand-in is a bare Modbus TCP server in a process of its own that answers every read: what it costs, both pay.
Memory: the service with web page and one export, after a number of collections.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SERVER = """
import asyncio, struct, sys
WORDS = {5000: 0x0E03, 5001: 100, 5002: 1, 13000: 0x40, 13001: 17, 13023: 655, 13010: 1800}
for i, word in enumerate(struct.unpack(">6H", b"A2290112345\\0")):
    WORDS[4990 + i] = word
HOLDING = {5000: 2026, 5001: 11, 5002: 21, 5003: 12, 5004: 30, 5005: 15, 5006: 0xCF}
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readexactly(12)
            unit, function, address, count = struct.unpack(">BBHH", head[6:])
            table = HOLDING if function == 3 else WORDS
            words = [table.get(address + 1 + i, 7) for i in range(count)]
            reply = struct.pack(f">BBB{count}H", unit, function, 2 * count, *words)
            writer.write(head[:4] + struct.pack(">H", len(reply)) + reply)
            await writer.drain()
    except (asyncio.IncompleteReadError, OSError):
        writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""

UPSTREAM = """
import json, logging, sys, time, yaml
from SungrowClient import SungrowClient
logging.disable(logging.CRITICAL)
folder, host, port, scans = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
config = dict(host=host, port=port, timeout=10, retries=3, slave=1, scan_interval=30, connection="modbus", model=None,
              smart_meter=False, use_local_time=False, log_console="ERROR", log_file="OFF", level=2)
client = SungrowClient.SungrowClient(config)
client.checkConnection()
client.configure_registers(yaml.safe_load(open(folder + "/registers-sungrow.yaml")))
client.close()
times = []
for _ in range(scans):
    start = time.perf_counter()
    client.checkConnection()
    assert client.scrape()
    client.close()
    times.append(time.perf_counter() - start)
print(json.dumps({"times": times, "model": client.getInverterModel(), "values": len(client.latest_scrape)}))
"""


async def ours(host: str, port: int, scans: int) -> dict:
    from sungather.clock import SystemClock
    from sungather.collection.session import Session
    from sungather.configuration.settings import InverterSettings
    from sungather.readings.assembly import Assembly
    from sungather.registers.catalogue import built_in
    from sungather.transports.modbus import ModbusTcp

    clock = SystemClock()
    settings = InverterSettings(host, port, level=2)
    session = Session(settings, built_in(), lambda s: ModbusTcp(s.host, s.port, unit=1, timeout=10), clock)
    assembly = Assembly(clock, level=2, use_local_time=False)
    await session.scan()
    times = []
    for _ in range(scans):
        start = time.perf_counter()
        snapshot = assembly.snapshot(await session.scan())
        times.append(time.perf_counter() - start)
    return {"times": times, "model": snapshot.identity.model, "values": len(snapshot.shown())}


def memory(host: str, port: int, seconds: float) -> tuple[float, int]:
    """Resident megabytes of the service after some seconds of collecting once a second, and the collections made."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(
            f"inverter: {{host: {host}, port: {port}, level: 2, scan_interval: 1}}\n"
            "exports:\n- {name: webserver, enabled: true, port: 0, host: 127.0.0.1}\n"
            "- {name: mqtt, enabled: true, host: 127.0.0.1, port: 1}\n"
            f"collector: {{state_folder: {folder}/state}}\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "sungather", "-c", str(config)], stderr=subprocess.DEVNULL
        )
        try:
            time.sleep(seconds)
            status = Path(f"/proc/{process.pid}/status").read_text()
            return int(status.split("VmRSS:")[1].split()[0]) / 1024, int(seconds)
        finally:
            process.terminate()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--upstream", metavar="FOLDER")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--inverter", metavar="HOST:PORT")
    parser.add_argument(
        "--rounds", type=int, default=3, help="taken in turns, the best counts: machines are noisy"
    )
    parser.add_argument("--scans", type=int, default=30)
    parser.add_argument(
        "--seconds", type=float, default=15, help="how long the service runs before its memory is read"
    )
    options = parser.parse_args()
    server = None
    if options.inverter:
        host, _, port_text = options.inverter.rpartition(":")
        port = int(port_text)
    else:
        server = subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        host, port = "127.0.0.1", int(server.stdout.readline())
    try:
        best: dict[str, float] = {}
        for _ in range(options.rounds):
            measured = {"collector": asyncio.run(ours(host, port, options.scans))}
            if options.upstream:
                command = [
                    options.python,
                    "-c",
                    UPSTREAM,
                    options.upstream,
                    host,
                    str(port),
                    str(options.scans),
                ]
                result = subprocess.run(command, capture_output=True, text=True, check=True)
                measured["upstream"] = json.loads(result.stdout.strip().splitlines()[-1])
            for name, found in measured.items():
                median = statistics.median(found["times"]) * 1000
                print(f"{name}: {median:.1f} ms a scan, {found['values']} values, {found['model']}")
                best[name] = min(median, best.get(name, median))
        megabytes, collections = memory(host, port, options.seconds)
        print(f"memory: {megabytes:.0f} MB after about {collections} collections (goal: under 60)")
        if options.upstream:
            print(f"upstream / collector, best rounds: {best['upstream'] / best['collector']:.1f} (goal: 5)")
    finally:
        if server is not None:
            server.terminate()


if __name__ == "__main__":
    main()
