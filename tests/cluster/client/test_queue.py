"""The work queue: what is added comes out once, and never twice at the same time."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from slipway.cluster.client.queue import WorkQueue


async def test_a_key_added_twice_comes_out_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add("b")
    queue.add("a")
    assert [await queue.get(), await queue.get()] == ["a", "b"]
    assert len(queue) == 0


async def test_a_key_added_while_worked_on_comes_again_only_after_done() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    assert await queue.get() == "a"
    queue.add("a")
    assert len(queue) == 0
    assert not queue.idle
    queue.done("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert queue.idle


async def test_the_soonest_of_two_delays_wins() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)
    queue.add_after("a", 60)
    assert await asyncio.wait_for(queue.get(), 30) == "a"
    queue.stop()


async def test_failures_wait_longer_and_longer_until_forgotten() -> None:
    queue: WorkQueue[str] = WorkQueue(first_retry=0.001)
    loop = asyncio.get_running_loop()
    delays = []
    for _ in range(4):
        started = loop.time()
        queue.add_rate_limited("a")
        await queue.get()
        queue.done("a")
        delays.append(loop.time() - started)
    assert queue.retries("a") == 4
    assert delays[3] >= 0.008
    queue.forget("a")
    assert queue.retries("a") == 0


async def test_a_cancelled_taker_does_not_swallow_the_wake_up_of_the_next() -> None:
    queue: WorkQueue[str] = WorkQueue()
    first = asyncio.create_task(queue.get())
    second = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    first.cancel()
    assert await asyncio.wait_for(second, 30) == "a"


@given(st.lists(st.sampled_from(["add a", "add b", "take", "done"]), max_size=60))
def test_any_history_works_on_each_key_alone_and_loses_none(history: list[str]) -> None:
    async def play() -> None:
        queue: WorkQueue[str] = WorkQueue()
        working: list[str] = []
        owed: set[str] = set()
        for step in history:
            if step.startswith("add"):
                queue.add(step[-1])
                owed.add(step[-1])
            elif step == "take" and len(queue):
                key = await queue.get()
                assert key not in working
                working.append(key)
                owed.discard(key)
            elif step == "done" and working:
                queue.done(working.pop(0))
        while working:
            queue.done(working.pop())
        rest = set()
        while len(queue):
            key = await queue.get()
            queue.done(key)
            rest.add(key)
        assert rest == owed

    asyncio.run(play())
