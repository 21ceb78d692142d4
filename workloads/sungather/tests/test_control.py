"""Guarded control (issue 4, point 4; section 3 of the specification)."""

from __future__ import annotations

import asyncio

import pytest

from sungather.api.actions import Actions
from sungather.api.parameters import ActionError


@pytest.fixture
async def controlled(run, hybrid):
    application = run({"port": hybrid.port}, allow_control=True)
    await application.collector.collect()
    actions = Actions(application)
    return application, actions.changing, actions.reading


def battery(hybrid):
    return [hybrid.holding[a] for a in (13050, 13051, 13052)]


def writes(hybrid):
    return [r for r in hybrid.requests if r[0] in (6, 16)]


async def test_control_is_off_unless_enabled_twice(run, hybrid):
    application = run({"port": hybrid.port})
    await application.collector.collect()
    with pytest.raises(ActionError, match="allow_control"):
        await Actions(application).changing["set-battery-mode"]({"mode": "hold", "confirm": True})
    assert writes(hybrid) == []


async def test_without_confirm_nothing_is_written(controlled, hybrid):
    _, change, _ = controlled
    with pytest.raises(ActionError, match="confirm"):
        await change["set-battery-mode"]({"mode": "charge", "power": 2000})
    assert writes(hybrid) == []


async def test_a_dry_run_tells_and_writes_nothing(controlled, hybrid):
    _, change, _ = controlled
    result = await change["set-battery-mode"]({"mode": "charge", "power": 2000, "dry-run": True})
    assert result["before"] == {"ems_mode": 0, "command": 0xCC, "power": 0}
    assert result["after"] == {"ems_mode": 2, "command": 0xAA, "power": 2000}
    assert writes(hybrid) == []


async def test_a_forced_charge_is_written_read_back_and_reverted(controlled, hybrid):
    _, change, read = controlled
    result = await change["set-battery-mode"](
        {"mode": "charge", "power": 2500, "minutes": 30, "confirm": True}
    )
    assert result["after"] == {"ems_mode": 2, "command": 0xAA, "power": 2500}
    assert battery(hybrid) == [2, 0xAA, 2500]
    assert (await read["control"]({}))["active"]["battery"]["what"] == "battery charge"
    await change["revert-control"]({})
    assert battery(hybrid) == [0, 0xCC, 0]
    state = await read["control"]({})
    assert state["active"] == {}
    assert [e["what"] for e in state["log"]] == ["battery charge", "reverted battery: asked to"]


async def test_limits_come_from_the_inverters_rating(controlled, hybrid):
    _, change, _ = controlled
    for wrong in ({"power": 10001}, {"power": -1}, {"power": "all"}, {}, {"power": 100, "minutes": 9999}):
        with pytest.raises(ActionError):
            await change["set-battery-mode"]({"mode": "charge", "confirm": True, **wrong})
    with pytest.raises(ActionError, match="allowed: self-consumption"):
        await change["set-battery-mode"]({"mode": "explode", "confirm": True})
    assert writes(hybrid) == []


async def test_an_export_limit_is_set_and_what_was_there_comes_back(controlled, hybrid):
    _, change, _ = controlled
    await change["set-export-limit"]({"power": 3000, "confirm": True})
    assert (hybrid.holding[13074], hybrid.holding[13087]) == (3000, 0xAA)
    await change["set-export-limit"]({"power": 1000, "confirm": True})
    await change["revert-control"]({})
    assert (hybrid.holding[13074], hybrid.holding[13087]) == (10000, 0x55), "as before the first of the two"


async def test_a_string_inverter_has_nothing_to_control(run, string_inverter):
    application = run({"port": string_inverter.port}, allow_control=True)
    await application.collector.collect()
    with pytest.raises(ActionError, match="not a hybrid"):
        await Actions(application).changing["set-battery-mode"]({"mode": "hold", "confirm": True})


async def test_stopping_the_collector_reverts(run, hybrid):
    application = run({"port": hybrid.port}, allow_control=True)
    await application.collector.collect()
    await Actions(application).changing["set-battery-mode"](
        {"mode": "discharge", "power": 900, "confirm": True}
    )
    await application.stop()
    assert battery(hybrid) == [0, 0xCC, 0]


async def test_the_time_limit_outlives_a_crash(run, hybrid, loop_clock, eventually):
    clock = loop_clock()
    first = run({"port": hybrid.port}, allow_control=True, clock=clock)
    await first.collector.collect()
    actions = Actions(first)
    await actions.changing["set-battery-mode"](
        {"mode": "charge", "power": 900, "minutes": 5, "confirm": True}
    )
    left = first.ledger.fact("control")
    await first.stop()
    hybrid.holding.update({13050: 2, 13051: 0xAA, 13052: 900})  # as a crash would have left it

    clock.shift = 600
    again = run({"port": hybrid.port}, allow_control=True, clock=clock)
    again.ledger.remember("control", left)
    Actions(again)
    await again.start()
    await eventually(lambda: battery(hybrid) == [0, 0xCC, 0])


async def test_a_charge_ends_at_the_state_of_charge_that_was_asked_for(
    controlled, hybrid, eventually, monkeypatch
):
    monkeypatch.setattr("sungather.api.control._LOOK_EVERY", 0.05)
    application, change, _ = controlled
    await change["set-battery-mode"]({"mode": "charge", "power": 900, "soc": 80, "confirm": True})
    hybrid.input[13023] = 799
    await application.collector.collect()
    await asyncio.sleep(0.2)
    assert battery(hybrid) == [2, 0xAA, 900], "79.9 % is not there yet"
    hybrid.input[13023] = 800
    await application.collector.collect()
    await eventually(lambda: battery(hybrid) == [0, 0xCC, 0])


async def test_each_kind_of_action_reverts_at_its_own_time(run, hybrid, loop_clock, eventually, monkeypatch):
    monkeypatch.setattr("sungather.api.control._LOOK_EVERY", 0.05)
    clock = loop_clock()
    application = run({"port": hybrid.port}, allow_control=True, clock=clock)
    await application.collector.collect()
    change = Actions(application).changing
    await change["set-export-limit"]({"power": 3000, "minutes": 5, "confirm": True})
    await change["set-battery-mode"]({"mode": "hold", "minutes": 120, "confirm": True})
    clock.shift = 6 * 60
    await eventually(lambda: (hybrid.holding[13074], hybrid.holding[13087]) == (10000, 0x55))
    assert hybrid.holding[13050] == 2, "the battery's two hours are not over"
    clock.shift = 121 * 60
    await eventually(lambda: hybrid.holding[13050] == 0)


async def test_a_write_that_fails_half_way_is_taken_back(controlled, hybrid, eventually, monkeypatch):
    monkeypatch.setattr("sungather.api.control._LOOK_EVERY", 0.05)
    _, change, read = controlled

    def no_power(frame):
        refused = frame[7] == 6 and int.from_bytes(frame[8:10], "big") + 1 == 13052
        return hybrid.wrap(frame, bytes((0x86, 4))) if refused else hybrid.answer(frame)

    hybrid.fault = no_power
    with pytest.raises(ActionError, match="taken back"):
        await change["set-battery-mode"]({"mode": "charge", "power": 900, "confirm": True})
    await eventually(lambda: battery(hybrid)[:2] == [0, 0xCC])
    hybrid.fault = None
    assert (await read["control"]({}))["active"] == {}


async def test_the_batterys_own_limit_counts(controlled, hybrid):
    _, change, _ = controlled
    hybrid.holding[33047] = 300
    with pytest.raises(ActionError, match="at most 3000 W"):
        await change["set-battery-mode"]({"mode": "charge", "power": 3001, "confirm": True})
    assert writes(hybrid) == []
    assert (await change["set-battery-mode"]({"mode": "charge", "power": 3000, "confirm": True}))["as_asked"]


async def test_an_inverter_that_takes_another_value_is_reported(controlled, hybrid):
    _, change, _ = controlled

    def stubborn(frame):
        reply = hybrid.answer(frame)
        hybrid.holding[13050] = 0
        return reply

    hybrid.fault = stubborn
    told = await change["set-battery-mode"]({"mode": "hold", "confirm": True})
    assert (told["as_asked"], told["after"]["ems_mode"]) == (False, 0)
    with pytest.raises(ActionError, match="go with charge"):
        await change["set-battery-mode"]({"mode": "hold", "power": 5, "confirm": True})
