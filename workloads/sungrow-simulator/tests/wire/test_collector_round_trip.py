"""A dump that the collector makes of an inverter is served on every kind of port, and the collector reads it alike."""

from __future__ import annotations

import argparse
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from sungather.api.dump import dump, parse_ranges
from sungather.application import Application, catalogue_for
from sungather.configuration.settings import load
from sungrow_simulator.dumps import Replay
from sungrow_simulator.faults import Faults
from sungrow_simulator.inverter import Inverter
from sungrow_simulator.wire.answers import Answers
from sungrow_simulator.wire.dongle import Device
from sungrow_simulator.wire.opening import Servers, add_arguments, start

NOON = datetime(2026, 6, 21, 12)
PORTS = {
    "modbus": ["modbus"], "tls": ["tls"], "sungrow": ["sungrow"], "http": ["winet", "winet-http"], "https": ["winet2"],
}  # fmt: skip


async def serve(words: Any, device: Device, faults: Faults, ports: list[str]) -> Servers:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    options = parser.parse_args([option for name in ports for option in (f"--{name}", "0")])
    return await start(options, Answers(words, (device.unit,)), device, lambda: NOON.date(), faults)


def collector(folder: Path, servers: Servers, connection: str, ports: list[str]) -> Application:
    """The real one, with a state of its own."""
    at = [servers.listeners[name].port for name in ports]
    inverter = {"host": "127.0.0.1", "connection": connection, "port": at[0], "level": 2, "timeout": 60}
    if len(at) > 1:
        inverter["http_port"] = at[1]
    folder.mkdir()
    path = folder / "config.yaml"
    path.write_text(
        yaml.safe_dump({"inverter": inverter, "collector": {"state_folder": str(folder / "state")}})
    )
    settings = load(path)
    return Application(settings, catalogue_for(settings, None))


async def read(application: Application) -> dict[str, object]:
    """What it shows of its next reading."""
    cycle = await application.collector.collect()
    assert cycle.snapshot is not None, cycle.error
    return {name: reading.value for name, reading in cycle.snapshot.shown().items()}


@pytest.fixture
async def recorded(tmp_path: Path) -> tuple[dict[str, object], Path]:
    """What a collector read from a simulated inverter, and the file of the dump that it made of it, without its serial."""
    inverter = Inverter("SH10RT", NOON)
    profile = inverter.profile
    device = Device(profile.model, profile.code, profile.serial, profile.hybrid)
    servers = await serve(inverter, device, inverter.faults, ["modbus"])
    application = collector(tmp_path / "first", servers, "modbus", ["modbus"])
    try:
        values = await read(application)
        document = await dump(application, parse_ranges("", application), redact=True)
    finally:
        await application.stop()
        await servers.stop()
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(document))
    return values, path


@pytest.mark.parametrize("connection", PORTS)
async def test_a_dump_is_served_on_every_port_and_read_alike(
    connection: str, recorded: tuple[dict[str, object], Path], tmp_path: Path
) -> None:
    before, path = recorded
    replay = Replay.load(path)
    servers = await serve(replay, replay.device, Faults(lambda: NOON), PORTS[connection])
    application = collector(tmp_path / "second", servers, connection, PORTS[connection])
    try:
        again = await read(application)
    finally:
        await application.stop()
        await servers.stop()
    assert len(before) > 100
    assert {name for name in before if before[name] != again.get(name)} == set()
    assert set(replay.device.serial) == {"X"}, "the owner's serial number is not in it"
