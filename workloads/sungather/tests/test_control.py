"""Guarded control (issue 4, point 4; section 3 of the specification)."""

from __future__ import annotations

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
    assert (await read["control"]({}))["active"]["what"] == "battery charge"
    await change["revert-control"]({})
    assert battery(hybrid) == [0, 0xCC, 0]
    state = await read["control"]({})
    assert state["active"] is None
    assert [e["what"] for e in state["log"]] == ["battery charge", "reverted: asked to"]


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
