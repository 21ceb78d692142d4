"""All rules of one TargetApp over all its instances: memories, steps, and when to look again.

`observe` steps every rule for one instance's new observation; `settle` notes how a run ended. The book knows
nothing of clusters or clocks, so `kco test` and `kco replay` run the very same code in virtual time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kco.rules import memory as memories
from kco.rules.memory import FRESH, RuleMemory
from kco.rules.step import FIRED, HOUR, Decision, step
from kco.rules.trigger import Observation, about_endpoint
from kco.spec.targetapp import Action, TargetAppSpec


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


class RuleBook:
    """Rules and memories of one TargetApp."""

    __slots__ = ("_budget", "_due", "_memories", "_rules", "latest")

    def __init__(self, spec: TargetAppSpec, entries: Iterable[Mapping[str, Any]] = ()) -> None:
        self._memories: dict[tuple[str, str], RuleMemory] = {}
        self._due: dict[str, float] = {}
        self.latest: dict[tuple[str, str], Decision] = {}
        for entry in entries:
            key = (str(entry.get("name", "")), str(entry.get("instance") or ""))
            self._memories[key] = memories.read(entry)
        self.replace_rules(spec)

    def replace_rules(self, spec: TargetAppSpec) -> None:
        """Take over an edited spec: unchanged rules keep their memory, others start afresh."""
        self._rules = spec.actions
        self._budget = spec.max_actions_per_hour
        names = {rule.rule for rule in self._rules}
        for key in [key for key in self._memories if key[0] not in names]:
            # The transition count outlives the rule: a rule of the same name must not reuse ActionRun names.
            if self._memories[key].transitions == 0:
                del self._memories[key]
                self.latest.pop(key, None)
        self._due.clear()

    @property
    def rules(self) -> list[Action]:
        return self._rules

    def memory(self, rule: str, instance: str = "") -> RuleMemory:
        return self._memories.get((rule, instance), FRESH)

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
            before = self._memories.get(key, FRESH)
            after, decision = step(
                rule, before, seen, now, target_fired=self._target_fired(now), target_budget=self._budget
            )
            self._memories[key] = after
            self.latest[key] = decision
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
        before = self._memories.get(key, FRESH)
        after = memories.after_run(
            before,
            succeeded=succeeded,
            failures=rule.breaker.failures,
            reset_after=rule.breaker.reset_after,
            now=now,
        )
        self._memories[key] = after
        return after.open_until is not None and after.open_until != before.open_until

    def already_ran(self, rule_name: str, instance: str, transition: int, moment: float) -> None:
        """The ledger knows a later transition than the status: a crash came between the two."""
        key = (rule_name, instance)
        memory = self._memories.get(key, FRESH)
        if transition > memory.transitions:
            rule = next((rule for rule in self._rules if rule.rule == rule_name), None)
            self._memories[key] = replace(
                memory,
                fingerprint=memory.fingerprint or (rule.fingerprint if rule else ""),
                transitions=transition,
                latched=True,
                since=memory.since if memory.since is not None else moment,
                last_fired=moment,
                fired=(*memory.fired, moment),
            )

    def forget(self, instance: str) -> None:
        """An instance is gone for good (a pod of its own name)."""
        for key in [key for key in self._memories if key[1] == instance]:
            del self._memories[key]
            self.latest.pop(key, None)
        self._due.pop(instance, None)

    def write(self) -> list[dict[str, Any]]:
        """Memories as `status.rules`, in a fixed order."""
        return [
            memories.write(name, instance, memory)
            for (name, instance), memory in sorted(self._memories.items())
            if memory != RuleMemory(fingerprint=memory.fingerprint)
        ]

    def _target_fired(self, now: float) -> tuple[float, ...]:
        if self._budget is None:
            return ()
        return tuple(
            moment for memory in self._memories.values() for moment in memory.fired if now - moment < HOUR
        )
