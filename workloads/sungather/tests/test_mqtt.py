"""The MQTT export against a real mosquitto (acceptance points 25, 44)."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import shutil
import socket
from pathlib import Path

import pytest

from sungather.exports import mqtt_packets as packets
from sungather.exports.mqtt_connection import Broker, Connection
from sungather.exports.mqtt_packets import Message

MOSQUITTO = shutil.which("mosquitto") or (
    "/usr/sbin/mosquitto" if Path("/usr/sbin/mosquitto").exists() else None
)
real = pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto (Debian package mosquitto)")

SENSORS = [
    {
        "name": "Daily Generation",
        "sensor_type": "sensor",
        "register": "daily_power_yields",
        "device_class": "energy",
        "state_class": "total_increasing",
        "icon": "mdi:solar-power",
    },
    {
        "name": "Power State",
        "sensor_type": "binary_sensor",
        "register": "run_state",
        "device_class": "running",
        "payload_on": "ON",
        "payload_off": "OFF",
    },
    {
        "name": "Active Generation",
        "sensor_type": "sensor",
        "register": "total_active_power",
        "dev_class": "power",
    },
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """A private broker."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port, self.config = folder, free_port(), "allow_anonymous true\n"
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        path = self.folder / "mosquitto.conf"
        user = getpass.getuser()
        path.write_text(f"listener {self.port} 127.0.0.1\npersistence false\nuser {user}\n{self.config}")
        self._process = await asyncio.create_subprocess_exec(
            MOSQUITTO, "-c", str(path), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        for _ in range(3000):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                return
            await asyncio.sleep(0.02)
        raise RuntimeError("mosquitto did not start")

    async def stop(self) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None


class Gate:
    """A relay in front of the broker: closed, nobody gets through, as in an outage."""

    def __init__(self, target: int) -> None:
        self._target, self.port = target, free_port()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.transport.abort()
            self._server = None

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        self._writers |= {writer, back}

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            sink.close()

        await asyncio.gather(copy(reader, back), copy(there, writer))


class Listener:
    """Collects what arrives under a topic filter; written with this package's packets, fed by the real broker."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._connection: Connection | None = None

    async def start(self, port: int, topic: str = "#", **login) -> None:
        self._connection = await Connection.open(Broker("127.0.0.1", port, f"listener-{id(self)}", **login))
        await self._connection.subscribe(topic, self.messages.append)

    async def publish(self, topic: str, payload: bytes) -> None:
        await self._connection.publish([Message(topic, payload)])

    async def stop(self) -> None:
        if self._connection:
            await self._connection.close()

    def states(self, topic: str = "SunGather/A2290112345") -> list[dict]:
        return [json.loads(m.payload) for m in self.messages if m.topic == topic]


@pytest.fixture
async def broker(tmp_path):
    made = Mosquitto(tmp_path)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def listener(broker):
    made = Listener()
    await made.start(broker.port)
    yield made
    await made.stop()


def export(port: int, **rest) -> dict:
    return {"name": "mqtt", "enabled": True, "host": "127.0.0.1", "port": port} | rest


@real
async def test_topic_and_json_keys_are_those_of_upstream(run, hybrid, broker, listener, eventually):
    application = run({"port": hybrid.port, "level": 1}, [export(broker.port)])
    await application.start()
    await eventually(listener.states)
    state = listener.states()[0]
    settings = {
        "model",
        "serial_number",
        "level",
        "scan_interval",
        "use_local_time",
        "smart_meter",
        "connection",
    }
    settings |= {"slave", "start_time", "host", "port", "timeout", "retries", "RetryOnEmpty"}
    virtual = {"run_state", "timestamp", "last_reset", "export_to_grid", "import_from_grid"}
    virtual |= {"daily_export_to_grid", "daily_import_from_grid", "device_type_code"}
    assert settings | virtual <= set(state)
    assert set(state) - settings - virtual - {"reading_id", "reading_time"} <= {
        r.name for r in application.catalogue.registers
    }
    assert "year" not in state
    assert "second" not in state
    assert (state["model"], state["serial_number"]) == ("SH10RT", "A2290112345")
    assert (state["export_to_grid"], state["battery_level"]) == (1800, 65.5)
    assert state["reading_id"].startswith("A2290112345:")


@real
async def test_discovery_is_upstreams_message_plus_availability(run, hybrid, broker, listener, eventually):
    sensors = export(broker.port, homeassistant=True, ha_sensors=SENSORS)
    application = run({"port": hybrid.port, "level": 1}, [sensors])
    await application.start()
    await eventually(lambda: sum(m.topic.startswith("homeassistant/") for m in listener.messages) >= 3)
    found = {
        m.topic: json.loads(m.payload) for m in listener.messages if m.topic.startswith("homeassistant/")
    }
    assert found["homeassistant/sensor/A2290112345_daily_generation/config"] == {
        "state_topic": "SunGather/A2290112345",
        "value_template": "{{ value_json.daily_power_yields }}",
        "name": "Daily Generation",
        "device_class": "energy",
        "state_class": "total_increasing",
        "icon": "mdi:solar-power",
        "unique_id": "sungather_daily_generation_A2290112345",
        "unit_of_measurement": "kWh",
        "device": {
            "name": "Sungrow SH10RT",
            "manufacturer": "Sungrow",
            "model": "SH10RT",
            "identifiers": "A2290112345",
            "via_device": "SunGather",
            "connections": [["address", "127.0.0.1"]],
        },
        "availability_topic": "SunGather/A2290112345/availability",
    }
    assert found["homeassistant/binary_sensor/A2290112345_power_state/config"]["payload_on"] == "ON"
    assert found["homeassistant/sensor/A2290112345_active_generation/config"]["device_class"] == "power"


@real
async def test_discovery_is_sent_again_when_home_assistant_starts(run, hybrid, broker, listener, eventually):
    sensors = export(broker.port, homeassistant=True, ha_sensors=SENSORS)
    application = run({"port": hybrid.port}, [sensors])
    await application.start()

    def count():
        return sum(m.topic.endswith("_daily_generation/config") for m in listener.messages)

    await eventually(lambda: count() == 1)
    await listener.publish("homeassistant/status", b"online")
    await eventually(lambda: count() == 2)
    mqtt = application.exporters[0].destination
    assert len(await mqtt.clear_discovery()) == 3
    await eventually(lambda: sum(not m.payload for m in listener.messages) == 3)


@pytest.fixture
async def gate(broker):
    made = Gate(broker.port)
    yield made
    await made.close()


@real
async def test_availability_is_retained_and_the_last_will_says_offline(
    run, hybrid, broker, gate, listener, eventually
):
    await gate.open()
    application = run({"port": hybrid.port}, [export(gate.port)])
    await application.start()
    topic = "SunGather/A2290112345/availability"

    def said():
        return [m.payload for m in listener.messages if m.topic == topic]

    async def a_newcomer_is_told():
        newcomer = Listener()
        await newcomer.start(broker.port, topic)
        await eventually(lambda: newcomer.messages)
        await newcomer.stop()
        return newcomer.messages[0].payload

    await eventually(lambda: said() == [b"online"])
    await gate.close()  # as a power cut would
    await eventually(lambda: b"offline" in said())
    assert await a_newcomer_is_told() == b"offline", "the last will is retained"
    await gate.open()
    await eventually(lambda: said()[-1] == b"online")
    assert await a_newcomer_is_told() == b"online"
    await application.stop()
    await eventually(lambda: said()[-1] == b"offline")
    assert await a_newcomer_is_told() == b"offline"


@real
async def test_nothing_is_lost_while_the_broker_is_down_at_the_start(run, hybrid, gate, listener, eventually):
    application = run({"port": hybrid.port}, [export(gate.port)])
    await application.start()
    exporter = application.exporters[0]
    await eventually(lambda: exporter.status.last_error is not None)
    ids = [(await application.collector.collect()).snapshot.id for _ in range(120)]
    assert exporter.outbox.waiting >= 120
    await gate.open()
    exporter.retry_now()
    await eventually(lambda: exporter.outbox.waiting == 0)
    await eventually(lambda: ids[-1] in [s["reading_id"] for s in listener.states()])
    arrived = [s["reading_id"] for s in listener.states()]
    assert [i for i in arrived if i in set(ids)] == ids, "in order, each once"
    times = [s["reading_time"] for s in listener.states()]
    assert times == sorted(times)


@real
async def test_a_line_that_breaks_again_and_again_loses_nothing(run, hybrid, gate, listener, eventually):
    await gate.open()
    application = run({"port": hybrid.port}, [export(gate.port)])
    await application.start()
    exporter = application.exporters[0]
    ids = []
    for _ in range(8):
        ids += [(await application.collector.collect()).snapshot.id for _ in range(15)]
        await gate.close()
        ids += [(await application.collector.collect()).snapshot.id for _ in range(5)]
        assert application.collector.fresh(), "collecting goes on"
        await gate.open()
        exporter.retry_now()
    await eventually(lambda: exporter.outbox.waiting == 0)
    await eventually(lambda: ids[-1] in [s["reading_id"] for s in listener.states()])
    once = list(dict.fromkeys(s["reading_id"] for s in listener.states()))
    assert [i for i in once if i in set(ids)] == ids, "all there, in order after dropping repeats by key"


@real
async def test_a_broker_that_is_killed_and_comes_back_is_used_again(run, hybrid, broker, eventually):
    application = run({"port": hybrid.port}, [export(broker.port)])
    await application.start()
    exporter = application.exporters[0]
    await eventually(lambda: exporter.outbox.counts["sent"] >= 1)
    await broker.stop()
    await application.collector.collect()
    await eventually(lambda: str(exporter.status.state) == "retrying")
    await broker.start()
    exporter.retry_now()
    await eventually(lambda: exporter.outbox.waiting == 0)


@real
async def test_a_wrong_password_blocks_with_a_hint_and_without_the_password(
    run, hybrid, broker, tmp_path, eventually, caplog
):
    await broker.stop()
    passwords = tmp_path / "passwords"
    passwords.write_text("")
    create = await asyncio.create_subprocess_exec(
        "mosquitto_passwd", "-b", str(passwords), "sun", "right-word"
    )
    await create.wait()
    broker.config = f"allow_anonymous false\npassword_file {passwords}\n"
    await broker.start()
    application = run({"port": hybrid.port}, [export(broker.port, username="sun", password="wrong-word")])
    await application.start()
    exporter = application.exporters[0]
    await eventually(lambda: str(exporter.status.state) == "blocked")
    assert (
        "user name or password" in exporter.status.last_error
        or "not authorised" in exporter.status.last_error
    )
    assert "wrong-word" not in caplog.text + exporter.status.last_error


@real
async def test_a_topic_that_is_not_allowed_blocks_and_keeps_the_readings(
    run, hybrid, broker, tmp_path, eventually
):
    await broker.stop()
    rules = tmp_path / "acl"
    rules.write_text("topic readwrite allowed/#\n")
    broker.config = f"allow_anonymous true\nacl_file {rules}\n"
    await broker.start()
    application = run({"port": hybrid.port}, [export(broker.port, topic="forbidden/x", availability=False)])
    await application.start()
    exporter = application.exporters[0]
    await eventually(lambda: str(exporter.status.state) == "blocked")
    assert "forbidden/x" in exporter.status.last_error
    assert exporter.outbox.waiting >= 1


@real
async def test_a_broker_whose_certificate_has_another_name_blocks(
    run, hybrid, broker, certificate, eventually
):
    await broker.stop()
    broker.config = f"allow_anonymous true\ncertfile {certificate[0]}\nkeyfile {certificate[1]}\n"
    await broker.start()
    good = export(broker.port, host="localhost", tls=True, tls_ca=str(certificate[0]))
    application = run({"port": hybrid.port}, [good, {**good, "host": "127.0.0.1", "client_id": "other"}])
    await application.start()
    await eventually(lambda: application.exporters[0].outbox.counts["sent"] >= 1)
    await eventually(lambda: str(application.exporters[1].status.state) == "blocked")
    assert "certificate" in application.exporters[1].status.last_error


@pytest.mark.skipping
async def test_a_broker_that_never_acknowledges_is_given_up_in_time_and_nothing_is_lost(
    run, hybrid, eventually
):
    async def mute(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            await packets.receive(reader)
            writer.write(bytes((0x20, 3, 0, 0, 0)))
            while True:
                await packets.receive(reader)

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    application = run({"port": hybrid.port, "timeout": 20}, [export(port)])
    await application.start()
    exporter = application.exporters[0]
    await eventually(lambda: str(exporter.status.state) == "retrying")
    assert exporter.outbox.waiting >= 1
    assert "acknowledg" in exporter.status.last_error or "did not answer" in exporter.status.last_error
    server.close()


async def test_an_old_broker_is_spoken_to_in_version_3_1_1():
    versions = []

    async def old(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            packet = await packets.receive(reader)
            versions.append(packet.body[6])
            if packet.body[6] != 4:
                writer.write(bytes((0x20, 2, 0, 1)))
                writer.close()
                return
            writer.write(bytes((0x20, 2, 0, 0)))
            while True:
                packet = await packets.receive(reader)
                if packet.kind == packets.PUBLISH:
                    size = int.from_bytes(packet.body[:2], "big")
                    assert packet.body[4 + size :] == b"x"
                    writer.write(bytes((0x40, 2)) + packet.body[2 + size : 4 + size])

    server = await asyncio.start_server(old, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connection = await Connection.open(Broker("127.0.0.1", port, "me", timeout=30))
    assert versions == [5, 4]
    assert await connection.publish([Message("a/b", b"x")]) == [0]
    await connection.close()
    server.close()


async def test_another_client_with_our_id_is_named_as_the_reason():
    async def taken_over(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            await packets.receive(reader)
            writer.write(bytes((0x20, 3, 0, 0, 0)) + bytes((0xE0, 1, 0x8E)))
            await reader.read()

    server = await asyncio.start_server(taken_over, "127.0.0.1", 0)
    connection = await Connection.open(Broker("127.0.0.1", server.sockets[0].getsockname()[1], "same"))
    await asyncio.wait_for(connection.closed.wait(), 120)
    assert "another client" in connection.reason
    server.close()


@real
async def test_what_waited_before_a_restart_is_delivered_though_the_inverter_sleeps(
    run, hybrid, gate, listener, eventually
):
    first = run({"port": hybrid.port}, [export(gate.port)])
    ids = [(await first.collector.collect()).snapshot.id for _ in range(3)]
    await first.stop()
    await hybrid.stop()
    await gate.open()
    again = run({"port": hybrid.port}, [export(gate.port)])
    await again.start()
    await eventually(lambda: [s["reading_id"] for s in listener.states()] == ids)
