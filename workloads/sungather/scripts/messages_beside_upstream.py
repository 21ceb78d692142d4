"""What SunGather itself sends, and what we send, with one config before one simulated inverter: MQTT and line protocol.

    .venv/bin/python workloads/sungather/scripts/messages_beside_upstream.py FOLDER PYTHON

FOLDER is the folder of a SunGather checkout that holds sungather.py; PYTHON an interpreter that has its packages
(SungrowClient, paho-mqtt, influxdb-client). The exports are those of its example config. Ends with 1 when a topic, a
key, a discovery variable or a line of upstream's is missing from ours, or has another value for no known reason.
"""

from __future__ import annotations

import http.server
import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import yaml
from broker_witness import Witness

INVERTERS = ("SG10KTL", 1), ("SH10RT", 2), ("SH5.0RS", 1)
HERE = Path(sys.executable).parent
PATIENCE = 90
KNOWN = {
    "run_state": "S4: upstream's is stuck",
    "arm_software_version": "4.2: a text, which upstream reads as a number",
    "dsp_software_version": "4.2: a text, which upstream reads as a number",
    "grid_frequency": "two registers of one name; ours takes the more precise",
    "total_power_yields": "two registers of one name; ours takes the more precise",
    "timestamp": "upstream writes 2026-6-1 9:05:05, ours 2026-06-01 09:05:05",
    "last_reset": "as timestamp",
    "daily_export_to_grid": "S14: by elapsed time",
    "daily_import_from_grid": "S14: by elapsed time",
}


class Notes(http.server.ThreadingHTTPServer):
    """Takes every write, as InfluxDB 2 would, and notes it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Writes)
        self.lines: set[str] = set()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Writes(http.server.BaseHTTPRequestHandler):
    server: Notes

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.lines |= {re.sub(r" \d{19}$", "", line) for line in body.split("\n") if line}
        self.send_response(204)
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(204)
        self.send_header("X-Influxdb-Version", "2.7")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"nobody listens on {port}")


class Comparison:
    """One inverter, a broker for each program, and what each sent."""

    def __init__(self, upstream: Path, python: str, folder: Path, profile: str, level: int) -> None:
        self._folder, self._level = folder, level
        self._upstream, self._python = upstream, python
        self._inverter, self._running = free_port(), list[subprocess.Popen[bytes]]()
        simulator = [str(HERE / "sungrow-simulator"), "--profile", profile, "--start", "2026-06-21T11:00"]
        # time all but stands still, so that both read the same
        self._start([*simulator, "--modbus", str(self._inverter), "--fast", "0.0001", "--lines"], folder)
        wait_for(self._inverter)
        example = yaml.safe_load((upstream / "config-example.yaml").read_text())
        self._exports = {export["name"]: export for export in example["exports"]}

    def close(self) -> None:
        for process in self._running:
            process.kill()
            process.wait()

    def _start(self, command: list[str], folder: Path) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._running.append(process)
        return process

    def theirs(self) -> tuple[dict[str, Any], set[str]]:
        return self._sent([self._python, "sungather.py"], self._upstream, {})

    def ours(self) -> tuple[dict[str, Any], set[str]]:
        # the ten characters of the serial number that upstream reads (S6)
        return self._sent([str(HERE / "sungather")], self._folder, {"serial": "A229030000"})

    def _sent(
        self, command: list[str], folder: Path, inverter: dict[str, Any]
    ) -> tuple[dict[str, Any], set[str]]:
        broker, notes = free_port(), Notes()
        mosquitto = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
        (self._folder / "mosquitto.conf").write_text(f"listener {broker} 127.0.0.1\nallow_anonymous true\n")
        self._start([mosquitto, "-c", str(self._folder / "mosquitto.conf")], self._folder)
        wait_for(broker)
        witness = Witness("127.0.0.1", broker)
        inverter = {
            "host": "127.0.0.1",
            "port": self._inverter,
            "level": self._level,
            "scan_interval": 5,
        } | inverter
        mqtt = self._exports["mqtt"] | {"enabled": True, "host": "127.0.0.1", "port": broker}
        url = f"http://127.0.0.1:{notes.server_port}"
        influxdb = self._exports["influxdb"] | {"enabled": True, "url": url}
        config = self._folder / "config.yaml"
        document = {"inverter": {"connection": "modbus"} | inverter, "exports": [mqtt, influxdb]}
        if "serial" in inverter:
            document["collector"] = {"state_folder": str(self._folder / "state")}
        config.write_text(yaml.safe_dump(document))
        process = self._start([*command, "-c", str(config)], folder)
        deadline = time.monotonic() + PATIENCE
        while not (notes.lines and witness.last) and time.monotonic() < deadline:
            time.sleep(0.2)
        heard = witness.quiet(6)
        process.kill()
        witness.close()
        notes.shutdown()
        return {t: json.loads(m) for t, m in heard.items() if m.startswith("{")}, notes.lines


def problems(theirs: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    """What upstream sends and we do not."""
    found = [f"no message on {topic}" for topic in theirs.keys() - ours.keys()]
    for topic in theirs.keys() & ours.keys():
        for key, value in theirs[topic].items():
            if key not in ours[topic]:
                found.append(f"{topic}: no {key}")
            elif ours[topic][key] != value and value not in (0, None) and key not in KNOWN:  # 0, None: S5
                found.append(f"{topic}: {key} is {ours[topic][key]!r}, upstream's {value!r}")
    return found


def same_lines(theirs: set[str], ours: set[str]) -> list[str]:
    """Upstream's lines that have no like in ours. Its zeros may be what is missing (S5)."""
    have = {line.rpartition("=")[0]: float(line.rpartition("=")[2]) for line in ours}
    found = []
    for line in theirs:
        name, _, value = line.rpartition("=")
        if name not in have or (float(value) and have[name] != float(value)):
            found.append(f"line {line}, ours {have.get(name)}")
    return found


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    upstream, python = Path(sys.argv[1]).resolve(), sys.argv[2]
    good = True
    for profile, level in INVERTERS:
        with tempfile.TemporaryDirectory() as folder:
            comparison = Comparison(upstream, python, Path(folder), profile, level)
            try:
                (messages, lines), (own, own_lines) = comparison.theirs(), comparison.ours()
            finally:
                comparison.close()
        wrong = [*problems(messages, own), *same_lines(lines, own_lines)]
        if len(messages) < 2 or not lines:
            wrong.append(
                f"upstream sent too little to judge by: {len(messages)} messages, {len(lines)} lines"
            )
        state = max((len(m) for m in messages.values()), default=0)
        told = (
            f"{len(messages)} topics, {state} keys of the state, {len(lines)} lines of upstream's are in ours"
        )
        print(f"{profile:8} level {level}: {'; '.join(wrong) or told}", flush=True)
        good = good and not wrong
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
