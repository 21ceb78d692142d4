"""One live TargetApp: what it is, what is known of its instances, what is to be told of it.

What happens to it is elsewhere, each step calling the one before: `answers` (a state, or none, has come), `following`
(which instances are polled), `configuration` (the object has changed), `controller` (all of them).
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson

from kco.events.recorder import Subject
from kco.metrics import ACTIONS, EVENTS, POLLS, TargetCounts
from kco.operator import status as st
from kco.operator.preparation import Prepared
from kco.operator.services import Services
from kco.polling.poll import Poll
from kco.polling.subscription import Subscription
from kco.prediction.forecaster import Forecaster
from kco.rules.book import RuleBook
from kco.spec.path import FieldPath, parse_path
from kco.spec.reading import read
from kco.spec.targetapp import API_VERSION, TargetAppSpec
from kco.state.value import MISSING
from kco.targets.instance import Instance

NOT_AT_ALL, ROUTINE, SOON, NOW = 0, 1, 2, 3
RECENT_RUNS = 5


@dataclass(slots=True)
class Followed:
    """What is known of one instance."""

    instance: Instance
    state: Any = MISSING
    seen_digest: str = ""
    failures: int = 0
    error: str = ""
    down: bool = False
    answered_at: float = 0.0
    subscription: Subscription | None = None
    timer: asyncio.TimerHandle | None = None


class Target:
    """One TargetApp (one uid). There are thousands: slots, and nothing twice."""

    __slots__ = (
        "_before",
        "_spec",
        "authorized",
        "book",
        "conditions",
        "counts",
        "endpoint_text",
        "followed",
        "forecaster",
        "generation",
        "last_error",
        "message",
        "name",
        "namespace",
        "parted",
        "pod_counts",
        "prepared",
        "recent_runs",
        "restored",
        "restored_down",
        "restored_rules",
        "services",
        "state_word",
        "subject",
        "told_generation",
        "uid",
        "urgency",
        "written_at",
    )

    def __init__(self, body: dict[str, Any], services: Services) -> None:
        metadata = body["metadata"]
        self.namespace: str = metadata["namespace"]
        self.name: str = metadata["name"]
        self.uid: str = metadata["uid"]
        self.services = services
        self.prepared: Prepared | None = None
        self.followed: dict[str, Followed] = {}
        # What the single pod said last, until the one that takes its place answers.
        self.parted: Any = MISSING
        self.counts = TargetCounts()
        self.conditions = st.Conditions()
        self.book: RuleBook | None = None
        self.forecaster: Forecaster | None = None
        self.authorized = True
        self.message = ""
        self.state_word = st.INITIALIZING
        self.endpoint_text = ""
        self.last_error = ""
        self.urgency = NOT_AT_ALL
        self.written_at = 0.0
        self.recent_runs: list[dict[str, Any]] = []
        self.pod_counts = (0, 0)
        self._spec: bytes | TargetAppSpec
        self.update(body)
        self._restore(body.get("status") or {})

    # -- the object --------------------------------------------------------------------------------------

    def update(self, body: dict[str, Any]) -> None:
        """Take over the object's current version."""
        self.generation = int(body["metadata"].get("generation") or 0)
        self.conditions.generation = self.generation
        # Copied: orjson's own bytes hold on to a buffer of several kilobytes, for each target.
        self._spec = bytes(memoryview(orjson.dumps(body.get("spec"))))
        self.subject = Subject(
            API_VERSION,
            "TargetApp",
            self.namespace,
            self.name,
            self.uid,
            str(body["metadata"].get("resourceVersion") or ""),
        )

    def spec(self) -> TargetAppSpec:
        """`spec`, read when it is first asked for; InvalidSpec, each time, where it is wrong."""
        if isinstance(self._spec, bytes):
            self._spec = read(orjson.loads(self._spec))
        return self._spec

    def _restore(self, status: dict[str, Any]) -> None:
        """What an earlier process knew and told, so that a restart says nothing twice."""
        self.conditions.load(status.get("conditions") or [])
        self.told_generation = int(status.get("observedGeneration") or 0)
        if self.told_generation == self.generation and self.conditions.status(st.READY) == "False":
            self.message = self.conditions.message(st.READY)
        self.restored_rules = [entry for entry in status.get("rules") or [] if isinstance(entry, dict)]
        instances = [entry for entry in status.get("instances") or [] if isinstance(entry, dict)]
        self.restored = {str(entry.get("name") or ""): str(entry.get("digest") or "") for entry in instances}
        down = self.conditions.reason(st.ENDPOINT_REACHABLE) == st.ENDPOINT_DOWN
        self.restored_down = tuple(
            str(entry.get("name") or "") for entry in instances if down and entry.get("error")
        )
        self._before = (int(status.get("actionsExecuted") or 0), int(status.get("eventsGenerated") or 0))
        self.recent_runs = list(status.get("recentRuns") or [])[-RECENT_RUNS:]

    # -- telling -----------------------------------------------------------------------------------------

    def say(self, type: str, reason: str, message: str, *, kind: str = "change") -> None:
        """Raise an Event about this TargetApp."""
        self.services.recorder.emit(self.subject, type, reason, message, kind=kind)

    def want_status(self, urgency: int) -> None:
        """The status has something new, to be written NOW, SOON or with the ROUTINE."""
        self.urgency = max(self.urgency, urgency)

    def note_run(self, run: dict[str, Any]) -> None:
        """Keep a finished run for the status; the latest few."""
        self.recent_runs = [*self.recent_runs[1 - RECENT_RUNS :], run]

    def redact(self, text: str) -> str:
        return self.services.redactor(text)

    def hidden(self) -> list[FieldPath]:
        """The fields whose values are told to nobody."""
        return [parse_path(text) for text in self.prepared.spec.events.redact] if self.prepared else []

    # -- readings ----------------------------------------------------------------------------------------

    def polls(self) -> list[Poll]:
        polls = self.services.engine.polls
        found = (polls.get(f"{self.uid}/{name}") for name in self.followed)
        return [poll for poll in found if poll is not None]

    def answered(self) -> bool:
        return any(followed.state is not MISSING for followed in self.followed.values())

    def last_polled(self) -> float:
        """Wall time of the last answer or failure."""
        loop_now, now = self.services.clock.monotonic(), self.services.clock.now()
        latest = max((poll.answered_at for poll in self.polls()), default=0.0)
        streamed = max((entry.answered_at for entry in self.followed.values()), default=0.0)
        return max(now - (loop_now - latest) if latest else 0.0, streamed)

    def rule_entries(self) -> list[dict[str, Any]]:
        """The rules' memories as they go into the status."""
        return self.book.write() if self.book is not None else self.restored_rules

    def actions_executed(self) -> int:
        """Over all processes that have followed this TargetApp."""
        return self._before[0] + sum(n for (_, word), n in self.counts.of(ACTIONS) if word != "dry_run")

    def events_generated(self) -> int:
        return self._before[1] + sum(n for _, n in self.counts.of(EVENTS))

    def gather_polls(self) -> None:
        for poll in self.polls():
            self.gather(poll)

    def gather(self, poll: Poll) -> None:
        """Take a poll's counts over."""
        for word, count in (
            ("success", poll.succeeded),
            ("error", poll.failed),
            ("rate_limited", poll.rate_limited),
        ):
            if count:
                self.counts.add(POLLS, word, by=count)
        poll.succeeded = poll.failed = poll.rate_limited = 0
