"""Hours in seconds: the loop on a virtual clock (acceptance points 36, 39, 40, 47, 48)."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import selectors
import sqlite3
from array import array
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from sungather.collection.collector import Collector
from sungather.collection.session import Session
from sungather.configuration.settings import InverterSettings
from sungather.exports.delivery import Exporter
from sungather.exports.destination import Blocked, Delivery, Item, Later
from sungather.exports.outbox import Outbox
from sungather.ledger import Ledger
from sungather.readings.assembly import Assembly
from sungather.registers.catalogue import built_in
from sungather.transports.transport import NoReply, Unreachable, one_by_one

INTERVAL = 30.0


class VirtualSelector(selectors.DefaultSelector):
    """Lets the loop's time jump to the next timer instead of waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def select(self, timeout=None):
        ready = super().select(0)
        if not ready and timeout:
            self.passed += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = VirtualSelector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.passed


def virtually(coroutine):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)


class Plant:
    """An inverter in memory: a transport whose words follow the hour, with times at which it does not answer."""

    max_words = 125
    name = "plant"

    def __init__(self, words) -> None:
        self.words = words
        self.asleep = lambda: False
        self.seconds_per_read = 0.0
        self.opened = self.open_now = self.most_open = 0

    async def open(self) -> None:
        if self.asleep():
            await asyncio.sleep(1)
            raise Unreachable("no route to host")
        self.opened += 1
        self.open_now += 1
        self.most_open = max(self.most_open, self.open_now)

    async def close(self) -> None:
        self.open_now = 0

    async def read(self, kind, address: int, count: int) -> Sequence[int]:
        await asyncio.sleep(self.seconds_per_read)
        if self.asleep():
            raise NoReply("silent")
        table = self.words.input if kind == "input" else self.words.holding
        return [table.get(address + i, 0xFFFF) for i in range(count)]

    async def read_all(self, asked):
        return await one_by_one(self, asked)

    async def write(self, address: int, words: Sequence[int]) -> None:
        raise AssertionError("nobody writes")


class Receiver:
    """A destination that notes the keys it gets, and is down when told so."""

    batch = 50

    def __init__(self) -> None:
        self.keys = array("q")  # small, for memory is measured
        self.down = lambda: False
        self.crash = False

    def prepare(self, snapshot) -> str:
        if self.crash:
            raise RuntimeError("a bug in this export")
        return json.dumps({"power": snapshot.value("export_power_hybrid")})

    async def deliver(self, items: Sequence[Item]) -> Delivery:
        await asyncio.sleep(0.01)
        if self.crash:
            raise RuntimeError("a bug in this export")
        if self.down():
            raise Later("down")
        self.keys.extend(int(i.key.rpartition(":")[2]) for i in items)
        return Delivery(sent=list(items))

    async def idle(self) -> None:
        return None

    async def close(self) -> None:
        return None


class World:
    """A collector with an in-memory plant and two receivers, on a virtual clock and real files."""

    def __init__(self, folder: Path, words, clock) -> None:
        self.plant = Plant(words)
        self.clock = clock
        settings = InverterSettings("plant", 502, scan_interval=INTERVAL, timeout=10)
        self.session = Session(settings, built_in(), lambda _: self.plant, self.clock)
        self.receivers = [Receiver(), Receiver()]
        self.exporters = [
            Exporter(f"r{i}", r, Outbox(folder, f"r{i}", max_items=100_000, max_bytes=10**8), self.clock)
            for i, r in enumerate(self.receivers)
        ]
        self.ledger = Ledger(folder)
        self.taken: list[str] = []
        self.collector = Collector(
            self.session,
            Assembly(self.clock, level=1, use_local_time=True),
            self.exporters,
            self.ledger,
            self.clock,
            interval=INTERVAL,
            history_days=40,
        )

    async def run(self, hours: float) -> None:
        tasks = [asyncio.create_task(e.run()) for e in self.exporters] + [
            asyncio.create_task(self.collector.run())
        ]
        await asyncio.sleep(hours * 3600)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        for exporter in self.exporters:
            await exporter.close()
        self.ledger.close()


@pytest.fixture
def world(tmp_path, scripted, as_hybrid, loop_clock):
    def make() -> World:
        return World(tmp_path, as_hybrid(scripted()), loop_clock())

    return make


def resident() -> int:
    """Bytes of memory that this process holds."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_72_hours_lose_no_interval_and_stay_flat(world, record_property):
    async def scenario():
        made = world()
        made.receivers[0].down = lambda: 10 < made.clock.monotonic() / 3600 % 24 < 13
        await made.run(4)
        before, files = resident(), len(os.listdir("/proc/self/fd"))
        await made.run(68)
        grown, files_after = resident() - before, len(os.listdir("/proc/self/fd"))
        for exporter in made.exporters:
            assert await drained(exporter)
        await made.close()
        return made, grown, files, files_after

    made, grown, files, files_after = virtually(scenario())
    record_property("collected", len(made.receivers[0].keys))
    record_property("grown_kb", grown / 1024)
    expected = 72 * 3600 / INTERVAL
    for receiver in made.receivers:
        assert len(receiver.keys) == len(set(receiver.keys))
        assert expected - 2 <= len(receiver.keys) <= expected + 4
        assert list(receiver.keys) == sorted(receiver.keys), "in order"
    assert made.collector.skipped_ticks == 0
    assert made.plant.most_open == 1
    assert grown < 4_000_000, f"grew by {grown} bytes in 68 hours"
    assert files_after <= files


@pytest.mark.parametrize(("error", "most"), [(Blocked("wrong password"), 13), (Later("down"), 66)])
def test_new_readings_do_not_cut_short_the_pause_after_a_failure(tmp_path, loop_clock, error, most):
    class Failing(Receiver):
        tries = 0

        async def deliver(self, items):
            self.tries += 1
            raise error

    async def an_hour() -> int:
        failing = Failing()
        outbox = Outbox(tmp_path, "failing", max_items=1000, max_bytes=10**8)
        exporter = Exporter("failing", failing, outbox, loop_clock())
        task = asyncio.create_task(exporter.run())
        for at in range(0, 3600, 10):
            exporter.enqueue(str(at), at, "a reading")
            await asyncio.sleep(10)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await exporter.close()
        return failing.tries

    assert 10 <= virtually(an_hour()) <= most


async def drained(exporter) -> bool:
    task = asyncio.create_task(exporter.run())
    done = await exporter.drain(300, retry=True)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return done


def test_a_night_offline_gives_one_line_for_each_change_and_few_tries(world, caplog):
    caplog.set_level(logging.INFO)

    async def scenario():
        made = world()
        made.plant.asleep = lambda: made.clock.monotonic() > 3600
        await made.run(1)
        opened, cycles = made.plant.opened, made.collector.cycles
        await made.run(11)
        night = made.collector.cycles - cycles
        made.plant.asleep = lambda: False
        made.collector.collect_soon()
        await made.run(0.2)
        await made.close()
        return made, opened, night

    made, opened, night = virtually(scenario())
    said = [
        r.message for r in caplog.records if "cannot be read" in r.message or "answers again" in r.message
    ]
    assert len(said) == 2
    assert night < 11 * 3600 / 240, "tries become rare"
    assert str(made.collector.state) == "online"
    assert made.plant.opened > opened


def test_a_scan_slower_than_the_interval_skips_ticks_and_counts_them(world):
    async def scenario():
        made = world()
        made.plant.seconds_per_read = 8.0  # about 45 s a scan
        await made.run(1)
        await made.close()
        return made

    made = virtually(scenario())
    assert made.plant.most_open == 1
    assert made.collector.skipped_ticks > 30
    starts = [c.started.timestamp() for c in made.collector.recent]
    assert all(
        (b - a) % INTERVAL < 0.01 or INTERVAL - (b - a) % INTERVAL < 0.01 for a, b in pairwise(starts)
    ), "every scan starts on a tick: no drift"


def test_an_export_that_raises_anything_touches_neither_the_others_nor_the_loop(world):
    async def scenario():
        made = world()
        made.receivers[0].crash = True
        await made.run(0.5)
        made.receivers[0].crash = False
        await made.run(0.1)
        await made.close()
        return made

    made = virtually(scenario())
    assert len(made.receivers[1].keys) >= 0.6 * 3600 / INTERVAL - 2
    assert made.receivers[0].keys, "and works again when the fault is gone"


def test_readings_that_the_disk_has_no_room_for_wait_in_memory_and_arrive_in_order(world):
    async def scenario():
        made = world()
        outbox = made.exporters[0].outbox
        add = outbox.add

        def full(*_):
            raise sqlite3.OperationalError("database or disk is full")

        outbox.add = full
        await made.run(0.5)
        status, delivered = made.exporters[0].status, len(made.receivers[0].keys)
        told = str(status.state), status.last_error
        outbox.add = add
        await made.run(0.1)
        await made.close()
        return made, told, delivered

    made, told, delivered = virtually(scenario())
    assert told == ("retrying", "the queue on disk takes no reading: database or disk is full")
    assert delivered == 0
    assert list(made.receivers[0].keys) == list(made.receivers[1].keys)
    assert len(made.receivers[0].keys) >= 0.6 * 3600 / INTERVAL - 2


def test_a_queue_that_fails_does_not_end_its_task(world):
    async def scenario():
        made = world()
        outbox = made.exporters[0].outbox
        peek, failing = outbox.peek, [True]

        def broken(limit):
            if failing[0]:
                raise sqlite3.OperationalError("disk I/O error")
            return peek(limit)

        outbox.peek = broken
        await made.run(0.1)
        told = made.exporters[0].status.last_error
        failing[0] = False
        await made.run(0.1)
        await made.close()
        return made, told

    made, told = virtually(scenario())
    assert "disk I/O error" in told
    assert len(made.receivers[0].keys) >= 0.2 * 3600 / INTERVAL - 2
