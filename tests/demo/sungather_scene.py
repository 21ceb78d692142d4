"""Scene: a simulated solar day in half a minute; broker and inverter fail, the collector is killed, nothing is lost.

Two witnesses are compared: the table that the collector prints when it takes a reading, and what a listener got from
a real mosquitto. Every reading has its own time; a repeat is dropped by its reading_id.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from tests.demo.mqtt_listener import Listener
from tests.demo.stage import ROOT, SceneFailed, SceneSkipped, Stage

FAST = 2880
"""Simulated seconds in a real one: the day from five in the morning to midnight takes 24 seconds."""


class Programs:
    """Broker, simulated inverter and collector, in a folder of their own; all are gone when the scene ends."""

    def __init__(self, stage: Stage, mosquitto: str) -> None:
        self.stage, self.folder = stage, stage.home / "sungather"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        self.mqtt_port, self._inverter_port = _free_port(), _free_port()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        user = "root" if os.getuid() == 0 else "nobody"
        self._write(
            "mosquitto.conf",
            f"listener {self.mqtt_port} 127.0.0.1\nallow_anonymous true\nuser {user}\n"
            f"persistence true\npersistence_location {self.folder}/\nmax_queued_messages 0\n",
        )
        self._write("config.yaml", yaml.safe_dump(self._config()))
        here = Path(sys.executable).parent
        self._commands = {
            "mosquitto": [mosquitto, "-c", "mosquitto.conf"],
            "inverter": [
                str(here / "sungrow-simulator"),
                *f"--profile SH10RT --fast {FAST} --port {self._inverter_port}".split(),
            ],
            "collector": [str(here / "sungather"), "-c", "config.yaml", "-v", "20"],
        }

    def _config(self) -> dict[str, Any]:
        inverter = {"host": "127.0.0.1", "port": self._inverter_port, "scan_interval": 1, "timeout": 1}
        exports = [
            {"name": "console", "enabled": True},
            {"name": "webserver", "enabled": True, "host": "127.0.0.1", "port": 0},
            {"name": "mqtt", "enabled": True, "host": "127.0.0.1", "port": self.mqtt_port},
        ]
        state = {"state_folder": str(self.folder / "state")}
        return {"inverter": inverter, "exports": exports, "collector": state}

    def _write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def start(self, name: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out, (self.folder / f"{name}.err").open("ab") as err:
            self._running[name] = subprocess.Popen(
                self._commands[name], cwd=self.folder, stdout=out, stderr=err
            )

    def signal(self, name: str, number: signal.Signals) -> None:
        self._running[name].send_signal(number)

    def end(self, name: str, number: signal.Signals) -> int:
        """End a program and wait for it; its exit code."""
        process = self._running.pop(name)
        process.send_signal(number)
        return process.wait(10)

    def end_all(self) -> None:
        for process in self._running.values():
            process.kill()
            process.wait(10)

    def log(self, name: str, kind: str = "err") -> str:
        path = self.folder / f"{name}.{kind}"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def ask(self, path: str) -> Any:
        """What the collector's local API says; None while it is not there."""
        ports = re.findall(r"web page on http://127\.0\.0\.1:(\d+)/", self.log("collector"))
        if ports:
            url = f"http://127.0.0.1:{ports[-1]}{path}"
            with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
                return json.load(answer)
        return None

    def queued(self) -> int:
        told = self.ask("/api/exports")
        return int(told["exports"]["mqtt"]["queue_length"]) if told else -1

    def state(self) -> str:
        told = self.ask("/api/status")
        return str(told["state"]) if told else ""

    def taken(self) -> list[str]:
        """The inverter's time in each reading that the collector printed."""
        return re.findall(
            r"^\| vr002 +\| timestamp +\| (\S+ \S+)", self.log("collector", "out"), re.MULTILINE
        )


def play(stage: Stage) -> None:
    programs = Programs(stage, _mosquitto(stage))
    try:
        programs.start("mosquitto")
        with _listening(programs) as listener:
            _day(stage, programs, listener)
            _compare(stage, programs, listener)
    finally:
        programs.end_all()


def _day(stage: Stage, programs: Programs, listener: Listener) -> None:
    def clock() -> str:
        return str(listener.messages[-1]["timestamp"]) if listener.messages else ""

    with stage.step(
        f"an inverter that lives {FAST} times as fast, and a collector that reads it every second"
    ):
        programs.start("inverter")
        programs.start("collector")
        stage.until("the first reading in the broker", lambda: listener.messages, 20)
        stage.show(_line(listener))
    first = clock()[:10]
    with stage.step("the morning"):
        stage.until("nine o'clock", lambda: clock()[11:] >= "09", 30)
        stage.show(_line(listener))
    with stage.step("the broker goes away; readings wait on disk"):
        programs.end("mosquitto", signal.SIGTERM)
        stage.until("four readings wait", lambda: programs.queued() >= 4, 30)
    with stage.step("kill -9 for the collector, with its queue full; another is started"):
        programs.end("collector", signal.SIGKILL)
        programs.start("collector")
        waiting = stage.until("the queue is still there", lambda: max(0, programs.queued()), 20)
        stage.show(f"{waiting} readings wait")
    with stage.step("the broker comes back"):
        programs.start("mosquitto")
        stage.until("the queue is empty", lambda: programs.queued() == 0, 30)
        stage.show(_line(listener))
    with stage.step("the inverter falls silent, and speaks again"):
        programs.signal("inverter", signal.SIGSTOP)
        stage.until("the collector says so", lambda: programs.state() == "offline", 30)
        programs.signal("inverter", signal.SIGCONT)
        stage.until("it is read again", lambda: programs.state() == "online", 30)
    with stage.step("the rest of the day"):
        before = len(listener.messages)
        stage.until("readings go on", lambda: len(listener.messages) > before, 20)
        for hour in ("18", "21", "24"):
            stage.until(
                "the hours pass", lambda hour=hour: clock()[:10] > first or clock()[11:13] >= hour, 60
            )
            stage.show(_line(listener))
    evening = [m for m in listener.messages if m["timestamp"][:10] == first][-1]
    day = {n: evening.get(n) for n in ("total_pv_generation", "total_import_energy", "total_export_energy")}
    stage.show(", ".join(f"{name} {value} kWh" for name, value in day.items() if value is not None))


def _compare(stage: Stage, programs: Programs, listener: Listener) -> None:
    """SceneFailed when a reading that was taken did not arrive, or came out of order."""
    code = programs.end("collector", signal.SIGTERM)
    stage.until("the listener has what was sent", lambda: _arrived(listener)[-1:] >= programs.taken()[-1:], 5)
    taken, arrived = programs.taken(), _arrived(listener)
    ids = [m["reading_id"] for m in listener.messages]
    lost = [when for when in taken if when not in arrived]
    times = [m["reading_time"] for m in listener.messages]
    stage.say(
        f"    taken {len(taken)}, arrived {len(arrived)}, lost {len(lost)}, "
        f"repeats dropped by reading_id {len(ids) - len(set(ids))}"
    )
    if code != 0:
        raise SceneFailed(f"the collector ended with exit code {code}:\n{programs.log('collector')[-1500:]}")
    if lost:
        raise SceneFailed(f"readings were lost: {', '.join(lost)}")
    if sorted(dict.fromkeys(ids)) != list(dict.fromkeys(ids)) or len(set(times)) < len(arrived):
        raise SceneFailed("readings came out of order, or without their own times")


def _arrived(listener: Listener) -> list[str]:
    """The inverter's time of each reading that arrived, each reading once."""
    return list({m["reading_id"]: m["timestamp"] for m in listener.messages}.values())


def _line(listener: Listener) -> str:
    now = listener.messages[-1]
    return (
        f"{now['timestamp']} {len(listener.messages)} readings in the broker; now: inverter "
        f"{now['total_active_power']} W, house {now['load_power_hybrid']} W, battery {now['battery_level']} %"
    )


@contextlib.contextmanager
def _listening(programs: Programs) -> Iterator[Listener]:
    listener = Listener(programs.mqtt_port, "SunGather/+")
    try:
        if not listener.subscribed.wait(10):
            raise SceneFailed(f"mosquitto does not answer:\n{programs.log('mosquitto')}")
        yield listener
    finally:
        listener.close()


def _mosquitto(stage: Stage) -> str:
    """Where the broker is; installed first where we are root. SceneSkipped when it cannot be had."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    if shutil.which("mosquitto", path=path) is None and os.getuid() == 0:
        with contextlib.suppress(SceneFailed):
            stage.run(str(ROOT / "scripts" / "system-packages.sh"), "mosquitto", timeout=180)
    program = shutil.which("mosquitto", path=path)
    if program is None:
        raise SceneSkipped("mosquitto is not installed; as root scripts/system-packages.sh installs it")
    return program


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
