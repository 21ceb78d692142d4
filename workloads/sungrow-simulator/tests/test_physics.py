"""Energies add up, for every model, day and seed, as read from the registers by an independent reader."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sungrow_simulator.inverter import Inverter
from sungrow_simulator.profiles import all_profiles

START = datetime(2026, 6, 1)
HYBRIDS = [name for name, found in all_profiles().items() if found.hybrid]
STRINGS = [name for name, found in all_profiles().items() if not found.hybrid]


class Reader:
    """Decodes registers by address alone, knowing nothing of how the simulator makes them."""

    def __init__(self, inverter: Inverter) -> None:
        self.inverter = inverter

    def word(self, address: int, table: str = "input") -> int:
        words = self.inverter.read(table, address, 1)
        assert words is not None, f"{table} {address} is refused"
        return words[0]

    def signed(self, address: int) -> int:
        word = self.word(address)
        return word - 0x10000 if word & 0x8000 else word

    def long(self, address: int) -> int:
        return self.word(address) | self.word(address + 1) << 16

    def signed_long(self, address: int) -> int:
        value = self.long(address)
        return value - (1 << 32) if value & 1 << 31 else value

    def inputs(self) -> list[tuple[float, float]]:
        """Volts and amperes of the MPPT inputs that there are."""
        pairs = [
            (self.word(a), self.word(a + 1)) for a in (5011, 5013, 5015, 5115, 5117, 5119, 5121, 5123, 5130)
        ]
        return [(v / 10, a / 10) for v, a in pairs if v != 0xFFFF]


def check_modules(reader: Reader, inputs: int) -> int:
    found = reader.inputs()
    assert len(found) == inputs
    dc = reader.long(5017)
    # Volts and amperes are shown to a tenth.
    tolerance = sum(0.05 * volts + 0.05 * amperes + 1 for volts, amperes in found)
    assert abs(dc - sum(volts * amperes for volts, amperes in found)) <= tolerance
    return dc


def check_hybrid(reader: Reader, inputs: int) -> None:
    pv = check_modules(reader, inputs)
    ac, load, export = reader.signed_long(13034), reader.signed_long(13008), reader.signed_long(13010)
    battery, magnitude, bits = reader.signed_long(5214), reader.signed(13022), reader.word(13001)
    assert ac == load + export
    assert reader.signed_long(5601) == -export
    assert sum(reader.signed_long(a) for a in (5603, 5605, 5607) if reader.long(a) != 0x7FFFFFFF) == -export
    direct = pv + battery
    if direct >= 0:
        assert 0 <= ac <= direct
        assert ac >= 0.97 * direct - 20
    else:
        assert direct >= 0.97 * ac - 20  # what is taken from the grid is more than what arrives
    assert magnitude == abs(battery)
    assert bool(bits & 0x02) == (battery < 0)
    assert bool(bits & 0x04) == (battery > 0)
    assert bool(bits & 0x01) == (pv > 0)
    assert bool(bits & 0x10) == (export > 0)
    assert bool(bits & 0x20) == (export < 0)
    assert 0 <= reader.word(13023) <= 1000


def check_string(reader: Reader, inputs: int) -> None:
    pv = check_modules(reader, inputs)
    ac = reader.long(5031)
    assert 0 <= ac <= pv
    assert ac <= 100 * reader.word(5001)


CHECKS = {True: check_hybrid, False: check_string}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(list(all_profiles())),
    day=st.integers(0, 364),
    hour=st.integers(0, 20),
    seed=st.integers(0, 10_000),
    latitude=st.floats(-60, 60),
)
def test_every_moment_of_any_day_balances(name: str, day: int, hour: int, seed: int, latitude: float) -> None:
    begin = START + timedelta(days=day, hours=hour)
    inverter = Inverter(name, begin, seed, latitude=latitude)
    reader = Reader(inverter)
    for _ in range(60):
        inverter.advance(193)
        CHECKS[inverter.profile.hybrid](reader, len(inverter.profile.peak_w))


@pytest.mark.parametrize("name", ["SH10RT", "SG10RT"])
def test_counters_are_the_integral_of_what_was_shown(name: str) -> None:
    inverter = Inverter(name, START + timedelta(hours=11))
    reader = Reader(inverter)
    power, counter = (5017, 13003) if inverter.profile.hybrid else (5031, 5144)
    joules, first = 0, reader.long(counter)
    for _ in range(720):
        inverter.advance(5)
        joules += 5 * reader.long(power)
    assert joules > 5 * 3.6e6
    assert abs(joules / 3.6e6 - (reader.long(counter) - first) / 10) <= 0.11


def test_daily_counters_begin_anew_at_midnight_and_totals_only_grow() -> None:
    inverter = Inverter("SH10RT", START)
    reader = Reader(inverter)
    before, days = {"total": 0, "today": 0}, 0
    for _ in range(2 * 48):
        inverter.advance(1800)
        today, total = reader.word(13002), reader.long(13003)
        assert total >= before["total"]
        if today < before["today"]:
            days += 1
            assert inverter.now.hour == 0
            assert today == 0
        before = {"total": total, "today": today}
    assert days == 2
    assert before["total"] > 200  # 20 kWh in two days of June


def test_the_history_of_today_adds_up_to_today() -> None:
    inverter = Inverter("SH10RT", START)
    reader = Reader(inverter)
    inverter.advance(20 * 3600)
    quarters = sum(reader.word(6100 + at) for at in range(96)) / 4 / 1000
    assert quarters == pytest.approx(reader.word(13002) / 10, abs=0.15)
    assert reader.word(6196) == reader.word(13002)  # the first of the month
    assert reader.word(6197) == 0
    assert reader.word(6227 + 5) == reader.word(13002)  # the sixth month
    assert reader.long(6250 + 2 * (2026 - 2015)) == reader.word(13002)
    charged = sum(reader.word(6648 + at) for at in range(96)) / 4 / 1000
    assert charged == pytest.approx(reader.word(13012) / 10, abs=0.15)


def test_a_new_month_and_year_begin_anew_and_keep_the_totals() -> None:
    inverter = Inverter("SH10RT", datetime(2026, 12, 31, 9))
    reader = Reader(inverter)
    inverter.advance(14 * 3600)
    made = reader.word(13002)
    assert made > 0
    assert reader.word(6196 + 30) == reader.word(6227 + 11) == reader.long(6250 + 22) == made
    inverter.advance(3 * 3600)
    assert reader.word(6196) == reader.word(6196 + 30) == reader.word(6227 + 11) == reader.word(13002) == 0
    assert reader.long(6250 + 22) == 0
    assert reader.long(13003) == made


def test_what_a_battery_sells_is_exported_but_not_from_the_modules() -> None:
    inverter = Inverter("SH10RT", START + timedelta(hours=1))
    reader = Reader(inverter)
    inverter.write(13050, [2, 0xBB, 5000])
    inverter.advance(900)
    assert reader.word(13045) >= 5
    assert reader.word(13005) == 0


def test_at_night_string_inverters_stand_by_and_hybrids_run_from_the_battery() -> None:
    string, hybrid = Inverter("SG10RT", START), Inverter("SH10RT", START)
    assert Reader(string).word(5038) == 0x1400
    assert Reader(string).long(5031) == 0
    assert Reader(hybrid).word(13000) == 0x40
    assert Reader(hybrid).signed_long(5214) > 0
    string.advance(12 * 3600)
    assert Reader(string).word(5038) == 0
    assert Reader(string).long(5031) > 1000


def test_days_are_long_in_summer_and_short_in_winter_and_the_south_has_it_the_other_way() -> None:
    def made(month: int, latitude: float) -> float:
        inverter = Inverter("SG10RT", datetime(2026, month, 20), latitude=latitude)
        inverter.advance(86_000)
        return Reader(inverter).word(5003)

    assert made(6, 50) > 2 * made(12, 50)
    assert made(12, -35) > made(6, -35)


@pytest.mark.parametrize("name", all_profiles())
def test_the_same_seed_gives_the_same_words_however_time_passes(name: str) -> None:
    one, two = (Inverter(name, START + timedelta(hours=11), seed=7) for _ in range(2))
    for _ in range(300):
        one.advance(12.5)
    two.advance(3750)
    assert one.words("input") == two.words("input")
    assert one.words("holding") == two.words("holding")
    other = Inverter(name, START + timedelta(hours=11), seed=8)
    other.advance(3750)
    assert other.words("input") != one.words("input")
