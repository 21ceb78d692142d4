"""Upstream's example config, as it is, beside the real programs: simulated inverter, mosquitto, InfluxDB 1.x.

    sudo .venv/bin/python workloads/sungather/scripts/upstreams_example.py FILE

FILE is config-example.yaml of a SunGather checkout. The addresses in it (inverter 192.168.1.100:502, broker
192.168.1.200:1883, database localhost:8086, page on 8080) exist in a network namespace that this script makes for
itself, so the file needs no change: first it runs byte for byte; then with `enabled: False` turned to True for influxdb
and mqtt, which the example leaves off. Prints what arrived, and ends with 1 when something is missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from broker_witness import Witness

INVERTER, BROKER, DATABASE, PAGE = (
    "192.168.1.100",
    "192.168.1.200",
    "http://localhost:8086",
    "http://localhost:8080",
)
PROFILES = "SH10RT", "SG10KTL"
PATIENCE = 120
"""Seconds that anything may take: the example collects every 30."""
HERE = Path(sys.executable).parent


class Missing(Exception):
    """Something did not come."""


class Stage:
    """Programs in a folder of their own; all are ended at the end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *command: str | Path) -> None:
        with (self.folder / f"{name}.log").open("wb") as out:
            self._running[name] = subprocess.Popen(
                [str(part) for part in command], cwd=self.folder, stdout=out, stderr=subprocess.STDOUT
            )

    def end(self, name: str) -> int:
        process = self._running.pop(name)
        process.terminate()
        return process.wait(10)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text("utf-8", "replace")

    def close(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()


def until(what: str, found: Callable[[], Any]) -> Any:
    """What `found` gives once it is something."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError):
            if result := found():
                return result
        time.sleep(0.2)
    raise Missing(f"{what} within {PATIENCE} s")


def fetch(url: str, **query: str) -> Any:
    """The body; parsed where it is JSON. A query is posted."""
    data = urllib.parse.urlencode(query).encode() if query else None
    with urllib.request.urlopen(url, data, timeout=5) as reply:
        body = reply.read().decode()
        parsed = body and "json" in reply.headers.get("Content-Type", "")
        return json.loads(body) if parsed else body or True


def listens(host: str, port: int) -> bool:
    with socket.create_connection((host, port), 1):
        return True


def as_it_is(stage: Stage, example: Path) -> str:
    """The file byte for byte: console and page."""
    stage.start("collector", HERE / "sungather", "-c", example)
    try:
        page = until("a reading on the page", lambda: fetch(f"{PAGE}/api/readings")["readings"])
        table = until("the console's table", lambda: stage.log("collector").count("| vr002 "))
        shown = until("upstream's JSON", lambda: fetch(f"{PAGE}/json"))
    finally:
        code = stage.end("collector")
    warnings = [
        line for line in stage.log("collector").splitlines() if " WARNING " in line or "ERROR" in line
    ]
    if warnings or code:
        raise Missing(f"a quiet start and end: exit code {code}, {warnings}")
    return (
        f"{len(page)} readings on the page, {len(shown['registers'])} in /json, {table} table on the console"
    )


def with_exports(stage: Stage, example: Path) -> str:
    """With influxdb and mqtt switched on, nothing else."""
    text = example.read_text()
    config = stage.folder / "enabled.yaml"
    for name in ("influxdb", "mqtt"):
        text = re.sub(rf"(name: {name}\s*\n\s*enabled: )False", r"\1True", text, count=1)
    config.write_text(text)
    until("a database", lambda: fetch(f"{DATABASE}/query", q='CREATE DATABASE "SunGather"'))
    stage.start("collector", HERE / "sungather", "-c", config)
    try:
        until("a delivery to both", _both_delivered)
        witness = Witness(BROKER, 1883)
        messages = witness.quiet()
        witness.close()
    finally:
        stage.end("collector")
    exports = {e["name"]: e for e in yaml.safe_load(text)["exports"]}
    return f"{_broker(exports['mqtt'], messages)}; {_database(exports['influxdb'], messages)}"


def _both_delivered() -> bool:
    exports = fetch(f"{PAGE}/api/exports")["exports"]
    return all(exports[name]["sent"] for name in ("mqtt", "influxdb"))


def _state(messages: dict[str, str]) -> dict[str, Any]:
    states = [json.loads(m) for topic, m in messages.items() if re.fullmatch(r"SunGather/\w+", topic)]
    if len(states) != 1:
        raise Missing(f"one state message, but there are {sorted(messages)}")
    return dict(states[0])


def _broker(export: dict[str, Any], messages: dict[str, str]) -> str:
    state = _state(messages)
    announced = [json.loads(m) for topic, m in messages.items() if topic.startswith("homeassistant/")]
    wanted = {sensor["name"] for sensor in export["ha_sensors"]}
    if not all(any(a["name"].endswith(name) for a in announced) for name in wanted):
        raise Missing(f"announced {sorted(a['name'] for a in announced)}, wanted {sorted(wanted)}")
    for sensor in announced:
        if not any(f"value_json.{name}" in sensor["value_template"] for name in state):
            raise Missing(f"a value for {sensor['name']}: {sensor['value_template']}")
    return (
        f"mqtt: {len(state)} values, {len(announced)} of {len(wanted)} sensors announced, each with a value"
    )


def _database(export: dict[str, Any], messages: dict[str, str]) -> str:
    state = _state(messages)
    wanted = {
        (m["point"], m["register"]) for m in export["measurements"] if state.get(m["register"]) is not None
    }
    found = {}
    for point in {m["point"] for m in export["measurements"]}:
        rows = fetch(
            f"{DATABASE}/query?db=SunGather", q=f'SELECT * FROM "{point}" ORDER BY time DESC LIMIT 1'
        )
        series = rows["results"][0]["series"][0]
        found |= {(point, c): v for c, v in zip(series["columns"], series["values"][0], strict=True)}
    wrong = {key: (found.get(key), state[key[1]]) for key in wanted if found.get(key) != state[key[1]]}
    if wrong:
        raise Missing(f"in the database as in the message: {wrong}")
    return f"influxdb: {len(wanted)} of {len(export['measurements'])} points, equal to the message's"


def run(example: Path, profile: str) -> bool:
    """Both runs against one model; prints a line each."""
    good = True
    with tempfile.TemporaryDirectory(prefix="upstreams-example-") as folder:
        stage = Stage(Path(folder))
        os.environ["XDG_STATE_HOME"] = folder
        try:
            _surroundings(stage, profile)
            for name, attempt in (("unchanged", as_it_is), ("mqtt and influxdb on", with_exports)):
                try:
                    print(f"{profile:8} {name:20} {attempt(stage, example)}", flush=True)
                except Missing as missing:
                    good = False
                    print(
                        f"{profile:8} {name:20} MISSING {missing}\n{stage.log('collector')[-2000:]}",
                        flush=True,
                    )
        finally:
            stage.close()
    return good


def _surroundings(stage: Stage, profile: str) -> None:
    folder = stage.folder
    (folder / "mosquitto.conf").write_text(f"listener 1883 {BROKER}\nallow_anonymous true\nuser root\n")
    (folder / "influxdb.conf").write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:8088"\n[meta]\n  dir = "{folder}/meta"\n'
        f'[data]\n  dir = "{folder}/data"\n  wal-dir = "{folder}/wal"\n[http]\n  bind-address = "127.0.0.1:8086"\n'
        "[monitor]\n  store-enabled = false\n"
    )
    simulator = shutil.which("sungrow-simulator", path=f"{os.environ['PATH']}:{HERE}")
    mosquitto = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin")
    if not (simulator and mosquitto and shutil.which("influxd")):
        raise SystemExit(
            "needs sungrow-simulator, mosquitto and InfluxDB 1.x (Debian packages mosquitto, influxdb)"
        )
    stage.start("inverter", simulator, "--profile", profile, "--host", INVERTER, "--modbus", "502")
    stage.start("mosquitto", mosquitto, "-c", folder / "mosquitto.conf")
    stage.start("influxd", "influxd", "-config", folder / "influxdb.conf")
    until("the inverter", lambda: listens(INVERTER, 502))
    until("the broker", lambda: listens(BROKER, 1883))
    until("the database", lambda: fetch(f"{DATABASE}/ping"))


def main() -> int:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_file():
        print(__doc__, file=sys.stderr)
        return 2
    if os.environ.get("UPSTREAMS_EXAMPLE") != "inside":
        os.environ["UPSTREAMS_EXAMPLE"] = "inside"
        os.execvp("unshare", ["unshare", "--net", sys.executable, *sys.argv])
    for command in ("link set lo up", f"addr add {INVERTER}/32 dev lo", f"addr add {BROKER}/32 dev lo"):
        subprocess.run(["ip", *command.split()], check=True)
    results = [run(Path(sys.argv[1]).resolve(), profile) for profile in PROFILES]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
