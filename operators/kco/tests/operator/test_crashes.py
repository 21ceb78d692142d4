"""A replica that dies between any two of its steps: the next one does what is left, once."""

import asyncio
import os
from typing import Any

RULE = {
    "name": "tell",
    "trigger": {"field": "application.health", "condition": "equals", "value": "unhealthy"},
    "action": "webhook",
    "retry": {"attempts": 1},
}


async def finished(world: Any, namespace: str) -> Any:
    return [run for run in await world.runs(namespace) if (run.get("status") or {}).get("finishedAt")]


async def story(world: Any, replica: Any, die_at: int | None) -> int:
    """A transition, a crash at one step, a second replica; how many steps the first one made."""
    namespace = await world.namespace()
    app, hook = await world.application(), await world.application()
    rule = {**RULE, "parameters": {"url": hook.url, "attempts": 1}}
    await world.make(namespace, graphqlEndpoint=app.url, actions=[rule])
    app.turn(application={"health": "unhealthy"})
    first = replica(world, namespace, die_at=die_at)
    if die_at is None:
        await world.until(lambda: finished(world, namespace))
        # Long enough for everything that comes after: status, pruning, the next poll.
        await asyncio.sleep(8)
        assert await first.stop() == 0
        return int(first.steps)
    await world.until(lambda: first.dead)
    second = replica(world, namespace)
    (run,) = await world.until(lambda: finished(world, namespace))
    # Nothing is repeated: not after the next polls, not after the memory of the rule was written and read.
    await asyncio.sleep(30)
    assert await second.stop() == 0
    assert len(await world.runs(namespace)) == 1
    phase, began = run["status"]["phase"], "startedAt" in run["status"]
    assert hook.requests <= 1
    # Only a run that had been noted as begun may be left Unknown; any other is made, never given up.
    assert phase == "Unknown" if hook.requests == 0 else phase in ("Succeeded", "Unknown")
    assert phase == "Succeeded" or began
    await app.stop()
    await hook.stop()
    return 0


def test_47_a_crash_at_any_step_of_the_operator_neither_repeats_nor_loses_a_transition(
    in_virtual_time, replica
) -> None:
    """Between any two awaits of any task. KCO_CRASH_STRIDE=1 tries every step, the default every seventh."""
    stride = int(os.environ.get("KCO_CRASH_STRIDE", "7"))

    async def main(world: Any) -> None:
        steps = await story(world, replica, None)
        assert steps > 100, "the whole operator is counted"
        for at in range(1, steps + 1, stride):
            await story(world, replica, at)

    in_virtual_time(main)
