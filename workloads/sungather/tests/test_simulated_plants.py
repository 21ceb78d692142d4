"""What flows at the grid connection and into the house, against the true state of the simulated plant; dumps replayed."""

from __future__ import annotations

import json
from datetime import datetime

import pytest

from sungather.api.dump import dump, parse_ranges
from sungather.readings import energy
from sungather.transports.transport import Refusal, one_by_one
from sungrow_simulator.dumps import Replay
from sungrow_simulator.inverter import Inverter

HYBRIDS = "SH5.0RS", "SH5.0RT", "SH10RT", "SH15T", "unknown"
METERED = "SG5.0RS", "SG10RT", "SG10KTL"
WITHOUT_METER = "SG5K-D", "SG110CX"
BEFORE_DAWN, MORNING, EVENING = 4, 9, 20


class Direct:
    """A transport without a wire: asks the simulated inverter itself."""

    name, max_words = "direct", 125

    def __init__(self, inverter: Inverter | Replay) -> None:
        self._inverter = inverter

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def read(self, kind, address, count):
        words = self._inverter.read(str(kind), address, count)
        if words is None:
            raise Refusal(2)
        return words

    async def read_all(self, asked):
        return await one_by_one(self, asked)


def plant(profile: str, hour: int) -> Inverter:
    """A simulated inverter at an hour of a day in June."""
    return Inverter(profile, datetime(2026, 6, 21, hour))


async def collected(run, inverter, level, meter):
    application = run({"level": level, "smart_meter": meter}, new_transport=lambda _: Direct(inverter))
    return (await application.collector.collect()).snapshot


@pytest.mark.parametrize("hour", [BEFORE_DAWN, MORNING, EVENING])
@pytest.mark.parametrize("level", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("profile", "meter"),
    [(profile, meter) for profile in HYBRIDS for meter in (False, True)] + [(p, True) for p in METERED],
)
async def test_grid_and_house_are_those_of_the_plant(run, profile, meter, level, hour):
    inverter = plant(profile, hour)
    truth = inverter.plant.flows
    snapshot = await collected(run, inverter, level, meter)
    power = energy.power(snapshot)
    assert (power["grid"], power["load"]) == (-truth.export_w, truth.load_w)
    shown = {name: reading.value for name, reading in snapshot.shown().items()}
    if level == 0:
        assert "export_to_grid" not in shown, "as upstream"
        return
    assert shown["export_to_grid"] == max(truth.export_w, 0)
    assert shown["import_from_grid"] == max(-truth.export_w, 0)
    if meter:
        assert (shown["meter_power"], shown["load_power"]) == (-truth.export_w, truth.load_w)


@pytest.mark.parametrize("meter", [False, True])
@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("profile", [*METERED, *WITHOUT_METER])
async def test_what_no_meter_tells_is_absent_and_never_zero(run, profile, level, meter):
    inverter = plant(profile, MORNING)
    snapshot = await collected(run, inverter, level, meter)
    exported, imported = snapshot.value("export_to_grid"), snapshot.value("import_from_grid")
    if profile in WITHOUT_METER:
        assert exported is imported is None
        assert energy.power(snapshot)["load"] is None
    else:
        assert exported in (None, inverter.plant.flows.export_w)


@pytest.mark.parametrize("profile", ["SH10RT", "SG110CX", "unknown"])
async def test_a_dump_replayed_by_the_simulator_reads_as_the_inverter_did(run, profile):
    inverter = plant(profile, MORNING)
    original = run({"level": 2}, new_transport=lambda _: Direct(inverter))
    before = (await original.collector.collect()).snapshot
    document = await dump(original, parse_ranges("", original), redact=True)
    await original.stop()
    replay = Replay(json.loads(json.dumps(document)))
    after = await collected(run, replay, 2, False)
    assert after.identity.serial == "X" * len(before.identity.serial), (
        "the serial number is nobody's business"
    )
    differing = {n for n, r in before.readings.items() if after.value(n) != r.value}
    assert differing <= {"serial_number", "last_reset"}
