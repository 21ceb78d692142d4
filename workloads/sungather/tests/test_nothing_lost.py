"""Everything dies at random: collector, broker, database; nothing that was taken is lost (issue 4, point 5)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
from pathlib import Path

import aiohttp
import pytest
import yaml

MOSQUITTO = shutil.which("mosquitto") or (
    "/usr/sbin/mosquitto" if Path("/usr/sbin/mosquitto").exists() else None
)
INFLUXD = shutil.which("influxd")
ROUNDS = int(os.environ.get("SUNGATHER_KILL_ROUNDS", "4"))


class Program:
    """A process that can die and come back."""

    def __init__(self, *command: str, folder: Path) -> None:
        self._command, self._folder = command, folder
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        log = (self._folder / f"{Path(self._command[0]).name}.log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            *self._command, stdout=log, stderr=log, cwd=self._folder
        )
        log.close()

    async def kill(self) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGKILL)
            await self.process.wait()
            self.process = None


@pytest.mark.slow
@pytest.mark.skipif(
    MOSQUITTO is None or INFLUXD is None, reason="needs mosquitto and influxdb (Debian packages)"
)
async def test_readings_survive_the_sudden_death_of_every_part(hybrid, tmp_path, free_port, eventually):
    chance = random.Random(11)
    mqtt_port, influx_port, rpc = free_port(), free_port(), free_port()
    user = "root" if os.getuid() == 0 else "nobody"
    (tmp_path / "mosquitto.conf").write_text(
        f"listener {mqtt_port} 127.0.0.1\nallow_anonymous true\nuser {user}\npersistence true\n"
        f"persistence_location {tmp_path}/\nautosave_interval 1\nautosave_on_changes true\nmax_queued_messages 0\n"
    )
    (tmp_path / "influx.conf").write_text(
        f'reporting-disabled = true\nbind-address = "127.0.0.1:{rpc}"\n'
        f'[meta]\n  dir = "{tmp_path}/meta"\n[data]\n  dir = "{tmp_path}/data"\n  wal-dir = "{tmp_path}/wal"\n'
        f'[http]\n  bind-address = "127.0.0.1:{influx_port}"\n  log-enabled = false\n[monitor]\n  store-enabled = false\n'
    )
    measurements = [{"point": "power", "register": "export_to_grid"}]
    influx_url = f"http://127.0.0.1:{influx_port}"
    config = {
        "inverter": {"host": "127.0.0.1", "port": hybrid.port, "timeout": 1, "scan_interval": 1},
        "exports": [
            {"name": "mqtt", "enabled": True, "host": "127.0.0.1", "port": mqtt_port},
            {
                "name": "influxdb",
                "enabled": True,
                "url": influx_url,
                "bucket": "sun",
                "measurements": measurements,
            },
        ],
        "collector": {"state_folder": str(tmp_path / "state")},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    broker = Program(MOSQUITTO, "-c", str(tmp_path / "mosquitto.conf"), folder=tmp_path)
    database = Program(INFLUXD, "-config", str(tmp_path / "influx.conf"), folder=tmp_path)
    collector = Program(
        sys.executable, "-m", "sungather", "-c", str(tmp_path / "config.yaml"), folder=tmp_path
    )
    relay = Relay(mqtt_port)
    config["exports"][0]["port"] = await relay.start()
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    taken: set[str] = set()
    try:
        await broker.start()
        await database.start()
        await create_database(influx_url)
        for _ in range(ROUNDS):
            before = hybrid.connections
            await collector.start()
            await eventually(lambda before=before: hybrid.connections > before, 30)
            victim = chance.choice([broker, database, None])
            if victim is not None:
                await victim.kill()
            await asyncio.sleep(chance.uniform(0.3, 2.5))
            await collector.kill()
            taken |= written_down(tmp_path / "state")
            if victim is not None:
                await victim.start()
        await collector.start()
        await eventually(lambda: taken <= relay.acknowledged, 60)
        wanted = {int(key.split(":")[1]) for key in taken}
        async with asyncio.timeout(60):
            while not wanted <= await stored(influx_url):  # noqa: ASYNC110 - the database says nothing by itself
                await asyncio.sleep(0.3)
    finally:
        for program in (collector, broker, database):
            await program.kill()
        await relay.stop()
    assert len(taken) >= ROUNDS
    order = list(dict.fromkeys(relay.order))
    assert order == sorted(order), "in order, once repeats are dropped by key"


class Relay:
    """Sits between collector and broker and notes which readings the broker acknowledged, from the bytes alone."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.acknowledged: set[str] = set()
        self.order: list[str] = []

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting: dict[int, str] = {}
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return

        async def up() -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                while True:
                    first, body, raw = await packet(reader)
                    if first >> 4 == 3 and first & 6:
                        size = int.from_bytes(body[:2], "big")
                        number, rest = int.from_bytes(body[2 + size : 4 + size], "big"), body[4 + size :]
                        if b'"reading_id"' in rest:
                            waiting[number] = json.loads(rest[rest.index(b"{") :])["reading_id"]
                    back.write(raw)
                    await back.drain()
            back.close()

        async def down() -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, OSError):
                while True:
                    first, body, raw = await packet(there)
                    if first >> 4 == 4 and (key := waiting.pop(int.from_bytes(body[:2], "big"), None)):
                        self.acknowledged.add(key)
                        self.order.append(key)
                    writer.write(raw)
                    await writer.drain()
            writer.close()

        await asyncio.gather(up(), down())


async def packet(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    raw = await reader.readexactly(1)
    size = shift = 0
    while True:
        byte = await reader.readexactly(1)
        raw += byte
        size |= (byte[0] & 0x7F) << shift
        shift += 7
        if not byte[0] & 0x80:
            break
    body = await reader.readexactly(size)
    return raw[0], body, raw + body


def written_down(folder: Path) -> set[str]:
    """The keys of all readings that the dead process had taken."""
    keys: set[str] = set()
    for name, table, column in (
        ("collector", "taken", "id"),
        ("outbox-mqtt", "items", "key"),
        ("outbox-influxdb", "items", "key"),
    ):
        for suffix in ("", "-wal"):
            if (folder / f"{name}.sqlite{suffix}").exists():
                shutil.copy(folder / f"{name}.sqlite{suffix}", folder / f"look.db{suffix}")
        if (folder / "look.db").exists():
            with (
                contextlib.closing(sqlite3.connect(folder / "look.db")) as look,
                contextlib.suppress(sqlite3.OperationalError),
            ):
                keys |= {row[0] for row in look.execute(f"SELECT {column} FROM {table}")}
        for left in folder.glob("look.db*"):
            left.unlink()
    return keys


async def create_database(url: str) -> None:
    async with aiohttp.ClientSession() as http, asyncio.timeout(30):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.post(f"{url}/query", params={"q": "CREATE DATABASE sun"}) as response:
                    if response.status == 200:
                        return
            await asyncio.sleep(0.1)


async def stored(url: str) -> set[int]:
    """The times, in milliseconds, that the database has."""
    query = {"db": "sun", "q": 'SELECT "export_to_grid" FROM "power"', "epoch": "ms"}
    with contextlib.suppress(aiohttp.ClientError, OSError, KeyError, ValueError):
        async with aiohttp.ClientSession() as http, http.get(f"{url}/query", params=query) as response:
            series = (await response.json(content_type=None))["results"][0].get("series", [])
            times = [row[0] for row in series[0]["values"]] if series else []
            assert len(times) == len(set(times)), "each stored once"
            return set(times)
    return set()
