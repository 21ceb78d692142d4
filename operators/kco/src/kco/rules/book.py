"""All rules of one TargetApp over all its instances: memories, steps, and when to look again.

`observe` steps every rule for one instance's new observation; `settle` notes how a run ended. The book knows
nothing of clusters or clocks, so `kco test` and `kco replay` run the very same code in virtual time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from kco.rules import memory as memories
from kco.rules.memory import FRESH, RuleMemory
from kco.rules.step import FIRED, HOUR, Decision, step
from kco.rules.trigger import Observation, about_endpoint
from kco.spec.rule import Action
from kco.spec.targetapp import TargetAppSpec


@dataclass(frozen=True, slots=True)
class Fired:
    """A rule that fired: what the action queue is given."""

    rule: Action
    instance: str
    decision: Decision


@dataclass(frozen=True, slots=True)
class Stepped:
    """The outcome of one observation: `decisions` by rule name, `fired` in the order of the rules."""

    decisions: Mapping[str, Decision]
    fired: tuple[Fired, ...]
    changed: bool


class _Judged(NamedTuple):
    """What is known of one rule for one instance: its memory, and what its last step came to."""

    memory: RuleMemory
    decision: Decision | None = None


NEVER_JUDGED = _Judged(FRESH)


class RuleBook:
    """Rules and memories of one TargetApp."""

    __slots__ = ("_budget", "_due", "_judged", "_rules")

    def __init__(self, spec: TargetAppSpec, entries: Iterable[Mapping[str, Any]] = ()) -> None:
        self._judged: dict[tuple[str, str], _Judged] = {}
        self._due: dict[str, float] = {}
        for entry in entries:
            key = (str(entry.get("name", "")), str(entry.get("instance") or ""))
            self._judged[key] = _Judged(memories.read(entry))
        self.replace_rules(spec)

    def replace_rules(self, spec: TargetAppSpec) -> None:
        """Take over an edited spec: unchanged rules keep their memory, others start afresh."""
        self._rules = spec.actions
        self._budget = spec.max_actions_per_hour
        names = {rule.rule for rule in self._rules}
        for key in [key for key in self._judged if key[0] not in names]:
            # The transition count outlives the rule: a rule of the same name must not reuse ActionRun names.
            if self._judged[key].memory.transitions == 0:
                del self._judged[key]
        self._due.clear()

    @property
    def rules(self) -> list[Action]:
        return self._rules

    def memory(self, rule: str, instance: str = "") -> RuleMemory:
        return self._judged.get((rule, instance), NEVER_JUDGED).memory

    def latest(self) -> list[tuple[tuple[str, str], Decision]]:
        """What the last step of each rule for each instance came to, in a fixed order."""
        return [
            (key, seen.decision) for key, seen in sorted(self._judged.items()) if seen.decision is not None
        ]

    def due(self, instance: str) -> float | None:
        """When `observe` has to be called again for this instance although nothing changed."""
        return self._due.get(instance)

    def observe(
        self, instance: str, seen: Observation, now: float, *, endpoint_only: bool = False
    ) -> Stepped:
        """Step all rules (or only those about the endpoint, while there is no state to judge)."""
        decisions: dict[str, Decision] = {}
        fired: list[Fired] = []
        changed = False
        dues: list[float] = []
        for rule in self._rules:
            if endpoint_only and not about_endpoint(rule.trigger):
                continue
            key = (rule.rule, instance)
            before = self.memory(*key)
            after, decision = step(
                rule, before, seen, now, target_fired=self._target_fired(now), target_budget=self._budget
            )
            self._judged[key] = _Judged(after, decision)
            decisions[rule.rule] = decision
            changed = changed or after != before
            if decision.due is not None:
                dues.append(decision.due)
            if decision.outcome == FIRED:
                fired.append(Fired(rule, instance, decision))
        if dues:
            self._due[instance] = min(dues)
        else:
            self._due.pop(instance, None)
        return Stepped(decisions, tuple(fired), changed)

    def settle(self, rule_name: str, instance: str, *, succeeded: bool, now: float) -> bool:
        """Note a run's end; True where it opened the rule's breaker."""
        rule = next((rule for rule in self._rules if rule.rule == rule_name), None)
        if rule is None:
            return False
        key = (rule_name, instance)
        before = self.memory(*key)
        after = memories.after_run(
            before,
            succeeded=succeeded,
            failures=rule.breaker.failures,
            reset_after=rule.breaker.reset_after,
            now=now,
        )
        self._remember(key, after)
        return after.open_until is not None and after.open_until != before.open_until

    def already_ran(self, rule_name: str, instance: str, transition: int, moment: float) -> None:
        """The ledger knows a later transition than the status: a crash came between the two."""
        key = (rule_name, instance)
        memory = self.memory(*key)
        if transition > memory.transitions:
            rule = next((rule for rule in self._rules if rule.rule == rule_name), None)
            memory = replace(
                memory,
                fingerprint=memory.fingerprint or (rule.fingerprint if rule else ""),
                transitions=transition,
                latched=True,
                since=memory.since if memory.since is not None else moment,
                last_fired=moment,
                fired=(*memory.fired, moment),
            )
            self._remember(key, memory)

    def forget(self, instance: str) -> None:
        """An instance is gone for good (a pod of its own name)."""
        for key in [key for key in self._judged if key[1] == instance]:
            del self._judged[key]
        self._due.pop(instance, None)

    def write(self) -> list[dict[str, Any]]:
        """Memories as `status.rules`, in a fixed order."""
        return [
            memories.write(name, instance, memory)
            for (name, instance), (memory, _) in sorted(self._judged.items())
            if memory != RuleMemory(fingerprint=memory.fingerprint)
        ]

    def _remember(self, key: tuple[str, str], memory: RuleMemory) -> None:
        self._judged[key] = self._judged.get(key, NEVER_JUDGED)._replace(memory=memory)

    def _target_fired(self, now: float) -> tuple[float, ...]:
        if self._budget is None:
            return ()
        return tuple(
            moment for seen in self._judged.values() for moment in seen.memory.fired if now - moment < HOUR
        )
