"""View: what a person sees of a day."""

from __future__ import annotations

from datetime import datetime

from sungrow_simulator.inverter import Inverter
from sungrow_simulator.simulation import Model
from sungrow_simulator.view import BAR, bar, curve

MIDSUMMER = datetime(2026, 6, 21)


def picture(model: str, hours: float) -> str:
    subject = Model(Inverter(model, MIDSUMMER))
    for _ in range(int(hours * 4)):
        subject.advance(900)
    return "\n".join(subject.screen(60, "modbus 127.0.0.1:502"))


def test_at_noon_the_sun_is_up_and_the_curves_end_there() -> None:
    rows = picture("SH10RT", 12).split("\n")
    assert "Sunday 21 June 2026  12:00" in rows[0]
    sun = next(row for row in rows if row.startswith("  sun") and "▁" in row)
    drawn = sun.split("\x1b[33m")[1].split("\x1b[0m")[0]
    assert len(drawn) == 48
    assert drawn[:4].strip("▁") == "", "night"
    assert drawn[23] in "▄▅▆▇█"
    assert drawn[30:].strip() == "", "the afternoon has not been"


def test_a_new_day_begins_with_empty_curves() -> None:
    subject = Model(Inverter("SH10RT", MIDSUMMER))
    for _ in range(4 * 24 + 1):
        subject.advance(900)
    text = "\n".join(subject.screen(60, ""))
    assert "Monday 22 June" in text
    sun = text.split("  sun ")[2].split("\x1b[33m")[1].split("\x1b[0m")[0]
    assert len(sun.strip()) == 1


def test_a_model_without_battery_shows_none() -> None:
    assert "battery" not in picture("SG10RT", 1)
    assert "battery" in picture("SH5.0RS", 1)


def test_faults_are_shown_as_scheduled_and_then_counted() -> None:
    subject = Model(Inverter("SH10RT", MIDSUMMER))
    subject.faults.add("silent", times=1)
    assert "faults scheduled: silent" in "\n".join(subject.screen(1, ""))
    subject.faults.on_request("modbus", 4)
    text = "\n".join(subject.screen(1, ""))
    assert "scheduled" not in text
    assert "1 requests on 0 connections; faults: silent 1" in text


def test_bars_and_curves_stay_within_their_columns() -> None:
    assert {len(bar(share / 100)) for share in range(-10, 150)} == {BAR}
    assert bar(0).count("█") == 0
    assert bar(2) == "█" * BAR
    assert curve([None, 0, 5, 10, 99], 10) == " ▁▄██"
