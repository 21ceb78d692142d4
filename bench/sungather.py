"""The collector: a scan against upstream's client on the same simulated inverter in the same run; memory; 72 hours.

Scan: connect, read a three-phase hybrid (SH10RT) at level 2 over loopback, decode, disconnect; the median of the scans
in each round, taken in turns because machines are noisy, and the best round of each. The inverter is
`sungrow-simulator` in a process of its own: what it costs, both pay.

The peer is upstream SunGather's own reading code. With SUNGATHER_UPSTREAM (a checkout's folder that has
registers-sungrow.yaml) and SUNGATHER_UPSTREAM_PYTHON (an interpreter with its packages) it reads its own register file;
without them its client package is installed from PyPI, pinned, and gets our registers in its format.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import venv
import xml.etree.ElementTree as xml
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PEER = (
    "SungrowClient==0.1.0",
    "SungrowModbusTcpClient==0.1.6",
    "SungrowModbusWebClient==0.3.2",
    "pymodbus==2.5.3",
    "pyyaml>=6",
    "requests>=2",
    "websocket-client>=1",
)
# what upstream reads in one request (spec/sungather.md, appendix A): wire start and count
SCAN_INPUT = (4949, 50), (5000, 38), (5039, 61), (5100, 100), (5200, 100), (5600, 100), (5720, 10)
SCAN_INPUT += (6099, 100), (6199, 100), (6299, 100), (6399, 100), (6499, 100), (6599, 100), (6699, 100)
SCAN_INPUT += (6799, 100), (7012, 25), (12999, 125)
SCAN_HOLDING = (4999, 10), (5009, 10), (5034, 10), (13000, 100), (33045, 5)

UPSTREAM = """
import json, logging, sys, time, yaml
from SungrowClient import SungrowClient
logging.disable(logging.CRITICAL)
registers, host, port, scans = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
config = dict(host=host, port=port, timeout=10, retries=3, slave=1, scan_interval=30, connection="modbus", model=None,
              smart_meter=False, use_local_time=False, log_console="ERROR", log_file="OFF", level=2)
client = SungrowClient.SungrowClient(config)
client.checkConnection()
client.configure_registers(yaml.safe_load(open(registers)))
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


class Peer:
    """Upstream's reading code: which Python runs it, with which register file, and what to call it."""

    def __init__(self, folder: Path) -> None:
        checkout, python = os.environ.get("SUNGATHER_UPSTREAM"), os.environ.get("SUNGATHER_UPSTREAM_PYTHON")
        if checkout:
            self.name, self.python = "upstream SunGather", python or sys.executable
            self.registers = Path(checkout, "registers-sungrow.yaml")
            return
        self.name = "SungrowClient 0.1.0 (upstream's client package, our registers in its format)"
        home = ROOT / ".slipway" / "bench-sungrow-client"
        self.python = str(home / "bin" / "python")
        if not (home / "ready").exists():
            venv.create(home, with_pip=True, clear=True)
            command = [self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PEER]
            subprocess.run(command, check=True)
            (home / "ready").touch()
        self.registers = folder / "registers.yaml"
        self.registers.write_text(json.dumps(registers_in_upstreams_format()))

    def scan(self, port: int, scans: int) -> dict[str, Any]:
        command = [self.python, "-c", UPSTREAM, str(self.registers), "127.0.0.1", str(port), str(scans)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def registers_in_upstreams_format() -> dict[str, Any]:
    """The registers of an SH10RT at level 2 from our catalogue, in the shape of upstream's file."""
    from sungather.registers.catalogue import built_in
    from sungather.registers.register import Kind
    from sungather.registers.selection import select

    catalogue = built_in()
    device = catalogue.model("SH10RT")
    chosen = select(catalogue.registers, device, level=2, smart_meter=False)
    chosen += [r for r in catalogue.registers if r.name in ("serial_number", "device_type_code")]
    rows: dict[str, list[dict[str, Any]]] = {Kind.INPUT: [], Kind.HOLDING: []}
    for register in chosen:
        row = {"name": register.name, "level": 0, "address": register.address, "datatype": register.type}
        if register.name == "device_type_code":
            row["datarange"] = [{"response": d.code, "value": d.model} for d in catalogue.devices.values()]
        elif register.states and not register.bits:
            row["datarange"] = [{"response": raw, "value": text} for raw, text in register.states.items()]
        row |= {"accuracy": register.scale} if register.scale else {}
        row |= {"mask": register.mask} if register.mask else {}
        rows[register.kind].append(row)
    reads = [[{"start": start, "range": count} for start, count in s] for s in (SCAN_INPUT, SCAN_HOLDING)]
    return {
        "registers": [{"read": rows[Kind.INPUT]}, {"hold": rows[Kind.HOLDING]}],
        "scan": [{"read": reads[0]}, {"hold": reads[1]}],
    }


async def ours(port: int, scans: int) -> dict[str, Any]:
    from sungather.clock import SystemClock
    from sungather.collection.session import Session
    from sungather.configuration.settings import InverterSettings
    from sungather.readings.assembly import Assembly
    from sungather.registers.catalogue import built_in
    from sungather.transports.modbus import ModbusTcp

    clock = SystemClock()
    settings = InverterSettings("127.0.0.1", port, level=2)
    session = Session(settings, built_in(), lambda s: ModbusTcp(s.host, s.port, unit=1, timeout=10), clock)
    assembly = Assembly(clock, level=2, use_local_time=False)
    await session.scan()
    times = []
    for _ in range(scans):
        start = time.perf_counter()
        snapshot = assembly.snapshot(await session.scan())
        times.append(time.perf_counter() - start)
    return {"times": times, "model": snapshot.identity.model, "values": len(snapshot.shown())}


def memory(port: int, seconds: float) -> tuple[float, int]:
    """Resident megabytes of the service after collecting once a second, and the collections that it made."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(
            f"inverter: {{host: 127.0.0.1, port: {port}, level: 2, scan_interval: 1}}\n"
            "exports:\n- {name: console, enabled: true}\n"
            "- {name: webserver, enabled: true, port: 0, host: 127.0.0.1}\n"
            "- {name: mqtt, enabled: true, host: 127.0.0.1, port: 1}\n"
            f"collector: {{state_folder: {folder}/state}}\n"
        )
        with Path(folder, "out").open("w") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "sungather", "-c", str(config)],
                stdout=out,
                stderr=subprocess.DEVNULL,
            )
        try:
            time.sleep(seconds)
            status = Path(f"/proc/{process.pid}/status").read_text()
        finally:
            process.terminate()
            process.wait()
        collections = Path(folder, "out").read_text().count("| vr002 ")
        return int(status.split("VmRSS:")[1].split()[0]) / 1024, collections


def seventy_two_hours() -> dict[str, float]:
    """The test of 72 simulated hours, and what it measured."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        test = "workloads/sungather/tests/test_long_run.py"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "test_72_hours"]
        done = subprocess.run(
            [*command, f"--junitxml={report}", test], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        if done.returncode != 0:
            raise SystemExit(f"72 simulated hours did not pass:\n{done.stdout[-3000:]}")
        case = xml.parse(report).getroot().iter("testcase").__next__()
        found = {p.get("name", ""): float(p.get("value", "nan")) for p in case.iter("property")}
        return found | {"seconds": float(case.get("time", "nan"))}


def simulator() -> tuple[subprocess.Popen[bytes], int]:
    """`sungrow-simulator` as an SH10RT, and its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [str(Path(sys.executable).parent / "sungrow-simulator"), "--profile", "SH10RT"]
    process = subprocess.Popen([*command, "--port", str(port)], stdout=subprocess.DEVNULL)
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return process, port
        time.sleep(0.1)
    process.kill()
    raise SystemExit("sungrow-simulator does not answer")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scans", type=int, default=40, help="in each round")
    parser.add_argument("--seconds", type=float, default=15, help="how long the service runs for its memory")
    options = parser.parse_args()
    process, port = simulator()
    try:
        with tempfile.TemporaryDirectory() as folder:
            peer = Peer(Path(folder))
            rounds: dict[str, list[float]] = {"ours": [], "peer": []}
            for _ in range(options.rounds):
                for name, found in (
                    ("ours", asyncio.run(ours(port, options.scans))),
                    ("peer", peer.scan(port, options.scans)),
                ):
                    rounds[name].append(statistics.median(found["times"]) * 1000)
                    about = f"{found['values']} values, {found['model']}"
                    print(f"{name}: {rounds[name][-1]:6.2f} ms a scan, {about}", flush=True)
        megabytes, collections = memory(port, options.seconds)
    finally:
        process.terminate()
        process.wait()
    long = seventy_two_hours()
    print(f"\npeer: {peer.name}; load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}")
    for name, medians in rounds.items():
        told = f"{statistics.median(medians):.2f} ms, range {min(medians):.2f} to {max(medians):.2f}"
        print(f"{name}: a scan of an SH10RT at level 2: median of the rounds {told}")
    print(f"ours: memory {megabytes:.0f} MB after {collections} collections (goal: under 60)")
    print(
        f"ours: 72 simulated hours in {long['seconds']:.0f} s: {long['collected']:.0f} collections, none lost, "
        f"memory grew by {long['grown_kb']:.0f} kB in the last 68"
    )
    print(f"peer / ours, best rounds: {min(rounds['peer']) / min(rounds['ours']):.1f} (goal: 5)")


if __name__ == "__main__":
    main()
