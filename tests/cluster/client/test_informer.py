"""The informer: its cache is what the server said last, whatever happens to lists and watches."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from slipway.cluster.client.informer import Informer
from slipway.cluster.client.resources import PODS


def pod(name: str, revision: int, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": "ns",
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": str(revision),
            "labels": labels,
        },
    }


def pods(revision: int, *items: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "PodList", "metadata": {"resourceVersion": str(revision)}, "items": list(items)}


@asynccontextmanager
async def running(informer: Informer) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_the_cache_follows_list_and_watch_and_tells_handlers(scripted: SimpleNamespace) -> None:
    script = scripted.play(
        scripted.answer(pods(5, pod("a", 3), pod("b", 4))),
        scripted.stream(("MODIFIED", pod("a", 6, x="1")), ("DELETED", pod("b", 7)), ("ADDED", pod("c", 8))),
    )
    informer = Informer(script.client, PODS)
    seen: list[tuple[int, int]] = []

    def revision(obj: dict[str, Any] | None) -> int:
        return int(obj["metadata"]["resourceVersion"]) if obj else 0

    informer.add_handler(lambda old, new: seen.append((revision(old), revision(new))))
    async with running(informer):
        assert await informer.caught_up(8, 1)
    assert [obj["metadata"]["name"] for obj in informer.list("ns")] == ["a", "c"]
    assert informer.get("ns", "b") is None
    assert seen == [(0, 3), (0, 4), (3, 6), (7, 0), (0, 8)]
    assert script.query(1)["resourceVersion"] == "5"


async def test_an_expired_watch_is_answered_with_a_new_list(scripted: SimpleNamespace) -> None:
    expired = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"}
    script = scripted.play(
        scripted.answer(pods(5, pod("a", 3), pod("b", 4))),
        scripted.stream(("ERROR", expired)),
        scripted.answer(pods(90, pod("b", 80))),
    )
    informer = Informer(script.client, PODS)
    async with running(informer):
        assert await informer.caught_up(90, 1)
    assert [obj["metadata"]["resourceVersion"] for obj in informer.list()] == ["80"]


async def test_a_watch_goes_on_from_the_bookmark(scripted: SimpleNamespace) -> None:
    bookmark = {"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "40"}}
    script = scripted.play(scripted.answer(pods(5)), scripted.stream(("BOOKMARK", bookmark)))
    informer = Informer(script.client, PODS)
    async with running(informer):
        await informer.caught_up(40, 1)
        await script.at_its_end.wait()
    assert script.query(2)["resourceVersion"] == "40"
    assert informer.list() == []


async def test_an_index_answers_by_value_and_forgets_what_left(scripted: SimpleNamespace) -> None:
    script = scripted.play(
        scripted.answer(pods(5, pod("a", 3, app="x"), pod("b", 4, app="x"))),
        scripted.stream(("MODIFIED", pod("a", 6, app="y"))),
    )
    informer = Informer(script.client, PODS)
    informer.add_index("app", lambda obj: (obj["metadata"]["labels"]["app"],))
    async with running(informer):
        assert await informer.caught_up(6, 1)
    assert [obj["metadata"]["name"] for obj in informer.indexed("app", "x")] == ["b"]
    assert [obj["metadata"]["name"] for obj in informer.indexed("app", "y")] == ["a"]
    assert informer.indexed("app", "z") == []


async def test_waiting_for_a_revision_that_does_not_come_ends(scripted: SimpleNamespace) -> None:
    informer = Informer(scripted.play(scripted.answer(pods(5))).client, PODS)
    async with running(informer):
        assert not await informer.caught_up(6, 0.01)


async def test_one_failing_handler_does_not_hide_changes_from_the_next(scripted: SimpleNamespace) -> None:
    informer = Informer(scripted.play(scripted.answer(pods(5, pod("a", 3)))).client, PODS)
    seen = []

    def broken(old: Any, new: Any) -> None:
        raise RuntimeError("no")

    informer.add_handler(broken)
    informer.add_handler(lambda old, new: seen.append(new))
    async with running(informer):
        assert await informer.caught_up(5, 1)
    assert len(seen) == 1


async def test_those_who_wait_for_a_change_go_on_in_the_order_in_which_they_began(
    scripted: SimpleNamespace,
) -> None:
    script = scripted.play(
        scripted.answer(pods(5)),
        scripted.stream(("ADDED", pod("a", 8))),
    )
    informer = Informer(script.client, PODS)
    order: list[int] = []

    async def wait(number: int) -> None:
        assert await informer.caught_up(8, 30)
        order.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(100)]
    await asyncio.sleep(0)  # all of them wait
    async with running(informer):
        await asyncio.gather(*waiting)
    assert order == [*range(100)]
