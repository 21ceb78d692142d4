"""Faults: which one meets whom, and the schedule file."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from sungrow_simulator.faults import PORTS, Fault, FaultError, Faults, read_schedule
from sungrow_simulator.wire import opening

START = datetime(2026, 6, 1, 6)


class Time:
    now = START


@pytest.fixture
def faults() -> Faults:
    Time.now = START
    return Faults(lambda: Time.now)


def test_a_fault_meets_so_many_and_is_forgotten(faults: Faults) -> None:
    faults.add("silent", skip=1, times=2)
    assert [faults.on_request("modbus") for _ in range(5)] == [None, Fault.SILENT, Fault.SILENT, None, None]
    assert faults.rules == []
    assert faults.counters["requests"] == 5
    assert faults.counters["faults.silent"] == 2


def test_a_fault_lasts_for_its_time(faults: Faults) -> None:
    faults.add("exception-4", begin=START + timedelta(minutes=1), seconds=60)
    met = []
    for second in (0, 59, 60, 119, 120):
        Time.now = START + timedelta(seconds=second)
        met.append(faults.on_request("modbus") is not None)
    assert met == [False, False, True, True, False]
    assert Fault.EXCEPTION_4.exception == 4
    assert Fault.SILENT.exception == 0


def test_a_fault_may_be_of_one_port_or_function_and_connections_have_their_own(faults: Faults) -> None:
    faults.add("refuse", port="tls")
    faults.add("garbage", function=3)
    assert faults.on_connection("modbus") is None
    assert faults.on_connection("tls") is Fault.REFUSE
    assert faults.on_request("tls", 4) is None
    assert faults.on_request("tls", 3) is Fault.GARBAGE
    assert faults.on_request("modbus", 16) is None
    assert (
        faults.counters["connections"],
        faults.counters["connections.tls"],
        faults.counters["writes"],
    ) == (2, 1, 1)
    faults.clear()
    assert faults.on_connection("tls") is None


def test_a_schedule_says_when_by_the_clock_of_the_first_day(faults: Faults) -> None:
    rows = [
        {"fault": "silent", "at": "12:30", "seconds": 90},
        {"fault": "reset", "at": 750},
        {"fault": "half", "times": 2},
    ]
    made = [faults.add(**row) for row in read_schedule({"faults": rows}, "f.yaml", START)]
    assert made[0].begin == datetime(2026, 6, 1, 12, 30)
    assert made[0].end == datetime(2026, 6, 1, 12, 31, 30)
    assert made[1].begin == made[0].begin  # YAML reads 12:30 as 750
    assert made[2].times == 2


@pytest.mark.parametrize(("document", "said"), [
    ({"fault": []}, "expected a list of rows under `faults`"),
    ({"faults": ["silent"]}, r"faults\[0\]: 'silent' is not a mapping"),
    ({"faults": [{"fault": "noise"}]}, r"faults\[0\].fault: 'noise' is none of refuse, reset"),
    ({"faults": [{"fault": "silent", "when": 1}]}, r"faults\[0\].when: unknown field; allowed are at, fault"),
    ({"faults": [{"fault": "silent", "times": 0}]}, r"times: 0 is not a whole number from 1 on"),
    ({"faults": [{"fault": "silent", "seconds": "long"}]}, r"seconds: 'long' is not a number from"),
    ({"faults": [{"fault": "silent", "port": "modbus-tls"}]}, r"port: 'modbus-tls' is none of modbus, tls, sungrow"),
    ({"faults": [{"fault": "silent", "at": "noon"}]}, r"at: 'noon' is no time: write 12:30"),
])  # fmt: skip
def test_a_wrong_schedule_is_refused_with_the_place(document: object, said: str) -> None:
    with pytest.raises(FaultError, match=said):
        read_schedule(document, "f.yaml", START)


def test_a_schedule_may_name_each_port_that_opens() -> None:
    assert set(PORTS) == set(opening.PORTS)


def test_the_document_says_what_each_fault_is() -> None:
    text = (Path(__file__).parents[1] / "docs" / "faults.md").read_text()
    for fault in Fault:
        assert fault.exception or f"| `{fault}` | {fault.meaning} |" in text
    assert "| `exception-1` to `-6`, `exception-11` |" in text
