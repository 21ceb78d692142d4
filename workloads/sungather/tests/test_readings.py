"""Derived values, counters and the quarantine (acceptance points 33, 34, 35)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sungather.readings import derived, energy
from sungather.readings.derived import DailyCounters
from sungather.readings.quarantine import Quarantine
from sungather.readings.snapshot import Reading, Snapshot
from sungather.registers.scan import Identity

NOON = datetime(2026, 11, 21, 12, 0)


@pytest.mark.parametrize(
    ("values", "power"),
    [
        ({"meter_power": 250}, (0, 250)),
        ({"meter_power": -900}, (900, 0)),
        ({"export_power_hybrid": 1800}, (1800, 0)),
        ({"export_power_hybrid": -40}, (0, 40)),
        ({"meter_power": None, "export_power_hybrid": 5}, (5, 0)),
        ({"meter_power": None}, None),
        ({}, None),
    ],
)
def test_grid_power_has_the_right_sign_with_and_without_a_meter(values, power):
    assert derived.grid_power(values) == power


@pytest.mark.parametrize(
    ("values", "state"),
    [
        ({"start_stop": "Start", "work_state_1": "Run"}, "ON"),
        ({"start_stop": "Start", "work_state_1": "Derating Run"}, "ON"),
        ({"start_stop": "Start", "work_state_1": "Standby"}, "OFF"),
        ({"start_stop": "Stop", "work_state_1": "Run"}, "OFF"),
        ({"work_state_1": "Run"}, "ON"),
        ({"system_state": "Forced Run"}, "ON"),
        ({"system_state": "Initial Standby"}, "OFF"),
        ({"start_stop": "Start"}, "ON"),
        ({}, None),
    ],
)
def test_run_state_follows_the_state_of_the_moment(values, state):
    assert derived.run_state(values) == state


def clock(year=2026, month=11, day=21, hour=12, minute=30, second=5):
    return dict(zip(derived.CLOCK, (year, month, day, hour, minute, second), strict=True))


def test_the_inverters_clock_is_read_and_impossible_dates_are_none():
    assert derived.inverter_time(clock()) == datetime(2026, 11, 21, 12, 30, 5)
    assert derived.inverter_time(clock(month=13)) is None
    assert derived.inverter_time(clock(day=31)) is None
    assert derived.inverter_time(clock(year=0, month=0, day=0)) is None
    assert derived.inverter_time({**clock(), "year": None}) is None
    assert derived.inverter_time({}) is None


@given(st.fixed_dictionaries({name: st.one_of(st.none(), st.integers(0, 65535)) for name in derived.CLOCK}))
def test_no_date_crashes(values):
    derived.inverter_time(values)


def test_daily_energy_is_power_by_elapsed_time_not_by_the_interval():
    counters = DailyCounters()
    counters.add((1000, 0), 0, NOON, NOON)
    counters.add((1000, 0), 30, NOON, NOON)
    counters.add((1000, 500), 90, NOON, NOON)
    assert counters.exported == pytest.approx(1000 * 120 / 3600 / 1000)
    assert counters.imported == pytest.approx(500 * 90 / 3600 / 1000)


def test_daily_energy_survives_a_restart_and_says_nothing_of_the_time_between():
    counters = DailyCounters()
    counters.add((1000, 0), 30, NOON, NOON)
    again = DailyCounters(**counters.saved())
    again.add((1000, 0), 0, NOON + timedelta(hours=2), NOON + timedelta(hours=2))
    assert again.exported == counters.exported
    assert again.last_reset == counters.last_reset


def test_power_says_nothing_of_the_energy_of_hours_without_a_reading():
    counters = DailyCounters()
    counters.add((1000, 0), 30, NOON, NOON)
    before = counters.exported
    counters.add((1000, 0), 3600, NOON + timedelta(hours=1), NOON + timedelta(hours=1))
    assert counters.exported == before


@pytest.mark.parametrize(
    ("values", "watts"),
    [
        ({"battery_power": 800, "state_battery_charging": 1, "state_battery_discharging": 0}, 800),
        ({"battery_power": 800, "state_battery_charging": 0, "state_battery_discharging": 1}, -800),
        ({"battery_power": -800, "state_battery_charging": 0, "state_battery_discharging": 1}, -800),
        ({"battery_power_signed": -800}, 800),
        ({"battery_power_signed": 800}, -800),
        ({"battery_power": None}, None),
    ],
)
def test_battery_power_is_positive_while_charging_on_old_and_new_firmware(values, watts):
    readings = {name: Reading(name, value) for name, value in values.items()}
    snapshot = Snapshot("id", datetime(2026, 11, 21, tzinfo=UTC), Identity(None, ""), readings)
    assert energy.battery_power(snapshot) == watts


def test_daily_energy_starts_anew_at_local_midnight():
    counters = DailyCounters()
    late = datetime(2026, 11, 21, 23, 59, 50)
    counters.add((1000, 0), 30, late, late)
    early = datetime(2026, 11, 22, 0, 0, 20)
    counters.add((1000, 0), 30, early, early)
    assert counters.exported == pytest.approx(1000 * 30 / 3600 / 1000)
    assert counters.last_reset == "2026-11-22 00:00:20"


@pytest.mark.parametrize("hour_twice", ["2026-10-25 02:59:45", "2026-03-29 01:59:45"])
def test_a_change_of_daylight_saving_resets_nothing(hour_twice):
    counters = DailyCounters()
    before = datetime.fromisoformat(hour_twice)
    counters.add((1000, 0), 30, before, before)
    for after in (
        before - timedelta(hours=1) + timedelta(seconds=30),
        before + timedelta(hours=1, seconds=30),
    ):
        counters.add((1000, 0), 30, after, after)
    assert counters.exported == pytest.approx(3 * 1000 * 30 / 3600 / 1000)


@pytest.mark.parametrize("jump", [timedelta(days=-1), timedelta(days=400), timedelta(days=-9000)])
def test_a_clock_that_jumps_once_resets_nothing(jump):
    counters = DailyCounters()
    counters.add((1000, 0), 30, NOON, NOON)
    counters.add((1000, 0), 30, NOON + jump, NOON)
    counters.add((1000, 0), 30, NOON, NOON)
    assert counters.exported == pytest.approx(3 * 1000 * 30 / 3600 / 1000)


def test_days_without_the_collector_are_believed_when_the_machine_says_so_too():
    counters = DailyCounters()
    counters.add((1000, 0), 30, NOON, NOON)
    later = NOON + timedelta(days=5)
    counters.add((1000, 0), 0, later, later)
    assert counters.exported == 0


def accepts(quarantine, value, minutes, kind="total", rated=10000.0):
    return quarantine.accepts("e", kind, value, NOON + timedelta(minutes=minutes), 60.0, rated)


def test_a_lifetime_counter_that_falls_is_withheld_and_the_next_good_value_passes():
    quarantine = Quarantine()
    assert accepts(quarantine, 1000.0, 0)
    assert not accepts(quarantine, 0.0, 1)
    assert accepts(quarantine, 1000.1, 2)
    assert quarantine.withheld == 1


def test_a_jump_beyond_what_the_plant_can_do_is_withheld():
    quarantine = Quarantine()
    assert accepts(quarantine, 1000.0, 0)
    assert not accepts(quarantine, 6553.5, 1)
    assert accepts(quarantine, 1000.2, 2)


def test_a_counter_that_stays_at_its_new_value_is_believed_after_a_while():
    quarantine = Quarantine()
    accepts(quarantine, 1000.0, 0)
    verdicts = [accepts(quarantine, 5.0 + i / 10, i + 1) for i in range(5)]
    assert verdicts == [False, False, False, True, True]


def test_a_new_value_is_believed_though_the_program_starts_anew_for_each_reading():
    quarantine = Quarantine()
    accepts(quarantine, 1000.0, 0)
    verdicts = []
    for minute in range(1, 6):
        quarantine = Quarantine(json.loads(json.dumps(quarantine.saved())))
        verdicts.append(accepts(quarantine, 5.0 + minute / 10, minute))
    assert verdicts == [False, False, False, True, True]


def test_a_daily_counter_falls_at_midnight_and_only_then():
    quarantine = Quarantine()
    at_noon = datetime(2026, 11, 21, 12, 0)
    assert quarantine.accepts("d", "daily", 20.0, at_noon, 60, 10000)
    assert not quarantine.accepts("d", "daily", 0.0, at_noon + timedelta(minutes=1), 60, 10000)
    assert quarantine.accepts("d", "daily", 20.1, at_noon + timedelta(minutes=2), 60, 10000)
    assert quarantine.accepts("d", "daily", 0.0, datetime(2026, 11, 22, 0, 5), 60, 10000)


def test_hours_offline_do_not_make_the_next_value_suspect():
    quarantine = Quarantine()
    accepts(quarantine, 1000.0, 0)
    assert accepts(quarantine, 1080.0, 600)


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=50))
def test_a_counter_that_only_grows_as_it_may_is_never_withheld(steps):
    quarantine, value = Quarantine(), 100.0
    for minute, step in enumerate(steps):
        value += step
        assert accepts(quarantine, value, minute)
    again = Quarantine(quarantine.saved())
    assert accepts(again, value, len(steps))


async def test_a_string_inverter_with_a_meter(run, string_inverter):
    application = run({"port": string_inverter.port, "smart_meter": True})
    snapshot = (await application.collector.collect()).snapshot
    assert snapshot.identity.model == "SG10RT"
    assert (snapshot.value("import_from_grid"), snapshot.value("export_to_grid")) == (250, 0)
    assert snapshot.value("load_power") == 4250, "production plus what the meter imports"
    assert snapshot.value("total_power_yields") == 12345.6, "the more precise of the two registers"
    assert snapshot.value("run_state") == "ON"


async def test_a_string_inverter_without_a_meter_says_nothing_of_the_grid(run, string_inverter):
    application = run({"port": string_inverter.port})
    snapshot = (await application.collector.collect()).snapshot
    assert snapshot.value("import_from_grid") is None
    assert snapshot.readings["daily_import_from_grid"].quality == "absent"


async def test_an_unreadable_clock_costs_nothing_but_the_clock(run, hybrid, loop_clock):

    def no_clock(frame):
        address = int.from_bytes(frame[8:10], "big") + 1
        refused = frame[7] == 3 and address < 5006
        return hybrid.wrap(frame, bytes((0x83, 2))) if refused else hybrid.answer(frame)

    hybrid.fault = no_clock
    application = run({"port": hybrid.port}, clock=loop_clock())
    snapshot = (await application.collector.collect()).snapshot
    assert snapshot.value("timestamp") == "2026-11-21 12:00:00"
    assert snapshot.value("export_power_hybrid") == 1800


async def test_an_unknown_type_code_is_read_as_its_family_with_a_warning(run, hybrid, caplog):
    hybrid.input[5000] = 0x0E77
    application = run({"port": hybrid.port})
    snapshot = (await application.collector.collect()).snapshot
    assert snapshot.identity.model == "unknown-0x0E77"
    assert snapshot.value("battery_level") == 65.5
    assert "0x0E77" in caplog.text


async def test_another_inverter_at_the_same_address_is_noticed(run, hybrid, caplog):
    application = run({"port": hybrid.port})
    await application.collector.collect()
    hybrid.input[5000] = 0x0E00
    snapshot = (await application.collector.collect()).snapshot
    assert snapshot.identity.model == "SH5.0RT"
    assert "changed from SH10RT to SH5.0RT" in caplog.text


async def test_an_impossible_counter_is_flagged_and_not_published(run, hybrid):
    application = run({"port": hybrid.port})
    await application.collector.collect()
    hybrid.input[13037] = hybrid.input[13038] = 0
    snapshot = (await application.collector.collect()).snapshot
    reading = snapshot.readings["total_import_energy"]
    assert (reading.value, reading.quality, reading.withheld) == (None, "suspect", 0.0)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
async def test_every_level_works_and_a_higher_one_gives_more(run, hybrid, level):
    application = run({"port": hybrid.port, "level": level})
    names = set((await application.collector.collect()).snapshot.shown())
    assert {"device_type_code", "daily_power_yields", "run_state", "timestamp"} <= names
    assert ("system_state" in names) == (level >= 2)
    assert ("battery_level" in names) == (level >= 1)
    assert ("mppt_1_voltage" in names) == (level >= 2)
    assert ("string_1_current" in names) == (level >= 3)


@pytest.mark.parametrize("level", [0, 1, 2, 3])
async def test_a_hybrid_tells_whether_it_runs_at_every_level(run, hybrid, level):
    hybrid.holding[5006] = 0  # hybrids have their switch elsewhere
    application = run({"port": hybrid.port, "level": level})
    assert (await application.collector.collect()).snapshot.value("run_state") == "ON"
    hybrid.input[13000] = 0x8
    assert (await application.collector.collect()).snapshot.value("run_state") == "OFF"


@pytest.mark.parametrize(
    ("first", "second", "shown"), [(500, 0xFFFF, 50.0), (500, 4998, 49.98), (0xFFFF, 4998, 49.98)]
)
async def test_of_two_registers_with_one_name_the_last_that_has_a_value_wins(
    run, hybrid, first, second, shown
):
    hybrid.input.update({5036: first, 5242: second})
    application = run({"port": hybrid.port, "level": 2})
    assert (await application.collector.collect()).snapshot.value("grid_frequency") == shown


@pytest.mark.parametrize(
    ("code", "shown"), [(0, "No alarm"), (432, "PID resistance abnormal"), (0xFFFF, None)]
)
async def test_the_time_of_an_alarm_is_told_only_when_there_is_one(run, string_inverter, code, shown):
    string_inverter.input[5151] = code
    string_inverter.input.update({5039 + at: part for at, part in enumerate((2026, 11, 20, 7, 5, 9))})
    application = run({"port": string_inverter.port, "level": 3})
    snapshot = (await application.collector.collect()).snapshot
    assert snapshot.value("pid_alarm_code") == shown
    assert snapshot.value("alarm_timestamp") == ("2026-11-20 07:05:09" if code == 432 else None)


async def test_a_hybrids_house_is_what_it_says_itself_also_under_the_name_of_string_inverters(run, hybrid):
    put = {13008: 56, 13009: 0, 13010: (-138) & 0xFFFF, 13011: 0xFFFF, 13034: (-82) & 0xFFFF, 13035: 0xFFFF}
    hybrid.input.update(put)  # as a real SH8.0RT-20 said: 629 W of sun, 716 W into the battery
    application = run({"port": hybrid.port, "smart_meter": True})
    snapshot = (await application.collector.collect()).snapshot
    assert (snapshot.value("load_power"), snapshot.value("meter_power")) == (56, 138)


@pytest.mark.parametrize(("model", "doubted"), [("SG110CX", 1), ("SH10RT", 0), ("sh10rt", 0)])
async def test_a_model_in_the_config_that_is_not_the_inverters_is_doubted_once(
    run, hybrid, caplog, model, doubted
):
    application = run({"port": hybrid.port, "model": model})
    for _ in range(3):
        await application.collector.collect()
    assert (
        caplog.text.count(f"the config file says model: {model}, the inverter says it is SH10RT") == doubted
    )
