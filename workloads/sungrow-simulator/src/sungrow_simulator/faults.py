"""Faults: what goes wrong on the wire, when, and how often; and counters of what was asked.

A schedule says which fault to apply; the transports in `wire` apply it. Faults are tried in the order in which they
were added, and one that is used up is forgotten. `Faults` is asked twice: for a connection that comes, and for a
request that is to be answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any


class Fault(StrEnum):
    """What can go wrong, and what a client meets then."""

    meaning: str

    def __new__(cls, name: str, meaning: str = "") -> Fault:
        fault = str.__new__(cls, name)
        fault._value_ = name
        fault.meaning = meaning
        return fault

    REFUSE = "refuse", "the connection ends as soon as it is made"
    RESET = "reset", "the connection is reset instead of an answer"
    SILENT = "silent", "no answer"
    SLOW = "slow", "the answer comes one byte a second"
    HALF = "half", "half of the answer, and then nothing"
    WRONG_TRANSACTION = "wrong-transaction", "the answer to another request"
    WRONG_UNIT = "wrong-unit", "the answer of another unit"
    EXCEPTION_1 = "exception-1", "Modbus exception 1, illegal function"
    EXCEPTION_2 = "exception-2", "Modbus exception 2, illegal address"
    EXCEPTION_3 = "exception-3", "Modbus exception 3, illegal value"
    EXCEPTION_4 = "exception-4", "Modbus exception 4, device failure"
    EXCEPTION_5 = "exception-5", "Modbus exception 5, acknowledged, not yet done"
    EXCEPTION_6 = "exception-6", "Modbus exception 6, device busy"
    EXCEPTION_11 = "exception-11", "Modbus exception 11, no device behind the gateway"
    SHORT = "short", "the last word is missing"
    OVERSIZE = "oversize", "a length that no frame can have"
    GARBAGE = "garbage", "bytes that are no frame"
    TOKEN_EXPIRED = "token-expired", "WiNet: result code 106 until the next login"
    LOGIN_REFUSED = "login-refused", "WiNet-S2: the password is wrong"
    TAKEN_OVER = "taken-over", "WiNet: notice 100, another user came"
    CERTIFICATE_CHANGED = "certificate-changed", "TLS: another key pair from the next connection on"

    @property
    def exception(self) -> int:
        """The Modbus exception code; 0 for other faults."""
        return int(self.removeprefix("exception-")) if self.startswith("exception-") else 0


ON_CONNECT = frozenset({Fault.REFUSE, Fault.CERTIFICATE_CHANGED})
ON_REQUEST = frozenset(Fault) - ON_CONNECT

PORTS = ("modbus", "tls", "sungrow", "winet", "winet-http", "winet2")
"""The transports, by the names that `wire.opening` gives them."""


class FaultError(ValueError):
    """A schedule is wrong; the text says where and what is allowed."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When to apply a fault.

    `begin` and `end` bound it in simulated time, `skip` lets so many pass that would have met it, `times` ends it
    after so many. `port` is one of PORTS, `function` a Modbus function code; left out means any.
    """

    fault: Fault
    begin: datetime | None = None
    end: datetime | None = None
    skip: int = 0
    times: int | None = None
    port: str | None = None
    function: int | None = None


class Faults:
    """The schedule of one inverter. `now` is its clock."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._rules: list[list[Any]] = []  # [rule, met so far]
        self.counters: Counter[str] = Counter()

    def add(self, fault: Fault | str, **limits: Any) -> Rule:
        """Schedule a fault; `limits` are the fields of Rule, and `seconds`: for so long from now, or from `begin`."""
        seconds = limits.pop("seconds", None)
        if seconds is not None:
            begin = limits.get("begin") or self._now()
            limits = {**limits, "begin": begin, "end": begin + timedelta(seconds=seconds)}
        rule = Rule(Fault(fault), **limits)
        self._rules.append([rule, 0])
        return rule

    def clear(self) -> None:
        self._rules.clear()

    @property
    def rules(self) -> list[Rule]:
        """Those that are not used up."""
        return [rule for rule, _ in self._rules]

    def on_connection(self, port: str, possible: frozenset[Fault] = ON_CONNECT) -> Fault | None:
        """Counts a connection to `port`, and says what goes wrong with it: one of those that are possible there."""
        self.counters["connections"] += 1
        self.counters[f"connections.{port}"] += 1
        return self._meet(port, None, possible)

    def on_request(
        self, port: str, function: int | None = None, possible: frozenset[Fault] = ON_REQUEST
    ) -> Fault | None:
        """Counts a request on `port`, and says what goes wrong with its answer: one of those that are possible there."""
        self.counters["requests"] += 1
        self.counters[f"requests.{port}"] += 1
        if function in (6, 16):
            self.counters["writes"] += 1
        return self._meet(port, function, possible)

    def _meet(self, port: str, function: int | None, possible: frozenset[Fault]) -> Fault | None:
        now = self._now()
        for entry in list(self._rules):
            rule: Rule = entry[0]
            if rule.end is not None and now >= rule.end:
                self._rules.remove(entry)
                continue
            if rule.fault not in possible or (rule.begin is not None and now < rule.begin):
                continue
            if rule.port not in (None, port) or rule.function not in (None, function):
                continue
            entry[1] += 1
            if entry[1] <= rule.skip:
                continue
            if rule.times is not None and entry[1] >= rule.skip + rule.times:
                self._rules.remove(entry)
            self.counters[f"faults.{rule.fault}"] += 1
            return rule.fault
        return None


def read_schedule(document: Any, where: str, start: datetime) -> list[dict[str, Any]]:
    """The arguments of `Faults.add` that a schedule file has: {"faults": [{fault: silent, at: "12:00", seconds: 60}]}.

    `at` is a time of the first simulated day (HH:MM or HH:MM:SS), or whole: 2026-06-01T12:00. FaultError names the
    row that is wrong.
    """
    rows = document.get("faults") if isinstance(document, dict) and set(document) == {"faults"} else None
    if not isinstance(rows, list):
        raise FaultError(f"{where}: expected a list of rows under `faults`")
    return [read_row(row, f"{where}: faults[{number}]", start) for number, row in enumerate(rows)]


_NUMBERS = {"seconds": 0.001, "skip": 0, "times": 1, "function": 1}


def read_row(row: Any, place: str, start: datetime) -> dict[str, Any]:
    """One row of a schedule."""
    allowed = sorted({"fault", "at", "seconds", "port"} | {f.name for f in fields(Rule)} - {"begin", "end"})
    if not isinstance(row, Mapping):
        raise FaultError(f"{place}: {row!r} is not a mapping such as {{fault: silent, times: 3}}")
    for name in row:
        if name not in allowed:
            raise FaultError(f"{place}.{name}: unknown field; allowed are {', '.join(allowed)}")
    if row.get("fault") not in list(Fault):
        raise FaultError(f"{place}.fault: {row.get('fault')!r} is none of {', '.join(Fault)}")
    if row.get("port") not in (None, *PORTS):
        raise FaultError(f"{place}.port: {row['port']!r} is none of {', '.join(PORTS)}")
    found = {name: value for name, value in row.items() if name != "at"}
    for name, least in _NUMBERS.items():
        value = found.get(name)
        whole = name != "seconds"
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)) or value < least:
            raise FaultError(
                f"{place}.{name}: {value!r} is not a {'whole ' if whole else ''}number from {least} on"
            )
    if "at" in row:
        found["begin"] = _moment(row["at"], f"{place}.at", start)
    return found


def _moment(text: Any, place: str, start: datetime) -> datetime:
    if isinstance(text, datetime):
        return text.replace(tzinfo=None)
    if isinstance(text, int):  # YAML reads 12:30 as a number of base 60
        text = (
            f"{text // 60:02}:{text % 60:02}"
            if text < 1440
            else f"{text // 3600:02}:{text // 60 % 60:02}:{text % 60:02}"
        )
    for form in ("%H:%M", "%H:%M:%S"):
        try:
            clock = datetime.strptime(str(text), form).time()
        except ValueError:
            continue
        return datetime.combine(start.date(), clock)
    try:
        return datetime.fromisoformat(str(text)).replace(tzinfo=None)
    except ValueError:
        raise FaultError(f"{place}: {text!r} is no time: write 12:30, 12:30:15 or 2026-06-01T12:30") from None
