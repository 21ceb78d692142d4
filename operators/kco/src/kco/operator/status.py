"""A TargetApp's status: conditions with their times, the brief's fields, the rules' memory.

Written with a merge patch on the status subresource, so that it can neither conflict with the user's edits
of the spec nor overwrite them.
"""

from dataclasses import dataclass, field
from typing import Any

from operator_kit.clock import from_rfc3339, to_rfc3339

READY, ENDPOINT_REACHABLE, QUERY_VALID, ACTIONS_AUTHORIZED = (
    "Ready",
    "EndpointReachable",
    "QueryValid",
    "ActionsAuthorized",
)
ENDPOINT_DOWN = "EndpointDown"
INITIALIZING, MONITORING, FAILED, SUSPENDED = "Initializing", "Monitoring", "Failed", "Suspended"


@dataclass(frozen=True, slots=True)
class _Condition:
    status: str
    reason: str
    message: str
    generation: int
    since: float

    def write(self, kind: str) -> dict[str, Any]:
        return {
            "type": kind,
            "status": self.status,
            "reason": self.reason,
            "message": self.message,
            "observedGeneration": self.generation,
            "lastTransitionTime": to_rfc3339(self.since),
        }


def _moment(text: Any) -> float:
    """What cannot be read counts as never."""
    try:
        return from_rfc3339(text)
    except (ValueError, TypeError, AttributeError):
        return 0.0


UNKNOWN = _Condition("Unknown", "", "", 0, 0.0)


@dataclass(slots=True)
class Conditions:
    """The conditions of one object; `set` says whether anything that people care about has changed."""

    generation: int = 0
    _entries: dict[str, _Condition] = field(default_factory=dict)

    def load(self, entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            if isinstance(entry, dict) and entry.get("type"):
                self._entries[entry["type"]] = _Condition(
                    str(entry.get("status") or "Unknown"),
                    str(entry.get("reason") or ""),
                    str(entry.get("message") or ""),
                    int(entry.get("observedGeneration") or 0),
                    _moment(entry.get("lastTransitionTime")),
                )

    def set(self, kind: str, status: str, reason: str, message: str, now: float) -> bool:
        old = self._entries.get(kind, UNKNOWN)
        since = old.since if old.status == status and old.since else now
        made = _Condition(status, reason, message[:1024], self.generation, since)
        self._entries[kind] = made
        return (old.status, old.reason, old.generation) != (status, reason, self.generation)

    def status(self, kind: str) -> str:
        return self._entries.get(kind, UNKNOWN).status

    def reason(self, kind: str) -> str:
        return self._entries.get(kind, UNKNOWN).reason

    def message(self, kind: str) -> str:
        return self._entries.get(kind, UNKNOWN).message

    def write(self) -> list[dict[str, Any]]:
        order = (READY, ENDPOINT_REACHABLE, QUERY_VALID, ACTIONS_AUTHORIZED)
        return [self._entries[kind].write(kind) for kind in order if kind in self._entries]
