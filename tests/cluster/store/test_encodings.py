"""Encodings of past states are kept by number and bytes, those of present states as long as these are present."""

from __future__ import annotations

from typing import Any

from slipway.cluster.store import Delete, Put, Store
from slipway.cluster.store.encodings import Encodings, PastEncodings, keep


def test_the_oldest_are_forgotten_when_there_are_too_many() -> None:
    past, states = PastEncodings(most=10), list[Encodings]()
    for number in range(100):
        states.append({"v1": str(number).encode()})
        past.replaced(states[-1])
    assert "v1" not in states[0]
    assert "v1" in states[99]
    assert sum("v1" in encodings for encodings in states) < 60


def test_the_oldest_are_forgotten_when_they_are_too_large() -> None:
    past, states = PastEncodings(most_bytes=1000), list[Encodings]()
    for _ in range(100):
        states.append({"v1": b"x" * 300})
        past.replaced(states[-1])
    assert sum("v1" in encodings for encodings in states) < 40


def test_what_is_made_shortly_after_its_state_was_replaced_counts_too() -> None:
    past, states = PastEncodings(most_bytes=1000), list[Encodings]()
    for _ in range(100):
        states.append({})
        past.replaced(states[-1])
        keep(states[-1], "v1", b"x" * 300)
    assert sum("v1" in encodings for encodings in states) < 40


def test_a_late_watcher_makes_them_anew_for_itself() -> None:
    past, first = PastEncodings(most=1), dict[Any, bytes]()
    past.replaced(first)
    for _ in range(50):
        past.replaced({})
    keep(first, "v1", b"x")
    assert "v1" not in first


def test_present_states_keep_theirs() -> None:
    store = Store()

    def state(number: int) -> dict[str, Any]:
        return {"number": number}

    (present,) = store.commit(Put("maps", "present", lambda _: state(0), 0))
    keep(present.encoded, "v1", b"0")
    (changing,) = store.commit(Put("maps", "changing", lambda _: state(0), 0))
    first = changing
    for number in range(2000):
        keep(changing.encoded, "v1", b"x")
        (changing,) = store.commit(Put("maps", "changing", lambda _, n=number: state(n), changing.revision))
    assert present.encoded["v1"] == b"0"
    assert "v1" not in first.encoded
    (last,) = store.commit(Delete("maps", "present", lambda _: state(0), present.revision))
    assert last.value == state(0)
