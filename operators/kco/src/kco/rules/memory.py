"""What a rule must remember between polls, and across restarts: it is written into the TargetApp's status.

Times are wall times in seconds, so that they mean the same to the next process.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from operator_kit.clock import from_rfc3339, to_micro_time


@dataclass(frozen=True, slots=True)
class RuleMemory:
    """One rule's memory for one instance.

    `since`: when the condition began to hold; `latched`: it held long enough and has fired, so it must
    clear before it can fire again; `transitions`: how often it has fired, ever (names ActionRuns);
    `fired`: when it fired within the last hour; `failures`: failed runs in a row; `open_until`: breaker;
    `told`: the suppression that was already told about (once for each edge).
    """

    fingerprint: str = ""
    since: float | None = None
    latched: bool = False
    transitions: int = 0
    last_fired: float | None = None
    fired: tuple[float, ...] = ()
    failures: int = 0
    open_until: float | None = None
    told: str = ""

    def renewed(self, fingerprint: str) -> "RuleMemory":
        """The rule was edited: everything starts afresh but the count that names ActionRuns."""
        return RuleMemory(fingerprint=fingerprint, transitions=self.transitions)


FRESH = RuleMemory()


def write(name: str, instance: str, memory: RuleMemory) -> dict[str, Any]:
    """As an entry of `status.rules`."""
    entry: dict[str, Any] = {
        "name": name,
        "fingerprint": memory.fingerprint,
        "active": memory.latched,
        "transitions": memory.transitions,
    }
    if instance:
        entry["instance"] = instance
    for key, moment in (
        ("since", memory.since),
        ("lastFired", memory.last_fired),
        ("breakerOpenUntil", memory.open_until),
    ):
        if moment is not None:
            entry[key] = to_micro_time(moment)
    if memory.fired:
        entry["firedWithinHour"] = [to_micro_time(moment) for moment in memory.fired]
    if memory.failures:
        entry["failures"] = memory.failures
    if memory.told:
        entry["suppressed"] = memory.told
    return entry


def read(entry: Mapping[str, Any]) -> RuleMemory:
    """From an entry of `status.rules`; what cannot be read counts as not written."""

    def moment(key: str) -> float | None:
        try:
            return from_rfc3339(entry[key]) if entry.get(key) else None
        except (ValueError, TypeError, AttributeError):
            return None

    fired = []
    for text in entry.get("firedWithinHour") or []:
        try:
            fired.append(from_rfc3339(text))
        except (ValueError, TypeError, AttributeError):
            continue
    return RuleMemory(
        fingerprint=str(entry.get("fingerprint") or ""),
        since=moment("since"),
        latched=bool(entry.get("active")),
        transitions=int(entry.get("transitions") or 0),
        last_fired=moment("lastFired"),
        fired=tuple(fired),
        failures=int(entry.get("failures") or 0),
        open_until=moment("breakerOpenUntil"),
        told=str(entry.get("suppressed") or ""),
    )


def after_run(
    memory: RuleMemory, *, succeeded: bool, failures: int, reset_after: float, now: float
) -> RuleMemory:
    """What a finished run means for the rule: failures in a row open its breaker."""
    if succeeded:
        return replace(memory, failures=0, open_until=None)
    count = memory.failures + 1
    return replace(
        memory, failures=count, open_until=now + reset_after if count >= failures else memory.open_until
    )
