"""A dump that the collector makes is served by the simulator, and read again it gives the same readings."""

from __future__ import annotations

from datetime import datetime

import pytest

from sungather.api.dump import dump, parse_ranges
from sungrow_simulator.dumps import Replay
from sungrow_simulator.faults import Faults
from sungrow_simulator.inverter import Inverter
from sungrow_simulator.wire.answers import Answers
from sungrow_simulator.wire.modbus import ModbusTcp

NOON = datetime(2026, 6, 21, 12)


@pytest.mark.parametrize("profile", ["SH10RT", "SG10RT", "SG110CX"])
async def test_a_dump_of_the_collector_is_replayed_and_read_alike(run, tmp_path, profile):
    inverter = Inverter(profile, NOON)
    live = ModbusTcp(Answers(inverter), inverter.faults)
    await live.start()
    application = run({"port": live.port, "level": 3})
    first = (await application.collector.collect()).snapshot
    document = await dump(application, parse_ranges("", application), redact=False)
    await live.stop()

    replay = Replay(document)
    again = ModbusTcp(Answers(replay, (replay.unit,)), Faults(lambda: NOON))
    await again.start()
    other = run({"port": again.port, "level": 3}, state_folder=str(tmp_path / "other"))
    second = (await other.collector.collect()).snapshot
    await again.stop()

    assert replay.device.serial == inverter.profile.serial
    shown = [{name: reading.value for name, reading in s.shown().items()} for s in (first, second)]
    assert len(shown[0]) > 20
    assert shown[0] == shown[1]
