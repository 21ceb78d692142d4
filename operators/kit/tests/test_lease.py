"""Who holds a Lease, in virtual time, against an API kept in memory."""

import asyncio
import copy
from typing import Any

import pytest

from operator_kit.clock import ManualClock
from operator_kit.kube.failure import ApiFailure
from operator_kit.kube.lease import Leadership, Membership, owner_of


class Api:
    """One namespace's Leases, with resource versions; `down` makes every request fail."""

    def __init__(self) -> None:
        self.leases: dict[str, dict[str, Any]] = {}
        self.version = 0
        self.down = False

    def _answer(self) -> None:
        if self.down:
            raise ApiFailure(0, "Disconnected", "down")

    async def get(self, _: Any, namespace: str, name: str) -> dict[str, Any]:
        self._answer()
        if name not in self.leases:
            raise ApiFailure(404, "NotFound", name)
        return copy.deepcopy(self.leases[name])

    async def create(self, _: Any, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        self._answer()
        name = body["metadata"]["name"]
        if name in self.leases:
            raise ApiFailure(409, "AlreadyExists", name)
        return self._store(name, body)

    async def replace(self, _: Any, namespace: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        self._answer()
        if body["metadata"]["resourceVersion"] != self.leases[name]["metadata"]["resourceVersion"]:
            raise ApiFailure(409, "Conflict", name)
        return self._store(name, body)

    async def patch(self, _: Any, namespace: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        current = await self.get(_, namespace, name)
        current["spec"].update(body["spec"])
        return self._store(name, current)

    async def list(self, _: Any, namespace: str, **__: Any) -> dict[str, Any]:
        self._answer()
        return {"items": [copy.deepcopy(lease) for lease in self.leases.values()]}

    def _store(self, name: str, body: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        stored = copy.deepcopy(body)
        stored["metadata"]["resourceVersion"] = str(self.version)
        self.leases[name] = stored
        return copy.deepcopy(stored)


def leadership(api: Api, clock: ManualClock, identity: str) -> Leadership:
    return Leadership(api, namespace="ns", name="leader", identity=identity, clock=clock)  # type: ignore[arg-type]


async def test_one_of_two_holds_the_lease_and_the_other_takes_over_after_its_duration() -> None:
    api, clock = Api(), ManualClock()
    one, two = leadership(api, clock, "one"), leadership(api, clock, "two")
    await one.attempt()
    await two.attempt()
    assert (one.held, two.held, two.holder) == (True, False, "one")
    for _ in range(7):
        await clock.advance(2)
        await two.attempt()
    assert not two.held
    await clock.advance(2)
    await two.attempt()
    assert two.held
    await one.attempt()
    assert not one.held


async def test_a_leader_that_cannot_renew_steps_down_before_anybody_may_replace_it() -> None:
    api, clock = Api(), ManualClock()
    one = leadership(api, clock, "one")
    await one.attempt()
    api.down = True
    await clock.advance(8)
    await one.attempt()
    assert one.held
    await clock.advance(3)
    await one.attempt()
    assert not one.held
    assert clock.now() - 1_700_000_000 < 15


async def test_a_released_lease_is_free_at_once() -> None:
    api, clock = Api(), ManualClock()
    one, two = leadership(api, clock, "one"), leadership(api, clock, "two")
    await one.attempt()
    await one.release()
    await two.attempt()
    assert (one.held, two.held) == (False, True)


async def test_an_expired_clock_of_another_replica_changes_nothing() -> None:
    api, clock = Api(), ManualClock()
    slow = ManualClock(start=1_000_000_000.0)
    one, two = leadership(api, slow, "one"), leadership(api, clock, "two")
    await one.attempt()
    await two.attempt()
    await clock.advance(10)
    await one.attempt()
    await two.attempt()
    assert not two.held


async def test_members_are_those_whose_leases_move() -> None:
    api, clock = Api(), ManualClock()
    members = [
        Membership(api, namespace="ns", group="g", identity=name, clock=clock)  # type: ignore[arg-type]
        for name in ("a", "b")
    ]
    for member in members:
        await member.beat()
    await members[0].beat()
    assert members[0].live == ("a", "b")
    for _ in range(5):
        await clock.advance(4)
        await members[0].beat()
    assert members[0].live == ("a",)


def test_a_departure_moves_only_the_keys_of_the_one_that_left() -> None:
    keys = [f"uid-{number}" for number in range(500)]
    three = {key: owner_of(key, ("a", "b", "c")) for key in keys}
    two = {key: owner_of(key, ("a", "c")) for key in keys}
    assert all(two[key] == three[key] for key in keys if three[key] != "b")
    assert min(list(three.values()).count(name) for name in "abc") > 100
    assert owner_of("x", ()) is None


@pytest.mark.parametrize("seconds", [0.5, 3.0])
async def test_the_manual_clock_wakes_sleepers_in_order(seconds: float) -> None:
    clock = ManualClock(0)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, wait: float) -> None:
        await clock.sleep(wait)
        woken.append((name, clock.now()))

    import asyncio

    tasks = [asyncio.create_task(sleeper(name, wait * seconds)) for name, wait in (("late", 2), ("early", 1))]
    await clock.advance(10)
    await asyncio.gather(*tasks)
    assert woken == [("early", seconds), ("late", 2 * seconds)]


@pytest.mark.parametrize("steps", range(1, 12))
async def test_a_cancelled_competition_ends_whenever_the_cancellation_comes(steps: int) -> None:
    """Also when it comes in the very step in which the API server's answer does."""
    made = Leadership(Api(), namespace="n", name="l", identity="a", clock=ManualClock())  # type: ignore[arg-type]
    running = asyncio.create_task(made.run())
    for _ in range(steps):
        await asyncio.sleep(0)
    running.cancel()
    for _ in range(20):
        await asyncio.sleep(0)
    assert running.cancelled()
