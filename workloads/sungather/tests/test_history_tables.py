"""The tables in which hybrids keep their history: the value of the period under way is read (S15; vendor's document)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from sungather.api.dump import dump, parse_ranges
from sungather.api.pages import upstream_json
from sungather.registers.catalogue import built_in
from sungather.registers.history import Period
from sungather.registers.plan import AdaptivePlan
from sungather.registers.register import Kind

TABLES = {
    "pv_power_of_today": (6100, 1, 1),
    "daily_pv_energy_yields": (6196, 1, 0.1),
    "monthly_pv_energy_yields": (6227, 1, 0.1),
    "yearly_pv_energy_yields": (6250, 2, 0.1),
    "battery_charge_power_from_pv_today": (6648, 1, 1),
}
"""Name: first address, words a value, scale."""


def fill(inverter) -> None:
    """The table's n-th value says n; years are too large for 16 bits."""
    for first, words, _ in TABLES.values():
        for n in range(96 if first in (6100, 6648) else 20 if words == 2 else 31 if first == 6196 else 12):
            inverter.input[first + n * words] = n
            if words == 2:
                inverter.input[first + n * words + 1] = 1


def set_clock(inverter, moment: datetime) -> None:
    for address, part in enumerate(moment.timetuple()[:6], 5000):
        inverter.holding[address] = part


async def values(application) -> dict[str, float]:
    snapshot = (await application.collector.collect()).snapshot
    return {name: snapshot.value(name) for name in TABLES}


async def test_the_quarter_hour_day_month_and_year_under_way_are_read(run, hybrid):
    fill(hybrid)
    application = run({"port": hybrid.port, "level": 2})
    set_clock(hybrid, datetime(2026, 11, 21, 12, 30, 15))
    assert await values(application) == {
        "pv_power_of_today": 50,
        "daily_pv_energy_yields": 2.0,
        "monthly_pv_energy_yields": 1.0,
        "yearly_pv_energy_yields": pytest.approx((0x10000 + 11) * 0.1),
        "battery_charge_power_from_pv_today": 50,
    }


async def test_they_move_on_with_the_inverters_clock(run, hybrid, loop_clock):
    fill(hybrid)
    clock = loop_clock(start=datetime(2026, 12, 31, 12, 44, tzinfo=UTC))
    application = run({"port": hybrid.port, "level": 2}, clock=clock)
    set_clock(hybrid, datetime(2026, 12, 31, 23, 44))  # an owner far to the east of this machine's zone
    before = await values(application)
    clock.shift += 16 * 60
    set_clock(hybrid, datetime(2027, 1, 1, 0, 0))
    after = await values(application)
    assert [before[n] for n in ("pv_power_of_today", "daily_pv_energy_yields")] == [94, 3.0]
    assert [after[n] for n in ("pv_power_of_today", "daily_pv_energy_yields")] == [0, 0.0]
    assert after["monthly_pv_energy_yields"] == 0.0
    assert after["yearly_pv_energy_yields"] - before["yearly_pv_energy_yields"] == pytest.approx(0.1)


async def test_without_the_inverters_clock_this_machines_local_time_counts(run, hybrid, loop_clock):
    fill(hybrid)
    for address in range(5000, 5006):
        del hybrid.holding[address]  # reads as missing
    east = timezone(timedelta(hours=9))
    clock = loop_clock(start=datetime(2026, 11, 30, 20, 20, tzinfo=UTC), zone=east)
    found = await values(run({"port": hybrid.port, "level": 2}, clock=clock))
    assert (found["pv_power_of_today"], found["daily_pv_energy_yields"]) == (21, 0.0)


async def test_people_see_the_table_at_its_first_address(run, hybrid):
    fill(hybrid)
    application = run({"port": hybrid.port, "level": 2})
    await application.collector.collect()
    registers = upstream_json(application)["registers"]
    assert registers["6100"]["register"] == "pv_power_of_today"
    assert registers["6648"]["unit"] == "W"


async def test_a_dump_has_whole_tables(run, hybrid):
    fill(hybrid)
    application = run({"port": hybrid.port})
    document = await dump(application, parse_ranges("", application), redact=False)
    for first, last in ((6100, 6238), (6250, 6468), (6648, 6826)):
        assert all(str(address) in document["input"] for address in range(first, last + 1))


def test_what_was_refused_stays_refused_when_the_table_moves_on():
    power = next(r for r in built_in().registers if r.name == "pv_power_of_today")
    plan = AdaptivePlan([power], 125)
    plan.on_refusal(plan.reads(0)[0], 0)
    plan.at(datetime(2026, 11, 21, 12, 30))
    assert plan.reads(1) == []
    (read,) = plan.reads(4000)
    assert (read.kind, read.address, read.count) == (Kind.INPUT, 6150, 1)


@pytest.mark.parametrize("year", [2000, 2015, 2034, 2099])
@pytest.mark.parametrize("period", Period)
def test_no_time_points_outside_its_table(period, year):
    for moment in (datetime(year, 1, 1), datetime(year, 12, 31, 23, 59, 59)):
        assert 0 <= period.position(moment) < period.values


async def test_a_meter_that_a_hybrid_lacks_is_absent_though_its_words_are_ones(run, hybrid):
    """As dumps of an SH8.0RT-20 show: SunGather's smart_meter asks hybrids for the string inverters' meter, too."""
    application = run({"port": hybrid.port, "level": 2, "smart_meter": True})
    snapshot = (await application.collector.collect()).snapshot
    assert (snapshot.value("export_to_grid"), snapshot.value("import_from_grid")) == (1800, 0)
    assert snapshot.value("meter_power") == -1800
    assert snapshot.value("load_power") == 1200
    assert snapshot.value("reactive_power_adjustment") is None
    assert snapshot.value("total_reactive_power") == -12
