"""Each transition once, whatever crashes; order, limits, retries, plugins that misbehave."""

import asyncio
from collections.abc import Callable
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from kco.actions.handler import ActionHandler, Context, Parameters, Result, register_action
from kco.actions.ledger import ACTION_RUNS, Ledger, RunKey, phase_of
from kco.actions.queue import ActionQueue, Ended, Order
from kco.actions.registry import ActionRegistry, UnknownAction
from kco.spec.reading import read
from kco.spec.rule import Action
from operator_kit.clock import SystemClock
from operator_kit.kube.client import KubeClient
from operator_kit.kube.failure import ApiFailure


class Empty(Parameters):
    pass


class Scripted(ActionHandler):
    """Does what the test says and counts."""

    name = "scripted"
    parameters = Empty

    def __init__(self, work: Callable[[], Any] | None = None) -> None:
        self.executions = 0
        self.work = work

    async def execute(self, context: Context) -> Result:
        self.executions += 1
        if self.work is not None:
            outcome = self.work()
            if asyncio.iscoroutine(outcome):
                outcome = await outcome
            if isinstance(outcome, Result):
                return outcome
        return Result("Succeeded", "done")


def rule(**more: Any) -> Action:
    trigger = {"field": "a", "condition": "exists"}
    given = {"name": "r", "trigger": trigger, "action": "scripted", **more}
    return read({"stateQuery": "{a}", "graphqlEndpoint": "http://a/", "actions": [given]}).actions[0]


@pytest.fixture
async def owner(bed) -> str:
    """The uid of a TargetApp that is there: the garbage collector takes runs without an owner."""
    return str((await bed.make(graphqlEndpoint="http://a/graphql"))["metadata"]["uid"])


def key(namespace: str, uid: str = "uid-1", transition: int = 1, target: str = "app") -> RunKey:
    return RunKey(namespace, target, uid, "r", "", transition)


async def context_of(deadline: float) -> Any:
    class Small:
        @staticmethod
        def redact(text: str) -> str:
            return text

    return Small()


def order(run: RunKey, handler: ActionHandler, found: Any = None, **more: Any) -> Order:
    return Order(run, rule(**more), handler, "because", "", context_of, {}, found)


def queue(client: KubeClient, ended: list[Ended], identity: str = "one", **more: Any) -> ActionQueue:
    clock = SystemClock()
    ledger = Ledger(client, clock=clock, identity=identity)
    return ActionQueue(
        ledger, clock=clock, concurrency=more.pop("concurrency", 5), timeout=2.0, ended=ended.append, **more
    )


class Interrupting(KubeClient):
    """Cancels the task that makes the n-th request, before or after the request has reached the server."""

    def __init__(self, *args: Any, at: int, after: bool, **more: Any) -> None:
        super().__init__(*args, **more)
        self.left = at
        self.after = after
        self.crashed = asyncio.Event()

    async def request(self, *args: Any, **more: Any) -> Any:
        self.left -= 1
        if self.left > 0 and not self.crashed.is_set():
            return await super().request(*args, **more)
        if self.after and not self.crashed.is_set():
            await super().request(*args, **more)
        self.crashed.set()
        return await asyncio.Event().wait()


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", [1, 2, 3])
async def test_47_a_crash_at_any_request_neither_repeats_nor_loses_a_transition(
    client, admin, owner, namespace, until, at: int, after: bool
) -> None:
    handler, ended = Scripted(), []
    crashing = Interrupting(admin, at=at, after=after)
    first = queue(crashing, ended)
    first.submit(order(key(namespace, owner), handler))
    await asyncio.wait_for(crashing.crashed.wait(), 30)
    for task in list(first._workers.values()):
        first._ledger = None  # type: ignore[assignment]
        task.cancel()
    await crashing.close()
    # The next operator: resumes what the ledger shows, else sees the same edge again and fires it.
    ledger = Ledger(client, clock=SystemClock(), identity="two")
    found = await ledger.read(key(namespace, owner))
    second = queue(client, ended, identity="two")
    second.submit(order(key(namespace, owner), handler, found))

    async def finished() -> Any:
        run = await ledger.read(key(namespace, owner))
        return run if run and phase_of(run) in ("Succeeded", "Unknown") else None

    run = await until(finished)
    assert handler.executions <= 1
    # Only a run that was noted as Running may be left Unknown; any other is executed.
    assert (phase_of(run) == "Succeeded") == (handler.executions == 1) or phase_of(run) == "Unknown"
    if (at, after) in ((1, False), (1, True), (2, False)):
        assert phase_of(run) == "Succeeded"
        assert handler.executions == 1
    third = queue(client, ended, identity="three")
    third.submit(order(key(namespace, owner), handler))
    await asyncio.sleep(0.2)
    assert handler.executions <= 1


async def test_47_an_idempotent_run_that_was_cut_off_is_made_again(client, owner, namespace, until) -> None:
    ended: list[Ended] = []
    ledger = Ledger(client, clock=SystemClock(), identity="gone")
    await ledger.claim(
        key(namespace, owner), action="scripted", idempotent=True, reason="", pod="", nonce="1"
    )
    await ledger.started(key(namespace, owner), 1)
    handler = Scripted()
    queue(client, ended).submit(
        order(key(namespace, owner), handler, await ledger.read(key(namespace, owner)), idempotent=True)
    )
    await until(lambda: ended)
    assert (handler.executions, ended[0].result.phase) == (1, "Succeeded")


async def test_47_two_replicas_that_resume_one_run_execute_it_once(client, owner, namespace, until) -> None:
    ended: list[Ended] = []
    ledger = Ledger(client, clock=SystemClock(), identity="gone")
    await ledger.claim(
        key(namespace, owner), action="scripted", idempotent=True, reason="", pod="", nonce="1"
    )
    found = await ledger.read(key(namespace, owner))
    handler = Scripted(lambda: asyncio.sleep(0.1))
    for identity in ("one", "two", "three"):
        queue(client, ended, identity).submit(order(key(namespace, owner), handler, found))
    await until(lambda: ended)
    await asyncio.sleep(0.3)
    assert handler.executions == 1


async def test_47_a_lost_answer_to_the_claim_does_not_lose_the_action(
    client, admin, owner, namespace, until
) -> None:
    class Lossy(KubeClient):
        lost = False

        async def create(self, *args: Any, **more: Any) -> Any:
            made = await super().create(*args, **more)
            if not self.lost:
                self.lost = True
                raise ApiFailure(0, "ServerDisconnected", "the answer got lost")
            return made

    handler, ended = Scripted(), []
    async with Lossy(admin) as lossy:
        queue(lossy, ended).submit(order(key(namespace, owner), handler))
        await until(lambda: ended)
    assert handler.executions == 1


async def test_39_actions_of_one_target_run_in_order_and_all_within_the_cap(
    client, bed, namespace, until
) -> None:
    log: list[str] = []
    running = 0
    highest = 0

    def work(name: str) -> Callable[[], Any]:
        async def do() -> None:
            nonlocal running, highest
            running += 1
            highest = max(highest, running)
            log.append(name)
            await asyncio.sleep(0.05)
            running -= 1

        return do

    ended: list[Ended] = []
    uids = {name: (await bed.make(name, graphqlEndpoint="http://a/"))["metadata"]["uid"] for name in "abc"}
    actions = queue(client, ended, concurrency=2)
    for uid in ("a", "b", "c"):
        for transition in (1, 2, 3):
            actions.submit(
                order(key(namespace, uids[uid], transition, uid), Scripted(work(f"{uid}{transition}")))
            )
    await until(lambda: len(ended) == 9)
    assert highest == 2
    for uid in ("a", "b", "c"):
        assert [name for name in log if name[0] == uid] == [f"{uid}1", f"{uid}2", f"{uid}3"]


async def test_32_a_failed_action_is_retried_by_policy(client, owner, namespace, until) -> None:
    outcomes = [Result("Failed", "no"), Result("Failed", "no"), Result("Succeeded", "yes")]
    handler, ended = Scripted(lambda: outcomes.pop(0)), []
    queue(client, ended).submit(
        order(key(namespace, owner), handler, retry={"attempts": 3, "backoff": "10ms"})
    )
    await until(lambda: ended)
    assert (ended[0].attempts, ended[0].result.phase) == (3, "Succeeded")


async def test_46_an_action_that_takes_too_long_is_cancelled_and_not_repeated(
    client, owner, namespace, until
) -> None:
    cleaned = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            cleaned.append(True)

    handler, ended = Scripted(slow), []
    queue(client, ended).submit(order(key(namespace, owner), handler, timeout=1))
    await until(lambda: ended)
    assert ended[0].result.phase == "TimedOut"
    assert cleaned == [True]
    assert handler.executions == 1
    run = await client.get(ACTION_RUNS, namespace, key(namespace, owner).name)
    assert run["status"]["phase"] == "TimedOut"


async def test_45_a_plugin_that_raises_or_returns_nonsense_stops_nobody(
    client, owner, namespace, until
) -> None:
    def explode() -> None:
        raise RuntimeError("boom")

    class Nonsense(Scripted):
        async def execute(self, context: Context) -> Any:
            return 42

    ended: list[Ended] = []
    actions = queue(client, ended)
    actions.submit(order(key(namespace, owner, 1), Scripted(explode), retry={"attempts": 1}))
    actions.submit(order(key(namespace, owner, 2), Nonsense(), retry={"attempts": 1}))
    actions.submit(order(key(namespace, owner, 3), Scripted()))
    await until(lambda: len(ended) == 3)
    assert [end.result.phase for end in ended] == ["Failed", "Failed", "Succeeded"]
    assert "RuntimeError: boom" in ended[0].result.message


def test_45_third_party_actions_come_by_entry_point_or_decorator() -> None:
    point = EntryPoint("third", "kco.actions.webhook:Webhook", "kco.actions")
    broken = EntryPoint("broken", "no.such.module:Thing", "kco.actions")
    registry = ActionRegistry([point, broken])
    assert registry.handler("third").name == "webhook"
    with pytest.raises(UnknownAction, match="its plugin failed"):
        registry.handler("broken")
    assert "no" in registry.failures["broken"]

    @register_action("decorated")
    class Decorated(Scripted):
        pass

    assert isinstance(ActionRegistry([]).handler("decorated"), Decorated)


def test_45_the_built_in_actions_are_entry_points_themselves() -> None:
    registry = ActionRegistry()
    for name in ("restart_pod", "scale_deployment", "patch_resource", "webhook", "exec_command"):
        assert registry.handler(name).name == name


@pytest.mark.parametrize(
    "module", ["kco.actions.webhook", "kco.actions.registry", "kco.polling.engine", "kco.rules.book"]
)
def test_45_modules_import_in_any_order(module: str) -> None:
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


async def test_47_old_runs_are_pruned_but_the_newest_of_each_rule_stays(client, owner, namespace) -> None:
    ledger = Ledger(client, clock=SystemClock(), identity="one", keep=2)
    for transition in range(1, 6):
        run = key(namespace, owner, transition)
        await ledger.claim(run, action="a", idempotent=False, reason="", pod="", nonce="1")
        await ledger.finished(run, "Succeeded", "", {})
    await ledger.prune(await ledger.of_target(namespace, owner))
    left = {run["spec"]["transition"] for run in await ledger.of_target(namespace, owner)}
    assert 5 in left
    assert len(left) <= 3


def test_47_the_name_of_a_run_tells_its_whole_identity() -> None:
    base = key("ns")
    others = [
        key("ns", transition=2),
        key("ns", "uid-2"),
        RunKey("ns", "app", "uid-1", "s", "", 1),
        RunKey("ns", "app", "uid-1", "r", "pod-a", 1),
    ]
    assert len({base.name, *(other.name for other in others)}) == 5
    long = RunKey("ns", "a" * 253, "u", "R_" * 40, "", 1).name
    assert len(long) <= 253
    assert long == long.lower()
