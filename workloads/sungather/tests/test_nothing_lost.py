"""Everything dies, refuses or crawls at random; nothing that was taken is lost (issue 4, point 5).

Real mosquitto, InfluxDB 1, simulated inverter and collector, each a process. SUNGATHER_KILL_ROUNDS and
SUNGATHER_KILL_SEED set how long and which dice.
"""

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
SIMULATOR = Path(sys.executable).parent / "sungrow-simulator"
ROUNDS = int(os.environ.get("SUNGATHER_KILL_ROUNDS", "4"))
SEED = int(os.environ.get("SUNGATHER_KILL_SEED", "11"))


class Program:
    """A process that can die and come back."""

    def __init__(self, *command: str, folder: Path) -> None:
        self._command, self._folder = command, folder
        self.log = folder / f"{Path(command[0]).name}.log"
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        log = self.log.open("ab")
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


class World:
    """The four programs, with a relay before broker and database that can refuse or slow them down."""

    def __init__(self, folder: Path, free_port) -> None:
        self.folder = folder
        self.mqtt_port, influx_port, rpc, self.inverter_port = (free_port() for _ in range(4))
        self.influx_url = f"http://127.0.0.1:{influx_port}"
        self.mqtt, self.http = MqttRelay(self.mqtt_port), Relay(influx_port)
        user = "root" if os.getuid() == 0 else "nobody"
        (folder / "mosquitto.conf").write_text(
            f"listener {self.mqtt_port} 127.0.0.1\nallow_anonymous true\nuser {user}\npersistence true\n"
            f"persistence_location {folder}/\nautosave_interval 1\nautosave_on_changes true\nmax_queued_messages 0\n"
        )
        (folder / "influx.conf").write_text(
            f'reporting-disabled = true\nbind-address = "127.0.0.1:{rpc}"\n'
            f'[meta]\n  dir = "{folder}/meta"\n[data]\n  dir = "{folder}/data"\n  wal-dir = "{folder}/wal"\n'
            f'[http]\n  bind-address = "127.0.0.1:{influx_port}"\n  log-enabled = false\n[monitor]\n  store-enabled = false\n'
        )
        self.broker = Program(MOSQUITTO, "-c", str(folder / "mosquitto.conf"), folder=folder)
        self.database = Program(INFLUXD, "-config", str(folder / "influx.conf"), folder=folder)
        self.inverter = Program(
            str(SIMULATOR), "--profile", "SH10RT", "--port", str(self.inverter_port), folder=folder
        )
        self.collector = Program(
            sys.executable, "-m", "sungather", "-c", str(folder / "config.yaml"), folder=folder
        )

    async def start(self) -> None:
        mqtt, http = await self.mqtt.start(), await self.http.start()
        config = {
            "inverter": {"host": "127.0.0.1", "port": self.inverter_port, "timeout": 1, "scan_interval": 1},
            "exports": [
                {"name": "console", "enabled": True},
                {"name": "mqtt", "enabled": True, "host": "127.0.0.1", "port": mqtt},
                {
                    "name": "influxdb",
                    "enabled": True,
                    "url": f"http://127.0.0.1:{http}",
                    "bucket": "sun",
                    "measurements": [{"point": "power", "register": "export_to_grid"}],
                },
            ],
            "collector": {"state_folder": str(self.folder / "state")},
        }
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))
        for program in (self.broker, self.database, self.inverter):
            await program.start()
        await create_database(self.influx_url)

    async def stop(self) -> None:
        for program in (self.collector, self.broker, self.database, self.inverter):
            await program.kill()
        for relay in (self.mqtt, self.http):
            await relay.stop()

    def printed(self) -> int:
        """How many readings the collector has shown."""
        log = self.collector.log
        return log.read_text("utf-8", "replace").count("| vr002 ") if log.exists() else 0

    async def trouble(self, chance: random.Random) -> None:
        """One thing goes wrong, or none."""
        match chance.choice(["broker", "database", "inverter", "slow", "refusing", "nothing"]):
            case "broker":
                await self.broker.kill()
            case "database":
                await self.database.kill()
            case "inverter":
                await self.inverter.kill()
            case "nothing":
                pass
            case mood:
                chance.choice([self.mqtt, self.http]).turn(mood)

    async def repair(self) -> None:
        self.mqtt.mood = self.http.mood = ""
        for program in (self.broker, self.database, self.inverter):
            if program.process is None:
                await program.start()


@pytest.mark.slow
@pytest.mark.timeout(120 + 10 * ROUNDS)
@pytest.mark.skipif(
    MOSQUITTO is None or INFLUXD is None, reason="needs mosquitto and influxdb (Debian packages)"
)
async def test_readings_survive_the_sudden_death_of_every_part(tmp_path, free_port, eventually):
    chance = random.Random(SEED)
    world = World(tmp_path, free_port)
    taken: set[str] = set()
    try:
        await world.start()
        for _ in range(ROUNDS):
            before = world.printed()
            await world.collector.start()
            await eventually(lambda before=before: world.printed() > before)
            await world.trouble(chance)
            await asyncio.sleep(chance.uniform(0.3, 2.5))
            await world.collector.kill()
            taken |= written_down(tmp_path / "state")
            await world.repair()
        await world.collector.start()
        await eventually(lambda: taken <= world.mqtt.acknowledged, 100)
        wanted = {int(key.split(":")[1]) for key in taken}
        async with asyncio.timeout(100):
            while not wanted <= await stored(world.influx_url):  # noqa: ASYNC110 - the database says nothing by itself
                await asyncio.sleep(0.3)
        shown = world.printed()
    finally:
        await world.stop()
    assert len(taken) >= ROUNDS
    assert shown <= len(world.mqtt.acknowledged) + 1, (
        "what the collector has shown has arrived, but for the last"
    )
    order = list(dict.fromkeys(world.mqtt.order))
    assert order == sorted(order, key=lambda key: int(key.split(":")[1])), "in order, repeats dropped by key"
    print(f"{ROUNDS} rounds: {len(taken)} readings, {len(world.mqtt.order) - len(order)} repeats")


class Relay:
    """Passes bytes on to a server, unless its mood is "slow" or "refusing"."""

    REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

    def __init__(self, target: int) -> None:
        self._target, self.mood = target, ""
        self._open: set[asyncio.StreamWriter] = set()

    def turn(self, mood: str) -> None:
        """From now on; who was let in before is put out."""
        self.mood = mood
        if mood == "refusing":
            for writer in self._open:
                writer.transport.abort()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.mood == "refusing":
                await reader.read(65536)
                writer.write(self.REFUSAL)
                await writer.drain()
                writer.close()
                return
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.close()
            return
        self._open |= {writer, back}
        await asyncio.gather(self.up(reader, back), self.down(there, writer))
        self._open -= {writer, back}

    async def up(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        await self._copy(reader, back)

    async def down(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._copy(there, writer)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self.crawl()
                sink.write(data)
                await sink.drain()
        sink.close()

    async def crawl(self) -> None:
        if self.mood == "slow":
            await asyncio.sleep(0.7)


class MqttRelay(Relay):
    """Also notes which readings the broker acknowledged, from the bytes alone."""

    REFUSAL = b"\x20\x03\x00\x89\x00"  # CONNACK of version 5: server busy

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self.acknowledged: set[str] = set()
        self.order: list[str] = []
        self.waiting: dict[int, str] = {}
        """What the one client of the moment has sent and not yet got acknowledged."""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.waiting = {}
        await super()._serve(reader, writer)

    async def up(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        waiting = self.waiting
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                first, body, raw = await packet(reader)
                if first >> 4 == 3 and first & 6:
                    size = int.from_bytes(body[:2], "big")
                    number, rest = int.from_bytes(body[2 + size : 4 + size], "big"), body[4 + size :]
                    if b'"reading_id"' in rest:
                        waiting[number] = json.loads(rest[rest.index(b"{") :])["reading_id"]
                await self.crawl()
                back.write(raw)
                await back.drain()
        back.close()

    async def down(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting = self.waiting
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while True:
                first, body, raw = await packet(there)
                if first >> 4 == 4 and (key := waiting.pop(int.from_bytes(body[:2], "big"), None)):
                    self.acknowledged.add(key)
                    self.order.append(key)
                writer.write(raw)
                await writer.drain()
        writer.close()


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
    async with aiohttp.ClientSession() as http, asyncio.timeout(120):
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
