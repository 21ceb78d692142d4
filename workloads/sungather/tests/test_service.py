"""The program as an owner runs it: a process, signals, and sudden death (acceptance points 27, 36, 41; issue 4, point 5)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import random
import shutil
import signal
import sqlite3
import sys
import time
from pathlib import Path

import aiohttp
import pytest
import yaml

from sungather.errors import AlreadyRunning
from sungather.exports import mqtt_packets as packets
from sungather.lock import InverterLock

COMMAND = [sys.executable, "-m", "sungather"]


class Broker:
    """A broker that acknowledges and notes every state message; it can be deaf for a while."""

    def __init__(self) -> None:
        self.seen: list[dict] = []
        self.deaf = False
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            await packets.receive(reader)
            if self.deaf:
                writer.close()
                return
            writer.write(bytes((0x20, 3, 0, 0, 0)))
            while True:
                packet = await packets.receive(reader)
                if packet.kind != packets.PUBLISH:
                    continue
                message, _ = packets.message_in(5, packet)
                size = int.from_bytes(packet.body[:2], "big")
                if message.payload[:1] == b"{":
                    self.seen.append(json.loads(message.payload))
                if packet.flags & 6:
                    writer.write(bytes((0x40, 2)) + packet.body[2 + size : 4 + size])
        writer.close()


@pytest.fixture
async def broker():
    made = Broker()
    await made.start()
    yield made
    await made.stop()


class Process:
    """One collector process."""

    def __init__(self, folder: Path, config: dict) -> None:
        self.path = folder / "config.yaml"
        self.path.write_text(yaml.safe_dump(config))
        self.process: asyncio.subprocess.Process | None = None

    async def start(self, *arguments: str, stderr: int = asyncio.subprocess.PIPE) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *COMMAND,
            "-c",
            str(self.path),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            cwd=self.path.parent,
        )

    async def end(self, number: int = signal.SIGTERM) -> tuple[int, str, str]:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return await self.finish()

    async def finish(self) -> tuple[int, str, str]:
        out, err = await self.process.communicate()
        return self.process.returncode, out.decode(), err.decode()


@pytest.fixture
async def process(tmp_path):
    made: list[Process] = []

    def make(inverter: dict, exports: list[dict] | None = None, **collector) -> Process:
        base = {"host": "127.0.0.1", "timeout": 10, "scan_interval": 1}
        state = {"state_folder": str(tmp_path / "state")} | collector
        made.append(
            Process(tmp_path, {"inverter": base | inverter, "exports": exports or [], "collector": state})
        )
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.returncode is None:
            await one.end(signal.SIGKILL)


async def test_run_once_prints_the_table_and_exits_zero(process, hybrid, broker):
    mqtt = {"name": "mqtt", "enabled": True, "host": "127.0.0.1", "port": broker.port}
    once = process({"port": hybrid.port}, [{"name": "console", "enabled": True}, mqtt])
    await once.start("--runonce")
    code, out, _ = await once.finish()
    assert code == 0
    assert "| 13008   | load_power_hybrid                   | 1200 W" in out
    assert "Logged " in out
    assert len(broker.seen) == 1


def rest_of(terminal: int) -> bytes:
    """What was written to the other side of a terminal that nobody writes to any more."""
    told = b""
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 4096):
            told += part
    os.close(terminal)
    return told


@pytest.mark.parametrize(("said", "shown"), [({}, True), ({"log_console": "WARNING"}, False)])
async def test_a_person_at_a_terminal_is_shown_what_goes_on(process, hybrid, said, shown):
    ours, theirs = pty.openpty()
    once = process({"port": hybrid.port} | said)
    await once.start("--runonce", stderr=theirs)
    await once.process.communicate()
    os.close(theirs)
    assert (b"found SH10RT" in rest_of(ours)) is shown


async def test_run_once_fails_when_nothing_was_read_or_an_export_failed(process, hybrid, broker):
    nothing = process({"port": 1})
    await nothing.start("--runonce")
    code, _, err = await nothing.finish()
    assert code == 1
    assert "nothing was read" in err

    async def refuse(reader, writer):
        await reader.read(1)
        writer.write(bytes((0x20, 3, 0, 0x86, 0)))  # bad user name or password
        await writer.drain()

    refusing = await asyncio.start_server(refuse, "127.0.0.1", 0)
    mqtt = {"name": "mqtt", "enabled": True, "host": "127.0.0.1"}
    failing = process({"port": hybrid.port}, [mqtt | {"port": refusing.sockets[0].getsockname()[1]}])
    await failing.start("--runonce")
    code, _, err = await failing.finish()
    assert code == 1
    assert "export mqtt failed" in err
    assert "Traceback" not in err
    refusing.close()


async def silent(frame):
    await asyncio.sleep(60)


@pytest.mark.parametrize("moment", ["while connecting", "while reading", "while delivering"])
async def test_sigterm_ends_it_within_five_seconds_with_exit_code_zero(
    process, hybrid, broker, eventually, moment
):
    port, broker_port = hybrid.port, broker.port
    if moment == "while connecting":
        port = 1
    elif moment == "while reading":
        hybrid.fault = silent
    else:
        broker_port = 1
    mqtt = {"name": "mqtt", "enabled": True, "host": "127.0.0.1", "port": broker_port}
    service = process({"port": port, "timeout": 30}, [mqtt])
    await service.start("-v", "20")
    if moment == "while connecting":
        while b"cannot be read" not in await service.process.stderr.readline():
            pass
    else:
        await eventually(lambda: hybrid.connections)
        await asyncio.sleep(0.5)
    started = time.monotonic()
    code, _, err = await service.end()
    assert (code, time.monotonic() - started < 20) == (0, True), err
    assert "Traceback" not in err
    if moment != "while reading":  # the scripted server sleeps and does not look at its socket
        await eventually(lambda: hybrid.open_now == 0)


async def test_a_second_collector_for_the_same_inverter_is_refused_and_told_who_has_it(
    process, hybrid, eventually
):
    first = process({"port": hybrid.port})
    await first.start()
    await eventually(lambda: hybrid.connections)
    second = process(
        {"port": hybrid.port, "host": "localhost"}, state_folder=str(first.path.parent / "other")
    )
    await second.start("--runonce")
    code, _, err = await second.finish()
    assert code == 1
    assert f"process {first.process.pid} already collects" in err
    assert "collect-now" in err
    await first.end()
    await second.start("--runonce")
    assert (await second.finish())[0] == 0


def test_the_lock_goes_with_its_holder():
    lock = InverterLock("127.0.0.1", 15999)
    with pytest.raises(AlreadyRunning) as error:
        InverterLock("localhost", 15999)
    assert error.value.pid == os.getpid()
    InverterLock("127.0.0.1", 15998).close()
    lock.close()
    InverterLock("127.0.0.1", 15999).close()


async def test_a_state_folder_that_cannot_be_written_is_named(process, hybrid, tmp_path):
    (tmp_path / "file").write_text("")
    service = process({"port": hybrid.port}, state_folder=str(tmp_path / "file" / "x"))
    await service.start("--runonce")
    code, _, err = await service.finish()
    assert code == 1
    assert "state_folder" in err
    assert "Traceback" not in err


async def test_killed_at_random_moments_every_reading_that_was_taken_arrives_in_order(
    process, hybrid, broker, tmp_path, eventually
):
    """kill -9 over many rounds, the broker deaf in some: what was taken arrives, keys drop the repeats."""
    chance = random.Random(4)
    mqtt = {"name": "mqtt", "enabled": True, "host": "127.0.0.1", "port": broker.port, "availability": False}
    service = process({"port": hybrid.port, "scan_interval": 1}, [mqtt])
    rounds = int(os.environ.get("SUNGATHER_KILL_ROUNDS", "5"))
    shown: list[str] = []
    for number in range(rounds):
        broker.deaf = number % 3 == 1
        await service.start("-v", "30")
        before = hybrid.connections
        await eventually(lambda before=before: hybrid.connections > before)
        await asyncio.sleep(chance.uniform(0, 1.5))
        await service.end(signal.SIGKILL)
        shown += _queued(tmp_path / "state")
    broker.deaf = False
    await service.start("-v", "30")
    with contextlib.suppress(TimeoutError):
        await eventually(lambda: broker.seen and {*shown} <= {s["reading_id"] for s in broker.seen})
    await service.end()
    arrived = [s["reading_id"] for s in broker.seen]
    once = list(dict.fromkeys(arrived))
    assert shown
    assert {*shown} <= {*once}, "what was taken arrived"
    assert once == sorted(once), "in order"
    times = [s["reading_time"] for s in broker.seen]
    assert len({*times}) == len(once), "each reading kept its own time"


def _queued(folder: Path) -> list[str]:
    """The keys of all readings that the dead process had written down."""
    keys = []
    for name, table, column in (("collector", "taken", "id"), ("outbox-mqtt", "items", "key")):
        path = folder / f"{name}.sqlite"
        if path.exists():
            copy = folder / f"copy-{name}.sqlite"
            for suffix in ("", "-wal"):
                if Path(f"{path}{suffix}").exists():
                    shutil.copy(f"{path}{suffix}", f"{copy}{suffix}")
            with (
                contextlib.closing(sqlite3.connect(copy)) as database,
                contextlib.suppress(sqlite3.OperationalError),
            ):
                keys += [row[0] for row in database.execute(f"SELECT {column} FROM {table}")]
            for left in folder.glob("copy-*"):
                left.unlink()
    return keys


async def test_counters_and_history_survive_a_kill(process, hybrid, tmp_path, eventually):
    web = {"name": "webserver", "enabled": True, "host": "127.0.0.1", "port": 0}
    service = process({"port": hybrid.port, "log_console": "INFO"}, [web])

    async def exported() -> float:
        await service.start("-v", "20")
        before = hybrid.connections
        await eventually(lambda: hybrid.connections >= before + 3)
        address = ""
        while "web page on" not in address:
            address = (await service.process.stderr.readline()).decode()
        url = address.split("web page on ")[1].strip()
        async with (
            aiohttp.ClientSession() as http,
            http.get(url + "api/readings?names=daily_export_to_grid") as reply,
        ):
            value = (await reply.json())["readings"]["daily_export_to_grid"]["value"]
        await service.end(signal.SIGKILL)
        return value

    first = await exported()
    second = await exported()
    assert first > 0
    assert second > first
