"""Dumps: what is recorded is served again, and files that are no dumps are refused with the place."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sungrow_simulator.dumps import DumpError, Replay, record
from sungrow_simulator.inverter import Inverter

NOON = datetime(2026, 6, 21, 12)
WORDS = st.dictionaries(st.integers(1, 65535), st.integers(0, 65535), min_size=1, max_size=60)


def document(**more: Any) -> dict[str, Any]:
    return {"format": "sungather-register-dump/1", "input": {"5000": 3587}, "holding": {}} | more


@given(given_input=WORDS, given_holding=WORDS)
def test_any_words_survive_the_file(given_input: dict[int, int], given_holding: dict[int, int]) -> None:
    first = Replay(document(
        input={str(a): w for a, w in given_input.items()}, holding={str(a): w for a, w in given_holding.items()}
    ))  # fmt: skip
    again = Replay(json.loads(json.dumps(record(first, model="x", taken="", unit=1))))
    assert (again.words("input"), again.words("holding")) == (given_input, given_holding)


@pytest.mark.parametrize("model", ["SH10RT", "SG10RT", "SG110CX", "unknown"])
def test_every_word_of_a_simulated_inverter_is_served_again(model: str, tmp_path: Path) -> None:
    inverter = Inverter(model, NOON)
    path = tmp_path / "dump.json"
    path.write_text(json.dumps(record(inverter, model=inverter.profile.model, taken="", unit=1)))
    replay = Replay.load(path)
    for table in ("input", "holding"):
        assert replay.words(table) == inverter.words(table)
    address = min(inverter.words("input"))
    assert replay.read("input", address, 1) == inverter.read("input", address, 1)
    assert replay.read("input", 1, 1) is inverter.read("input", 1, 1) is None
    assert (replay.device.serial, replay.device.type_code) == (
        inverter.profile.serial,
        inverter.profile.code,
    )
    assert replay.device.hybrid == inverter.profile.hybrid


def test_what_is_written_is_read_back_where_the_dump_has_the_register() -> None:
    replay = Replay(document(holding={"13050": 0, "13051": 0}))
    assert replay.write(13050, [2, 0xAA]) == 0
    assert replay.read("holding", 13050, 2) == [2, 0xAA]
    assert replay.write(13051, [1, 1]) == 2
    assert replay.read("holding", 13051, 1) == [0xAA], "all or nothing"


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ([], "format is '[]'"),
        (document(format="other/1"), "format is 'other/1', expected 'sungather-register-dump/1'"),
        (document(input={}), "input: no register"),
        (document(input=[1]), "input: expected words by address"),
        (document(input={"x": 1}), "input: 'x' is no documented address"),
        (document(input={"0": 1}), "input: '0' is no documented address"),
        (document(holding={"5": 70000}), "holding.5: 70000 is not a whole number from 0 to 65535"),
        (document(holding={"5": True}), "holding.5: True is not"),
        (document(unit_id=999), "unit_id: 999 is not a whole number from 0 to 255"),
    ],
)
def test_what_is_no_dump_is_refused_with_the_place(wrong: Any, text: str) -> None:
    with pytest.raises(DumpError) as caught:
        Replay(wrong, "d.json")
    assert str(caught.value).startswith("d.json: ")
    assert text in str(caught.value)


def test_a_file_that_is_no_json_names_the_line(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.write_text('{\n"format": x}')
    with pytest.raises(DumpError, match=r"d\.json: line 2: not JSON"):
        Replay.load(path)
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(DumpError, match="not a text"):
        Replay.load(path)
