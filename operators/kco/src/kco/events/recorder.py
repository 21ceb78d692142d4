"""Writes Kubernetes Events, in order for each object, retried until the API server has them.

The same sentence again within ten minutes raises the count of the Event that is there. An object that has
much to say is allowed a burst; beyond it, its sentences are gathered under one Event per reason whose count
tells how many there were. A sentence counts as said only when the API server has taken it.
"""

import asyncio
import hashlib
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kco.events.wording import cut
from operator_kit.clock import Clock, to_rfc3339
from operator_kit.kube.client import EVENTS, KubeClient
from operator_kit.kube.failure import ApiFailure
from operator_kit.logging import record

log = logging.getLogger(__name__)

REPEAT_WINDOW = 600.0
BURST = 25
REFILL_SECONDS = 12.0
MAX_WAITING = 1000
MAX_SAID = 10_000
GATHERED = "many changes in a short time; details are gathered here"


@dataclass(frozen=True, slots=True)
class Subject:
    """The object that an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    resource_version: str = ""


@dataclass(slots=True)
class _Said:
    name: str
    count: int
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class _Sentence:
    subject: Subject
    type: str
    reason: str
    message: str
    moment: float
    kind: str


class _Voice:
    """One object's queue and its allowance."""

    __slots__ = ("filled_at", "task", "tokens", "waiting")

    def __init__(self, moment: float) -> None:
        self.waiting: deque[_Sentence] = deque()
        self.task: asyncio.Task[None] | None = None
        self.tokens = float(BURST)
        self.filled_at = moment

    def may(self, moment: float) -> bool:
        self.tokens = min(BURST, self.tokens + (moment - self.filled_at) / REFILL_SECONDS)
        self.filled_at = moment
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class EventRecorder:
    """Takes sentences without waiting; `drain` waits until all are written."""

    def __init__(
        self,
        client: KubeClient,
        *,
        clock: Clock,
        component: str = "kco",
        instance: str = "kco",
        redact: Callable[[str], str] = str,
        written: Callable[[Subject, str], None] = lambda subject, kind: None,
        failed: Callable[[], None] = lambda: None,
        concurrency: int = 10,
    ) -> None:
        self._client = client
        self._clock = clock
        self._component = component
        self._instance = instance
        self._redact = redact
        self._written = written
        self._failed = failed
        self._gate = asyncio.Semaphore(concurrency)
        self._voices: dict[str, _Voice] = {}
        self._speaking: set[asyncio.Task[None]] = set()
        self._said: OrderedDict[tuple[str, str, str, bytes], _Said] = OrderedDict()
        self._counter = 0

    def emit(self, subject: Subject, type: str, reason: str, message: str, *, kind: str = "change") -> None:
        """Say something about an object; `kind` is a word for metrics."""
        voice = self._voices.get(subject.uid)
        if voice is None:
            voice = self._voices[subject.uid] = _Voice(self._clock.monotonic())
        if len(voice.waiting) >= MAX_WAITING:
            # Bounded memory in a long API outage; what is dropped is counted as an error, not hidden.
            voice.waiting.popleft()
            self._failed()
        if kind == "change" and not voice.may(self._clock.monotonic()):
            message = GATHERED
        text = cut(self._redact(message))
        voice.waiting.append(_Sentence(subject, type, reason, text, self._clock.now(), kind))
        if voice.task is None:
            voice.task = asyncio.create_task(
                self._speak(subject.uid, voice), name=f"events of {subject.name}"
            )
            self._speaking.add(voice.task)
            voice.task.add_done_callback(self._speaking.discard)

    async def drain(self, seconds: float) -> None:
        """Wait until everything has been written, or so long."""
        if self._speaking:
            _, late = await asyncio.wait(self._speaking, timeout=seconds)
            for task in late:
                task.cancel()

    def forget(self, uid: str) -> None:
        """An object is gone: nothing more is kept for it (what waits is still written)."""
        self._voices.pop(uid, None)
        for key in [key for key in self._said if key[0] == uid]:
            del self._said[key]

    async def _speak(self, uid: str, voice: _Voice) -> None:
        wait = 0.5
        try:
            while voice.waiting:
                try:
                    async with self._gate:
                        await self._write(voice.waiting[0])
                except ApiFailure as failure:
                    if not failure.transient and not failure.conflict:
                        record(log, logging.ERROR, "event_refused", error=str(failure))
                        self._failed()
                        voice.waiting.popleft()
                        continue
                    await self._clock.sleep(max(wait, failure.retry_after or 0.0))
                    wait = min(wait * 2, 30.0)
                    continue
                wait = 0.5
                sentence = voice.waiting.popleft()
                self._written(sentence.subject, sentence.kind)
        finally:
            voice.task = None
            if not voice.waiting and voice.tokens >= BURST - 1 and self._voices.get(uid) is voice:
                del self._voices[uid]

    async def _write(self, sentence: _Sentence) -> None:
        # A digest: thousands of sentences are remembered, and each may be a kilobyte long.
        mark = hashlib.blake2b(sentence.message.encode(), digest_size=12).digest()
        key = (sentence.subject.uid, sentence.type, sentence.reason, mark)
        said = self._said.get(key)
        if said is not None and sentence.moment - said.last < REPEAT_WINDOW:
            body = {"count": said.count + 1, "lastTimestamp": to_rfc3339(sentence.moment)}
            try:
                await self._client.patch(EVENTS, sentence.subject.namespace, said.name, body)
            except ApiFailure as failure:
                if not failure.not_found:
                    raise
                # The Event has expired meanwhile: begin a new one.
                del self._said[key]
            else:
                said.count += 1
                said.last = sentence.moment
                self._said.move_to_end(key)
                return
        name = self._name(sentence)
        try:
            await self._client.create(EVENTS, sentence.subject.namespace, self._body(sentence, name))
        except ApiFailure as failure:
            if not failure.already_exists:
                raise
        if sentence.subject.uid in self._voices:
            # Of an object that is gone meanwhile nothing is kept.
            self._said[key] = _Said(name, 1, sentence.moment, sentence.moment)
        self._forget_old(sentence.moment)

    def _forget_old(self, moment: float) -> None:
        """What was said too long ago to be counted up, and more than can be kept."""
        while self._said:
            key, oldest = next(iter(self._said.items()))
            if len(self._said) <= MAX_SAID and moment - oldest.last < REPEAT_WINDOW:
                return
            del self._said[key]

    def _name(self, sentence: _Sentence) -> str:
        # A name of its own for each sentence makes a retried POST that had landed harmless.
        self._counter += 1
        stamp = int(sentence.moment * 1e9) + self._counter
        return f"{sentence.subject.name[:220]}.{stamp:x}"

    def _body(self, sentence: _Sentence, name: str) -> dict[str, Any]:
        subject = sentence.subject
        when = to_rfc3339(sentence.moment)
        involved = {
            "apiVersion": subject.api_version,
            "kind": subject.kind,
            "namespace": subject.namespace,
            "name": subject.name,
            "uid": subject.uid,
        }
        if subject.resource_version:
            involved["resourceVersion"] = subject.resource_version
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": subject.namespace},
            "involvedObject": involved,
            "type": sentence.type,
            "reason": sentence.reason,
            "message": sentence.message,
            "count": 1,
            "firstTimestamp": when,
            "lastTimestamp": when,
            "source": {"component": self._component, "host": self._instance},
            "reportingComponent": "operator.kco.local/kco",
            "reportingInstance": self._instance,
        }
