"""A destination's queue on disk (acceptance points 44 and 45; issue 4, point 5)."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sungather.exports.outbox import Outbox
from sungather.ledger import Ledger


def test_a_full_queue_drops_the_oldest_and_counts(tmp_path):
    outbox = Outbox(tmp_path, "x", max_items=10, max_bytes=10**6)
    for i in range(25):
        outbox.add(f"k{i}", float(i), "payload")
    assert [i.key for i in outbox.peek(100)] == [f"k{i}" for i in range(15, 25)]
    assert (outbox.waiting, outbox.counts["dropped"]) == (10, 15)
    outbox.close()
    again = Outbox(tmp_path, "x", max_items=10, max_bytes=10**6)
    assert (again.waiting, again.counts["dropped"]) == (10, 15)
    again.close()


def test_a_queue_is_bounded_in_bytes_too(tmp_path):
    outbox = Outbox(tmp_path, "x", max_items=1000, max_bytes=1000)
    for i in range(50):
        outbox.add(f"k{i}", float(i), "p" * 100)
    assert outbox.waiting == 10
    outbox.close()


def test_a_key_is_queued_once_even_after_it_was_sent(tmp_path):
    outbox = Outbox(tmp_path, "x", max_items=100, max_bytes=10**6)
    assert outbox.add("a", 1.0, "p")
    assert not outbox.add("a", 1.0, "p")
    outbox.done(outbox.peek(10))
    assert not outbox.add("a", 1.0, "p")
    assert outbox.waiting == 0
    assert outbox.replay(0.0) == 1
    assert outbox.waiting == 1
    outbox.close()


def test_a_damaged_queue_file_is_set_aside_and_collecting_goes_on(tmp_path):
    (tmp_path / "outbox-x.sqlite").write_bytes(b"this is no database" * 100)
    outbox = Outbox(tmp_path, "x", max_items=100, max_bytes=10**6)
    assert outbox.add("a", 1.0, "p")
    outbox.close()
    assert list(tmp_path.glob("outbox-x.damaged-*"))


@contextlib.contextmanager
def failing(path, when):
    """A file whose writes of one kind fail half-way, as on a full disk."""
    with contextlib.closing(sqlite3.connect(path)) as other:
        other.execute(f"CREATE TRIGGER disk_full BEFORE {when} BEGIN SELECT RAISE(FAIL, 'disk is full'); END")
        other.commit()
        yield
        other.execute("DROP TRIGGER disk_full")
        other.commit()


def test_a_fault_while_items_are_taken_off_loses_nothing_and_is_over_when_it_is_over(tmp_path):
    outbox = Outbox(tmp_path, "x", max_items=100, max_bytes=10**6)
    for i in range(5):
        outbox.add(f"k{i}", float(i), "payload")
    items = outbox.peek(10)
    with failing(tmp_path / "outbox-x.sqlite", "UPDATE ON items WHEN old.key = 'k3'"):
        with pytest.raises(sqlite3.Error, match="disk is full"):
            outbox.done(items)
        assert outbox.waiting == 5, "none of them left"
        assert [i.key for i in outbox.peek(10)] == [f"k{i}" for i in range(5)]
    outbox.done(items)
    assert (outbox.waiting, outbox.counts["sent"]) == (0, 5)
    assert outbox.add("k9", 9.0, "payload")


def test_a_fault_while_a_reading_is_written_down_leaves_nothing_half_done(tmp_path):
    ledger = Ledger(tmp_path)
    with failing(tmp_path / "collector.sqlite", "INSERT ON facts"):
        with pytest.raises(sqlite3.Error, match="disk is full"):
            ledger.take("a", 1.0, {"mqtt": "payload"}, {"assembly": {}})
        assert ledger.not_handed_over() == []
    ledger.take("a", 1.0, {"mqtt": "payload"}, {"assembly": {}})
    assert ledger.not_handed_over() == [("a", 1.0, {"mqtt": "payload"})]
    ledger.close()


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 30)),
        st.tuples(st.just("send"), st.integers(0, 5)),
        st.tuples(st.just("reject"), st.integers(0, 5)),
        st.tuples(st.just("replay"), st.integers(0, 30)),
        st.tuples(st.just("reopen"), st.just(0)),
    ),
    max_size=40,
)


@given(ACTIONS)
@settings(max_examples=25, deadline=None)
def test_whatever_happens_order_and_counts_are_right(tmp_path_factory, actions):
    folder = tmp_path_factory.mktemp("outbox")
    outbox = Outbox(folder, "x", max_items=1000, max_bytes=10**6)
    waiting: list[str] = []
    done: dict[str, float] = {}
    added: list[str] = []
    for action, number in actions:
        items = outbox.peek(number)
        match action:
            case "add":
                key = f"k{number}"
                if outbox.add(key, float(number), "p" * number):
                    waiting.append(key)
                    added.append(key)
            case "send":
                outbox.done(items)
                done |= {i.key: i.at for i in items}
                waiting = waiting[len(items) :]
            case "reject":
                outbox.done([], items)
                waiting = waiting[len(items) :]
                added = [k for k in added if k not in [i.key for i in items]]
            case "replay":
                again = [k for k, at in done.items() if at >= number]
                assert outbox.replay(float(number)) == len(again)
                waiting = [k for k in added if k in waiting or k in again]
                for key in again:
                    del done[key]
            case "reopen":
                outbox.close()
                outbox = Outbox(folder, "x", max_items=1000, max_bytes=10**6)
        assert [i.key for i in outbox.peek(1000)] == waiting, "in the order in which they were queued"
        assert outbox.waiting == len(waiting)
    outbox.close()
