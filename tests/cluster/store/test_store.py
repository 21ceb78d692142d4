"""The store's contract, for memory and SQLite alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.cluster.store import Compacted, Conflict, Delete, Put, Route, Store
from slipway.cluster.store.journal import Journal, JournalError

Value = dict[str, Any]


def keep(value: Value) -> Callable[[int], Value]:
    return lambda revision: {**value, "revision": revision}


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    journal = Journal(tmp_path / "state.db") if request.param == "sqlite" else None
    store = Store(journal)
    yield store
    store.close()


def test_every_transaction_gets_the_next_revision(store: Store) -> None:
    (first,) = store.commit(Put("pods", "a", keep({"n": 1}), 0))
    (second,) = store.commit(Put("nodes", "b", keep({"n": 2}), 0))
    assert (first.revision, second.revision, store.revision) == (1, 2, 2)
    assert first.value == {"n": 1, "revision": 1}


def test_an_unexpected_state_refuses_the_whole_transaction(store: Store) -> None:
    (record,) = store.commit(Put("pods", "a", keep({}), 0))
    with pytest.raises(Conflict) as caught:
        store.commit(Put("pods", "b", keep({}), 0), Put("pods", "a", keep({}), 0))
    assert caught.value.current is record
    assert store.get("pods", "b") is None
    assert store.revision == 1


def test_pages_are_in_key_order_and_count_what_remains(store: Store) -> None:
    for name in ("x/c", "x/a", "y/a", "x/b"):
        store.commit(Put("pods", name, keep({}), 0))
    page = store.scan("pods", "x/", limit=2)
    assert [record.key for record in page.records] == ["x/a", "x/b"]
    assert page.remaining == 1
    rest = store.scan("pods", "x/", after="x/b", limit=2, at=page.revision)
    assert [record.key for record in rest.records] == ["x/c"]
    assert [r.key for r in store.scan("pods").records] == ["x/a", "x/b", "x/c", "y/a"]


def test_a_read_older_than_the_compaction_is_refused(store: Store) -> None:
    for number in range(5):
        store.commit(Put("pods", str(number), keep({}), 0))
    store.compact(3)
    assert len(store.scan("pods", at=3).records) == 3
    with pytest.raises(Compacted) as caught:
        store.scan("pods", at=2)
    assert (caught.value.revision, caught.value.oldest) == (2, 3)
    with pytest.raises(Compacted):
        store.watch("pods", 2)


def test_the_window_bounds_what_is_kept() -> None:
    store = Store(window=100)
    for number in range(1000):
        store.commit(Put("pods", str(number), keep({}), 0))
    assert len(store.bucket("pods").changes) <= 100
    assert store.compacted > 800


def test_large_objects_are_kept_by_their_bytes_not_by_their_number() -> None:
    store, revision = Store(window_bytes=1_000_000), 0
    for number in range(100):
        value = {"data": str(number) * 50_000}
        (record,) = store.commit(Put("maps", "a", keep(value), revision))
        revision = record.revision
        kept = sum(
            len(change.previous.value["data"]) for change in store.bucket("maps").changes if change.previous
        )
        assert kept <= 1_000_000
    assert len(store.bucket("maps").changes) > 3
    assert [change.revision for change in store.watch("maps", revision - 1).ready()] == [revision]


def test_objects_that_are_deleted_count_as_what_must_be_kept_because_of_it() -> None:
    store = Store(window_bytes=1_000_000)
    made = [store.commit(Put("maps", str(n), keep({"data": "x" * 50_000}), 0))[0] for n in range(100)]
    assert store.compacted == 0, "present objects are not history"
    for record in made:
        store.commit(Delete("maps", record.key, keep(record.value), record.revision))
    assert len(store.bucket("maps").changes) <= 20


def test_a_journal_that_is_read_again_counts_the_bytes_it_kept(tmp_path: Path) -> None:
    path, revision = tmp_path / "state.db", 0
    store = Store(Journal(path))
    for number in range(30):
        (record,) = store.commit(Put("maps", "a", keep({"data": str(number) * 50_000}), revision))
        revision = record.revision
    store.close()
    again = Store(Journal(path), window_bytes=1_000_000)
    again.commit(Put("maps", "a", keep({"data": "last"}), revision))
    assert len(again.bucket("maps").changes) <= 20
    again.close()


async def test_a_watch_waits_for_the_next_change_of_its_bucket(store: Store) -> None:
    watch = store.watch("pods", 0)
    waiting = asyncio.create_task(watch.next())
    await asyncio.sleep(0)
    store.commit(Put("nodes", "n", keep({}), 0))
    await asyncio.sleep(0)
    assert not waiting.done()
    store.commit(Put("pods", "a", keep({}), 0))
    (change,) = await waiting
    assert (change.kind, change.record.key, change.revision) == ("ADDED", "a", 2)
    assert await watch.next(timeout=0.01) == []


async def test_a_watch_that_falls_behind_the_compaction_is_told() -> None:
    store = Store()
    watch = store.watch("pods", 0)
    for number in range(5):
        store.commit(Put("pods", str(number), keep({}), 0))
    store.compact(4)
    with pytest.raises(Compacted):
        await watch.next()


def test_a_file_in_use_or_of_another_kind_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    journal = Journal(path)
    with pytest.raises(JournalError, match=r"state.db: in use by another process"):
        Journal(path)
    journal.close()
    other = tmp_path / "other.db"
    other.write_text("not a database, but long enough to be looked at as one" * 30)
    with pytest.raises(JournalError, match=r"other.db: not a state file"):
        Journal(other)


def test_a_snapshot_goes_on_without_its_origin() -> None:
    store = Store()
    store.commit(Put("pods", "a", keep({}), 0))
    fork = Store.from_snapshot(store.snapshot())
    fork.commit(Put("pods", "b", keep({}), 0))
    assert store.get("pods", "b") is None
    assert fork.revision == 2
    assert [r.key for r in fork.scan("pods").records] == ["a", "b"]


OPERATIONS = st.lists(
    st.tuples(st.sampled_from(["put", "delete"]), st.sampled_from("abcdef"), st.integers(0, 3)), max_size=40
)


def play(store: Store, operations: list[tuple[str, str, int]]) -> list[dict[str, Value]]:
    """Carry the operations out; the state after each revision, revision 0 first."""
    states: list[dict[str, Value]] = [{}]
    for kind, key, number in operations:
        current = store.get("pods", key)
        expected = current.revision if current else 0
        if kind == "put":
            store.commit(Put("pods", key, keep({"n": number}), expected))
        elif current is not None:
            store.commit(Delete("pods", key, keep(current.value), expected))
        else:
            continue
        states.append({r.key: r.value for r in store.scan("pods").records})
    return states


@settings(max_examples=200, deadline=None)
@given(operations=OPERATIONS, cut=st.integers(0, 40))
def test_a_list_at_a_revision_and_the_watch_from_it_give_the_whole_history(
    operations: list[tuple[str, str, int]], cut: int
) -> None:
    store = Store()
    states = play(store, operations)
    at = min(cut, store.revision)
    state = {r.key: r.value for r in store.scan("pods", at=at).records}
    assert state == states[at]
    for change in store.watch("pods", at).ready():
        if change.kind == "DELETED":
            del state[change.record.key]
        else:
            state[change.record.key] = change.record.value
        assert state == states[change.revision]
    assert state == states[-1]


@settings(max_examples=60, deadline=None)
@given(before=OPERATIONS, after=OPERATIONS, compact=st.integers(0, 20))
def test_a_restart_finds_everything(
    tmp_path_factory: pytest.TempPathFactory,
    before: list[tuple[str, str, int]],
    after: list[tuple[str, str, int]],
    compact: int,
) -> None:
    path = tmp_path_factory.mktemp("state") / "state.db"
    first, twin = Store(Journal(path)), Store()
    for store in (first, twin):
        play(store, before)
        store.compact(compact)
    first.close()
    second = Store(Journal(path))
    for store in (second, twin):
        play(store, after)
    assert second.revision == twin.revision
    assert second.compacted == twin.compacted
    for revision in range(twin.compacted, twin.revision + 1):
        assert {r.key: (r.value, r.created) for r in second.scan("pods", at=revision).records} == {
            r.key: (r.value, r.created) for r in twin.scan("pods", at=revision).records
        }
    second.close()


def of_node(value: dict[str, Any]) -> str:
    return str(value.get("node", ""))


def place(store: Store, key: str, node: str, expected: int = 0) -> int:
    (record,) = store.commit(Put("pods", key, lambda _: {"node": node}, expected))
    return record.revision


async def test_a_routed_watch_sees_what_comes_and_goes_along_its_route_and_nothing_else(store: Store) -> None:
    first = place(store, "x", "a")
    place(store, "y", "b")
    watch = store.watch("pods", 0, Route("node", "a", of_node))
    assert [change.revision for change in watch.ready()] == [first]
    waiting = asyncio.ensure_future(watch.next(60))
    await asyncio.sleep(0)
    place(store, "z", "b")
    await asyncio.sleep(0)
    assert not waiting.done(), "the change of another route wakes nobody"
    left = place(store, "x", "b", first)
    assert [change.revision for change in await waiting] == [left]
    assert watch.ready() == []
    watch.close()


async def test_a_wait_ends_after_its_time_whatever_the_waits_before_it_were(store: Store) -> None:
    watch = store.watch("pods", 0)
    loop = asyncio.get_running_loop()
    for timeout in (0.05, 0.01, 0.03):
        began = loop.time()
        while loop.time() - began < timeout - 0.002:
            assert await watch.next(timeout - (loop.time() - began)) == []
        assert loop.time() - began < timeout + 20


def test_a_routed_watch_is_told_when_what_it_missed_is_forgotten(store: Store) -> None:
    for number in range(4):
        place(store, f"p{number}", "a")
    watch = store.watch("pods", 1, Route("node", "a", of_node))
    store.compact(3)
    with pytest.raises(Compacted):
        watch.ready()
    assert [c.revision for c in store.watch("pods", 3, Route("node", "a", of_node)).ready()] == [4]
