"""The program as a person starts it: its day, its options, its errors, its steering."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sungrow_simulator.cli import main

PROGRAM = str(Path(sys.executable).parent / "sungrow-simulator")


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *words], capture_output=True, text=True, timeout=120)


def use(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    """What the program exits with, in this process."""
    monkeypatch.setattr(sys, "argv", ["sungrow-simulator", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


class Running:
    """A simulator in a process of its own, with its ports by name."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            [PROGRAM, *words, "--control", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        self.ports = {name: int(port) for name, port in re.findall(r"(\S+) 127\.0\.0\.1:(\d+)", first)}

    def steer(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run(*words, "--control", str(self.ports["control"]))

    def ask(self, *, wire: int = 4999, count: int = 1, patience: float = 30) -> bytes:
        """The answer to one read of input registers on a connection of its own."""
        with socket.create_connection(("127.0.0.1", self.ports["modbus"]), timeout=patience) as connection:
            connection.sendall(struct.pack(">HHHBBHH", 1, 0, 6, 1, 4, wire, count))
            return connection.recv(300)

    def end(self, number: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@contextlib.contextmanager
def simulator(*words: str) -> Iterator[Running]:
    running = Running(*words)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.communicate()


def test_without_a_terminal_it_prints_a_line_for_each_quarter_of_an_hour_and_ends() -> None:
    done = run("--fast", "100000", "--hours", "6", "--start", "2026-06-21T09:00", "--modbus", "0")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("SH10RT serial A2290300001, unit 1: modbus 127.0.0.1:")
    times = [line[:16] for line in lines[1:-2]]
    assert times == [
        f"2026-06-21 {hour:02}:{minute:02}" for hour in range(9, 15) for minute in range(0, 60, 15)
    ] + ["2026-06-21 15:00"]
    assert lines[-2].startswith("6.0 simulated hours: made ")
    assert lines[-1] == "0 requests on 0 connections"


def test_the_same_seed_gives_the_same_registers_and_another_seed_others(tmp_path: Path) -> None:
    found = []
    for number, seed in enumerate(["7", "7", "8"]):
        path = tmp_path / f"{number}.json"
        start = ["--start", "2026-06-21T10:00", "--hours", "1", "--seed", seed]
        assert run(*start, "--dump", str(path)).returncode == 0
        found.append(path.read_text())
    assert found[0] == found[1] != found[2]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_zero_and_frees_its_ports(number: signal.Signals) -> None:
    with simulator("--modbus", "0") as running:
        assert running.ask()[9:] == struct.pack(">H", 0x0E03)
        code, out, err = running.end(number)
        assert (code, err) == (0, "")
        assert "1 request on 1 connection" in out.splitlines()[-1]
        with pytest.raises(OSError):
            running.ask()


def test_faults_are_scheduled_counted_and_cleared_from_another_terminal() -> None:
    with simulator("--modbus", "0", "--fast", "60") as running:
        shown = running.steer("fault", "exception-4", "--times", "2", "--on", "modbus")
        assert "scheduled       exception-4  times=2 port=modbus" in shown.stdout
        assert [running.ask()[7:9] for _ in range(3)] == [b"\x84\x04", b"\x84\x04", b"\x04\x02"]
        counters = dict(line.split() for line in running.steer("faults").stdout.splitlines()[1:])
        assert counters["faults.exception-4"] == "2"
        assert counters["requests"] == counters["connections"] == "3"
        assert "silent" in running.steer("fault", "silent").stdout
        assert "scheduled" not in running.steer("fault", "clear").stdout
        assert running.ask()[7] == 4


def test_a_file_schedules_faults(tmp_path: Path) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text("faults:\n  - {fault: exception-6, times: 1}\n  - {fault: reset, at: '23:59'}\n")
    with simulator("--modbus", "0", "--faults", str(path)) as running:
        assert [running.ask()[7:9] for _ in range(2)] == [b"\x84\x06", b"\x04\x02"]
        assert "reset  begin=" in running.steer("faults").stdout


def test_a_running_one_is_dumped_and_the_dump_is_served_like_it(tmp_path: Path) -> None:
    path = tmp_path / "dump.json"
    with simulator("--modbus", "0", "--start", "12:00") as running:
        assert running.steer("dump", str(path)).returncode == 0
    words = json.loads(path.read_text())["input"]
    with simulator("--replay", str(path), "--modbus", "0", "--tls", "0", "--winet2", "0") as replay:
        assert {"modbus", "tls", "winet2"} <= set(replay.ports)
        answer = replay.ask(wire=4989, count=30)
        assert list(struct.unpack(">30H", answer[9:])) == [words[str(4990 + at)] for at in range(30)]
        assert replay.ask(wire=1)[7:9] == b"\x84\x02"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--profile", "SH10R"], "did you mean SH10RT?"),
        (["--fast", "0"], "'0' is not a number above 0"),
        (["--start", "noon"], "'noon' is no time: write 05:00"),
        (["--latitude", "91"], "allowed are -90 to 90"),
        (["--modbus", "70000"], "'70000' is not a port: allowed are 0 to 65535"),
        (["--control", "x"], "'x' is not a port"),
        (["--units", "1,300"], "no list of unit ids"),
        (["--speed"], "unrecognized arguments: --speed"),
        (["--replay", "a.json", "--profile", "SG10RT"], "leave --profile and --serial out"),
        (["--connections", "0"], "'0' is not a whole number from 1 on"),
        (["--login", "admin"], "write USER:PASSWORD"),
        (["--serial", "A 1"], "allowed are 1 to 20 letters and digits"),
        (["--host", "192.0.2.1"], "it must be an address of this machine"),
        (["fault", "sillent"], "did you mean silent?"),
        (["faultz"], "did you mean fault?"),
    ],
)
def test_wrong_use_is_one_line_that_says_what_is_allowed(
    words: list[str], text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert use(monkeypatch, *words) == 2
    assert text in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("faults: [{fault: silnt}]", "faults[0].fault: 'silnt' is none of refuse, "),
        ("faults: [", "line 1: not YAML"),
        ("silent", "expected a list of rows under `faults`"),
    ],
)
def test_a_wrong_schedule_names_the_file_and_the_place(
    tmp_path: Path,
    content: str,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "faults.yaml"
    path.write_text(content)
    assert use(monkeypatch, "--faults", str(path)) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"sungrow-simulator: {path}: ")
    assert text in said


def test_a_port_in_use_and_a_missing_file_are_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = run("--modbus", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert done.stderr.startswith("sungrow-simulator: --modbus ")
    assert "address already in use; choose another port, or 0" in done.stderr
    done = run("--replay", str(tmp_path / "none.json"))
    assert (done.returncode, done.stderr) == (
        2,
        f"sungrow-simulator: {tmp_path / 'none.json'}: No such file or directory\n",
    )


def test_a_reader_that_has_seen_enough_ends_it_without_a_word() -> None:
    process = subprocess.Popen(
        [PROGRAM, "--fast", "100000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 1
    assert process.stderr.read() == ""
    process.stderr.close()


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.here, there = pty.openpty()
        self.before = termios.tcgetattr(there)
        self.process = subprocess.Popen(
            [PROGRAM, *words], stdin=there, stdout=there, stderr=there, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0), env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
        )  # fmt: skip
        self.there = there
        self.shown = ""

    def until(self, text: str) -> None:
        """Read what is drawn until this is, from here on."""
        self.shown, limit = "", time.monotonic() + 120
        while text not in self.shown:
            ready, _, _ = select.select([self.here], [], [], 10)
            assert time.monotonic() < limit, f"{text!r} was never drawn"
            if not ready:
                continue
            self.shown += os.read(self.here, 1 << 16).decode(errors="replace")

    def press(self, keys: str) -> None:
        os.write(self.here, keys.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.here)
        os.close(self.there)


def test_on_a_terminal_a_day_passes_and_keys_steer_it() -> None:
    terminal = Terminal("--fast", "1440", "--start", "2026-06-21T05:00", "--modbus", "0")
    try:
        terminal.until("21 Jun 2026")
        terminal.until("modbus 127.0.0.1:")
        terminal.press(" ")
        terminal.until("paused")
        terminal.press(" +")
        terminal.until("2880 x real time")
        terminal.press("--")
        terminal.until("720 x real time")
        terminal.press("q")
        terminal.until("simulated hours: made")
        assert terminal.process.wait(timeout=120) == 0
        assert termios.tcgetattr(terminal.there) == terminal.before
    finally:
        terminal.close()


def test_steering_nobody_says_how_to_start_one() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = run("faults", "--control", str(port))
    assert done.returncode == 1
    assert f"start one with --control {port}" in done.stderr


def test_help_and_profiles_read_well() -> None:
    help_text = run("--help")
    assert help_text.returncode == 0
    assert all(
        word in help_text.stdout for word in ("--profile", "--fast", "--winet2", "--replay", "examples:")
    )
    table = run("--list-profiles").stdout.splitlines()
    assert table[0].split() == ["MODEL", "KIND", "PHASES", "RATED", "MODULES", "BATTERY", "TYPE", "CODE"]
    assert any(line.startswith("SH10RT  ") for line in table)
