"""From a config file to readings, over real sockets."""

from __future__ import annotations

import asyncio
import sqlite3


async def test_a_hybrid_is_recognised_and_read(run, hybrid):
    application = run({"port": hybrid.port, "level": 2})
    cycle = await application.collector.collect()
    snapshot = cycle.snapshot
    assert snapshot is not None
    assert snapshot.identity.model == "SH10RT"
    assert snapshot.identity.serial == "A2290112345"
    values = {name: reading.value for name, reading in snapshot.shown().items()}
    assert values["device_type_code"] == "SH10RT"
    assert values["nominal_active_power"] == 10.0
    assert values["total_power_yields"] == 4567.8
    assert values["grid_frequency"] == 50.0
    assert values["load_power_hybrid"] == 1200
    assert values["export_to_grid"] == 1800
    assert values["import_from_grid"] == 0
    assert values["battery_level"] == 65.5
    assert values["total_reactive_power"] == -12
    assert values["run_state"] == "ON"
    assert values["timestamp"] == "2026-11-21 12:30:15"
    assert values["arm_software_version"] == "SAPPHIRE-H_B000.V000.P012"
    assert values["mppt_3_voltage"] is None, "a missing marker is absent, not zero"
    assert hybrid.most_open == 1


async def test_a_range_that_is_refused_costs_only_itself(run, hybrid):
    hybrid.holes.update(range(6100, 6700))
    application = run({"port": hybrid.port, "level": 2})
    first = await application.collector.collect()
    assert first.snapshot.value("battery_level") == 65.5
    before = len(hybrid.requests)
    second = await application.collector.collect()
    assert second.snapshot.value("battery_level") == 65.5
    asked = [r for r in hybrid.requests[before:] if 6100 <= r[1] < 6700]
    assert asked == [], "refused registers are not asked for again at once"


async def test_the_connection_is_closed_after_each_collection(run, hybrid, eventually):
    application = run({"port": hybrid.port})
    await application.collector.collect()
    await eventually(lambda: hybrid.open_now == 0)


async def test_an_inverter_that_is_off_at_the_start_is_found_later_without_a_restart(
    run, scripted, as_hybrid, eventually
):
    late = as_hybrid(scripted())
    await late.start()
    port = late.port
    await late.stop()
    application = run({"port": port, "scan_interval": 1, "timeout": 20})
    await application.start()
    await eventually(lambda: str(application.collector.state) == "offline")
    assert not application.collector.fresh()
    await late.start(port=port)
    application.collector.collect_soon()
    await eventually(lambda: application.collector.snapshot is not None)
    assert application.collector.snapshot.identity.model == "SH10RT"
    assert len(application.collector.snapshot.shown()) > 30
    await late.stop()


async def test_an_inverter_that_refuses_everything_is_offline_and_asked_again_each_time(run, hybrid):
    hybrid.fault = lambda frame: hybrid.wrap(frame, bytes((frame[7] | 0x80, 2)))
    application = run({"port": hybrid.port})
    for _ in range(3):
        cycle = await application.collector.collect()
        assert cycle.snapshot is None
    assert str(application.collector.state) == "offline"
    hybrid.fault = None
    cycle = await application.collector.collect()
    assert cycle.snapshot.identity.model == "SH10RT"
    assert len(cycle.snapshot.shown()) > 30


async def test_a_full_disk_is_logged_once_and_readings_are_still_shown(run, hybrid, caplog, monkeypatch):
    application = run({"port": hybrid.port})

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(application.ledger, "take", full)
    for _ in range(3):
        assert (await application.collector.collect()).snapshot is not None
    assert caplog.text.count("disk is full") == 1


async def test_collections_never_overlap(run, hybrid):
    application = run({"port": hybrid.port})
    await asyncio.gather(*(application.collector.collect() for _ in range(5)))
    assert hybrid.most_open == 1
    assert hybrid.connections == 5
