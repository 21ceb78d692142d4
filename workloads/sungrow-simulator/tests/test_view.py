"""View: what a person sees of a day."""

from __future__ import annotations

from datetime import datetime

from sungrow_simulator.inverter import Inverter
from sungrow_simulator.simulation import Model
from sungrow_simulator.view import BAR, balance, bar, chart, curve

MIDSUMMER = datetime(2026, 6, 21)


def picture(model: str, hours: float) -> str:
    subject = Model(Inverter(model, MIDSUMMER))
    for _ in range(int(hours * 4)):
        subject.advance(900)
    return "\n".join(subject.screen())


def test_at_noon_the_sun_is_up_and_the_curves_end_there() -> None:
    rows = picture("SH10RT", 12).split("\n")
    assert "Sun 21 Jun 2026  12:00" in rows[0]
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
    text = "\n".join(subject.screen())
    assert "Mon 22 Jun" in text
    sun = text.split("  sun ")[2].split("\x1b[33m")[1].split("\x1b[0m")[0]
    assert len(sun.strip()) == 1


def test_a_model_without_battery_shows_none() -> None:
    assert "battery" not in picture("SG10RT", 1)
    assert "battery" in picture("SH5.0RS", 1)


def test_faults_are_shown_as_scheduled_and_then_counted() -> None:
    subject = Model(Inverter("SH10RT", MIDSUMMER))
    subject.faults.add("silent", times=1)
    assert "faults scheduled: silent" in "\n".join(subject.screen())
    subject.faults.on_request("modbus", 4)
    text = "\n".join(subject.screen())
    assert "scheduled" not in text
    assert "1 request on 0 connections; faults: silent 1" in text


def test_bars_and_curves_stay_within_their_columns() -> None:
    assert {len(bar(share / 100)) for share in range(-10, 150)} == {BAR}
    assert bar(0).count("█") == 0
    assert bar(2) == "█" * BAR
    assert curve([None, 0, 5, 10, 99], 10) == " ▁▄██"


def test_a_chart_is_as_high_as_its_rows_and_never_empty_where_something_was() -> None:
    assert chart([None, 0, 5, 10, 99], 10, 2) == ["   ██", " ▁███"]


def test_the_balance_agrees_as_it_is_shown() -> None:
    subject = Model(Inverter("SH10RT", MIDSUMMER))
    subject.advance(86_400)
    came, went = (
        sum(float(word) for word in side.split() if word[0].isdigit())
        for side in balance(subject.inverter.plant.energy.total).removesuffix(" kWh").split(" = ")
    )
    assert abs(came - went) < 0.01
    assert "battery" in balance(subject.inverter.plant.energy.total)
    assert "battery" not in Model(Inverter("SG10RT", MIDSUMMER)).summary()
