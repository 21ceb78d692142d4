"""Registers: data, encoding, gaps, and what may be written."""

from __future__ import annotations

import json
import struct
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import sungrow_simulator
from sungrow_simulator.inverter import Inverter
from sungrow_simulator.profiles import ProfileError, all_profiles, profile
from sungrow_simulator.readings import readings
from sungrow_simulator.registers import RegisterMap, all_registers, encode_numbers, encode_text

NOON = datetime(2026, 6, 1, 12)
DATA = Path(sungrow_simulator.__file__).parent / "data"


@pytest.mark.parametrize("name", ["registers", "writable", "profiles"])
def test_the_data_files_fit_their_schemas(name: str) -> None:
    schema = json.loads((DATA / f"{name}.schema.json").read_text())
    Draft202012Validator(schema).validate(yaml.safe_load((DATA / f"{name}.yaml").read_text()))


@given(st.integers(-(2**31), 2**31 - 2))
def test_a_signed_32_bit_value_has_its_low_word_first(value: int) -> None:
    low, high = encode_numbers("S32", [value])
    assert struct.unpack(">i", struct.pack(">HH", high, low))[0] == value


@given(st.floats(-1e12, 1e12), st.sampled_from(["U16", "S16", "U32", "S32"]))
def test_no_value_is_ever_shown_as_the_missing_marker(value: float, kind: str) -> None:
    marker = {"U16": [0xFFFF], "S16": [0x7FFF], "U32": [0xFFFF] * 2, "S32": [0xFFFF, 0x7FFF]}[kind]
    assert encode_numbers(kind, [value]) != marker


def test_texts_are_padded_with_nul() -> None:
    assert encode_text("A2290300001", 10) == [0x4132, 0x3239, 0x3033, 0x3030, 0x3030, 0x3100, 0, 0, 0, 0]


@pytest.mark.parametrize("name", all_profiles())
def test_every_row_has_a_value_or_says_that_the_model_has_none(name: str) -> None:
    inverter = Inverter(name, NOON)
    found = set(readings(inverter.plant, running=True))
    absent = {row.value for row in all_registers() if row.of in inverter.profile.features} - found
    # MPPT inputs and phases that the model does not have, and a fourth firmware.
    assert {value.rstrip("0123456789") for value in absent} <= {
        *(f"mppt_{n}_{what}" for n in range(1, 13) for what in ("voltage", "current")),
        *(f"{prefix}phase_{p}_{what}" for prefix in ("", "meter_") for p in "bc" for what in ("voltage", "current", "power")),
        "firmware_",
    }  # fmt: skip


def test_no_two_rows_of_a_model_share_a_word() -> None:
    for one in all_profiles().values():
        seen: dict[tuple[str, int], str] = {}
        for row in all_registers():
            if row.of not in one.features:
                continue
            for address in range(row.address, row.address + row.width * row.count):
                assert (row.table, address) not in seen, (
                    f"{row.value} and {seen[row.table, address]} at {address}"
                )
                seen[row.table, address] = row.value


def test_every_row_is_within_what_can_be_read() -> None:
    for one in all_profiles().values():
        readable = RegisterMap(one.features).readable
        for row in all_registers():
            if row.of in one.features:
                last = row.address + row.width * row.count - 1
                assert any(row.address in span and last in span for span in readable[row.table]), row


@pytest.mark.parametrize(("table", "address", "words"), [
    ("input", 5083, [0xFFFF, 0xFFFF]),  # the meter of another family
    ("input", 5115, [0xFFFF, 0xFFFF]),  # a fourth MPPT input: volts, amperes
    ("input", 5022, [0xFFFF]),  # a phase current that hybrids have elsewhere
    ("input", 5200, [0xFFFF]),  # nobody's
])  # fmt: skip
def test_what_a_model_lacks_reads_as_missing(table: str, address: int, words: list[int]) -> None:
    assert Inverter("SH10RT", NOON).read(table, address, len(words)) == words


@pytest.mark.parametrize(("name", "table", "address"), [
    ("SG10RT", "input", 13000), ("SG10RT", "holding", 13050), ("SH10RT", "input", 4000), ("SH10RT", "input", 8000),
    ("SH10RT", "holding", 4999), ("SG10RT", "input", 6100), ("SH10RT", "input", 7013),
])  # fmt: skip
def test_what_is_out_of_reach_is_refused_and_so_is_a_range_that_begins_within(
    name: str, table: str, address: int
) -> None:
    inverter = Inverter(name, NOON)
    assert inverter.read(table, address, 1) is None
    assert inverter.read(table, 5000, 1) is not None
    assert inverter.read("input", 5300, 2) is None


def test_a_profile_is_found_whatever_its_case_and_an_unknown_one_names_the_others() -> None:
    assert profile("sh10rt").code == 0x0E03
    with pytest.raises(ProfileError, match=r"'SH99' is unknown: choose .*SH10RT"):
        profile("SH99")


# Writing


def test_writes_are_read_back_and_those_outside_the_map_refused() -> None:
    inverter = Inverter("SH10RT", NOON)
    assert inverter.write(13050, [2, 0xAA, 2000]) == 0
    assert inverter.read("holding", 13050, 3) == [2, 0xAA, 2000]
    assert inverter.write(5000, [2026]) == 2
    assert inverter.write(13052, [1000, 0]) == 2  # the second is not writable: neither is written
    assert inverter.read("holding", 13052, 1) == [2000]
    assert inverter.write(13050, [9]) == 3
    assert inverter.write(13058, [499]) == 3
    assert Inverter("SG10RT", NOON).write(13050, [0]) == 2


def power(inverter: Inverter, address: int) -> int:
    low, high = inverter.read("input", address, 2) or []
    value = low | high << 16
    return value - (1 << 32) if value & 1 << 31 else value


def test_forced_charging_charges_and_forced_discharging_discharges() -> None:
    inverter = Inverter("SH10RT", datetime(2026, 6, 1, 1))
    level = inverter.read("input", 13023, 1)
    inverter.write(13050, [2, 0xAA, 3000])
    inverter.advance(1800)
    assert power(inverter, 5214) == -3000
    assert power(inverter, 13034) < -3000  # from the grid: it is night
    assert inverter.read("input", 13023, 1) > level
    inverter.write(13051, [0xBB])
    inverter.advance(60)
    assert power(inverter, 5214) == 3000
    assert power(inverter, 13010) > 2000
    inverter.write(13051, [0xCC])
    inverter.advance(60)
    assert power(inverter, 5214) == 0
    inverter.write(13050, [0])
    inverter.advance(60)
    assert 0 < power(inverter, 5214) < 1500  # for the house alone


def test_charge_limits_and_power_limits_hold() -> None:
    inverter = Inverter("SH10RT", datetime(2026, 6, 1, 1))
    inverter.write(13058, [700])
    inverter.write(33047, [100])
    inverter.write(13050, [2, 0xAA, 6000])
    inverter.advance(60)
    assert power(inverter, 5214) == -1000
    inverter.write(33047, [1060])
    inverter.advance(3 * 3600)
    assert inverter.read("input", 13023, 1) == [700]
    assert power(inverter, 5214) == 0
    inverter.write(13059, [400])
    inverter.write(13050, [2, 0xBB, 6000])
    inverter.advance(3 * 3600)
    assert inverter.read("input", 13023, 1) == [400]


def test_the_export_limit_leaves_the_rest_on_the_roof() -> None:
    inverter = Inverter("SH10RT", NOON, seed=3)
    inverter.write(13059, [50])
    inverter.advance(3600)
    inverter.write(13074, [500])
    inverter.write(13087, [0xAA])
    for _ in range(120):
        inverter.advance(60)
        assert power(inverter, 13010) <= 500
    inverter.write(13087, [0x55])
    inverter.advance(5)
    assert power(inverter, 13010) > 500


def test_a_stopped_inverter_makes_nothing_until_it_is_started() -> None:
    for name, address, state, stopped in (
        ("SH10RT", 13000, 13000, 0x02), ("SH10RT", 5006, 13000, 0x02), ("SG10RT", 5006, 5038, 0x8000)
    ):  # fmt: skip
        inverter = Inverter(name, NOON)
        assert inverter.write(address, [0xCE]) == 0
        inverter.advance(10)
        assert inverter.read("input", state, 1) == [stopped]
        assert power(inverter, 5017) == 0
        inverter.write(address, [0xCF])
        inverter.advance(10)
        assert power(inverter, 5017) > 0


def test_the_active_power_limit_holds() -> None:
    for name, switch, ratio, where in (("SG10RT", 5007, 5008, 5031), ("SH10RT", 13089, 13090, 13034)):
        inverter = Inverter(name, NOON)
        inverter.write(ratio, [200])
        inverter.write(switch, [0xAA])
        for _ in range(60):
            inverter.advance(60)
            assert power(inverter, where) <= 2000


def test_external_control_that_is_not_confirmed_reverts_to_self_consumption() -> None:
    inverter = Inverter("SH10RT", datetime(2026, 6, 1, 1))
    inverter.write(13080, [30])
    inverter.write(13050, [3, 0xAA, 2000])
    for _ in range(10):
        inverter.advance(20)
        inverter.write(13080, [30])
    assert inverter.read("holding", 13050, 2) == [3, 0xAA]
    assert power(inverter, 5214) == -2000
    inverter.advance(29)
    assert inverter.read("holding", 13050, 2) == [3, 0xAA]
    inverter.advance(11)
    assert inverter.read("holding", 13050, 2) == [0, 0xCC]
    assert power(inverter, 5214) > 0


def test_limits_are_at_first_what_the_model_can() -> None:
    inverter = Inverter("SH10RT", NOON)
    assert inverter.read("holding", 13074, 1) == [10_000]
    assert inverter.read("holding", 33047, 2) == [750, 750]
