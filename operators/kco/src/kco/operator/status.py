"""A TargetApp's status: conditions with their times, the brief's fields, the rules' memory.

Written with a merge patch on the status subresource, so that it can neither conflict with the user's edits
of the spec nor overwrite them.
"""

from dataclasses import dataclass, field
from typing import Any

from operator_kit.clock import to_rfc3339

READY, ENDPOINT_REACHABLE, QUERY_VALID, ACTIONS_AUTHORIZED = (
    "Ready",
    "EndpointReachable",
    "QueryValid",
    "ActionsAuthorized",
)
INITIALIZING, MONITORING, FAILED, SUSPENDED = "Initializing", "Monitoring", "Failed", "Suspended"


@dataclass
class Conditions:
    """The conditions of one object; `set` says whether anything that people care about has changed."""

    generation: int = 0
    _entries: dict[str, dict[str, Any]] = field(default_factory=dict)

    def load(self, entries: list[dict[str, Any]]) -> None:
        for entry in entries:
            if isinstance(entry, dict) and entry.get("type"):
                self._entries[entry["type"]] = dict(entry)

    def set(self, kind: str, status: str, reason: str, message: str, now: float) -> bool:
        old = self._entries.get(kind, {})
        moved = old.get("status") != status
        changed = moved or old.get("reason") != reason or old.get("observedGeneration") != self.generation
        self._entries[kind] = {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": message[:1024],
            "observedGeneration": self.generation,
            "lastTransitionTime": to_rfc3339(now)
            if moved
            else old.get("lastTransitionTime", to_rfc3339(now)),
        }
        return changed

    def status(self, kind: str) -> str:
        return str(self._entries.get(kind, {}).get("status", "Unknown"))

    def write(self) -> list[dict[str, Any]]:
        order = (READY, ENDPOINT_REACHABLE, QUERY_VALID, ACTIONS_AUTHORIZED)
        return [self._entries[kind] for kind in order if kind in self._entries]
