"""One step of one rule: memory and observation in, memory and decision out. No clock, no I/O.

A rule fires on the edge: its condition begins to hold, has held for `for`, and nothing holds it back. What
holds it back (cooldown, budget, breaker) does not use the edge up: it fires when it may, if the condition
still holds then. After firing it is latched until the condition clears; `repeatEvery` fires again meanwhile.
"""

from dataclasses import dataclass, replace

from kco.rules.memory import RuleMemory
from kco.rules.trigger import Finding, Observation, evaluate
from kco.spec.rule import Action

HOUR = 3600.0

FIRED, IDLE, HELD, SUPPRESSED, LATCHED, CLEARED = "fired", "idle", "held", "suppressed", "latched", "cleared"
OUTCOMES = (FIRED, IDLE, HELD, SUPPRESSED, LATCHED, CLEARED)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a step came to. `due`: when to step again even if the state does not change.

    `tell`: this suppression is new and people should hear of it.
    """

    outcome: str
    reason: str
    findings: tuple[Finding, ...] = ()
    transition: int = 0
    due: float | None = None
    tell: bool = False

    def explain(self) -> str:
        seen = "; ".join(str(finding) for finding in self.findings)
        return f"{self.outcome}: {self.reason}" + (f" [{seen}]" if seen else "")


def step(
    rule: Action,
    memory: RuleMemory,
    seen: Observation,
    now: float,
    *,
    target_fired: tuple[float, ...] = (),
    target_budget: int | None = None,
) -> tuple[RuleMemory, Decision]:
    """Judge one rule at one moment."""
    if memory.fingerprint != rule.fingerprint:
        memory = memory.renewed(rule.fingerprint)
    true, found = evaluate(rule.trigger, seen, latched=memory.latched or memory.since is not None)
    findings = tuple(found)
    if not true:
        return _clear(memory, findings)
    if memory.since is None:
        memory = replace(memory, since=now)
    assert memory.since is not None
    ripe = memory.since + rule.for_
    if not memory.latched and now < ripe:
        reason = f"holds for {now - memory.since:.0f} of {rule.for_:.0f} s"
        return memory, Decision(HELD, reason, findings, due=ripe)
    if memory.latched:
        again = None
        if rule.repeat_every is not None and memory.last_fired is not None:
            again = memory.last_fired + rule.repeat_every
        if again is None or now < again:
            return memory, Decision(LATCHED, "has fired and has not cleared since", findings, due=again)
    return _fire(rule, memory, findings, now, target_fired, target_budget)


def _clear(memory: RuleMemory, findings: tuple[Finding, ...]) -> tuple[RuleMemory, Decision]:
    if memory.latched:
        return replace(memory, latched=False, since=None, told=""), Decision(CLEARED, "cleared", findings)
    if memory.since is not None:
        reason = "cleared before it fired"
        return replace(memory, since=None, told=""), Decision(CLEARED, reason, findings)
    return memory, Decision(IDLE, "condition does not hold", findings)


def _fire(
    rule: Action,
    memory: RuleMemory,
    findings: tuple[Finding, ...],
    now: float,
    target_fired: tuple[float, ...],
    target_budget: int | None,
) -> tuple[RuleMemory, Decision]:
    fired = tuple(moment for moment in memory.fired if now - moment < HOUR)
    held = _held_back(rule, replace(memory, fired=fired), now, target_fired, target_budget)
    if held is not None:
        word, reason, ends = held
        told = memory.told == word
        return replace(memory, fired=fired, told=word), Decision(
            SUPPRESSED, reason, findings, due=ends, tell=not told
        )
    transition = memory.transitions + 1
    pulse = all(leaf.condition == "changed" for leaf in rule.trigger.leaves())
    memory = replace(
        memory,
        # `changed` is true for one poll only: each change is an edge of its own.
        latched=not pulse,
        since=None if pulse else memory.since,
        transitions=transition,
        last_fired=now,
        fired=(*fired, now) if rule.max_per_hour is not None or target_budget is not None else (),
        told="",
    )
    due = now + rule.repeat_every if rule.repeat_every is not None and not pulse else None
    return memory, Decision(FIRED, "condition holds", findings, transition=transition, due=due)


def _held_back(
    rule: Action, memory: RuleMemory, now: float, target_fired: tuple[float, ...], target_budget: int | None
) -> tuple[str, str, float] | None:
    if memory.open_until is not None and now < memory.open_until:
        reason = (
            f"breaker is open after {memory.failures} failed runs, for {memory.open_until - now:.0f} s more"
        )
        return "breaker", reason, memory.open_until
    if memory.last_fired is not None and now - memory.last_fired < rule.cooldown:
        ends = memory.last_fired + rule.cooldown
        return "cooldown", f"cooldown for {ends - now:.0f} s more", ends
    if rule.max_per_hour is not None and len(memory.fired) >= rule.max_per_hour:
        reason = f"maxPerHour {rule.max_per_hour} is used up"
        return "maxPerHour", reason, memory.fired[-rule.max_per_hour] + HOUR
    recent = sorted(moment for moment in target_fired if now - moment < HOUR)
    if target_budget is not None and len(recent) >= target_budget:
        reason = f"maxActionsPerHour {target_budget} of the TargetApp is used up"
        return "maxActionsPerHour", reason, recent[-target_budget] + HOUR
    return None
