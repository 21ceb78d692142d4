"""One instance's polling: what is sent, how often, what the last answer was, what failed."""

from collections.abc import Callable
from dataclasses import dataclass

from kco.net.connection import Answer, Connection, Done
from kco.net.pool import Place
from kco.polling.rate import Bucket


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no state. `category` is a fixed word for metrics; `permanent` ones are not retried."""

    category: str
    message: str
    permanent: bool = False
    retry_after: float | None = None


NEVER = float("inf")

# Called on the event loop, synchronously: a failure, or an answer whose body differs from the last one's.
Received = Callable[["Poll", bytes | None, Failure | None], None]


class Poll:
    """A polled instance. Mutable on purpose and without a task of its own: there are thousands."""

    __slots__ = (
        "answered_at",
        "attempt",
        "body",
        "bucket",
        "deadline",
        "done",
        "failed",
        "hops",
        "in_flight",
        "interval",
        "key",
        "limit",
        "max_retries",
        "owner",
        "place",
        "planned",
        "rate_limited",
        "received",
        "redirected",
        "request",
        "requests",
        "shelf",
        "started_at",
        "succeeded",
        "timeout",
        "wake_at",
    )

    def __init__(
        self,
        *,
        key: str,
        place: Place,
        request: bytes,
        interval: float,
        timeout: float,
        max_retries: int,
        limit: int,
        received: Received,
        owner: object,
        bucket: Bucket,
        redirected: Callable[[str], bytes | None] | None = None,
    ) -> None:
        self.key = key
        self.place = place
        self.request = request
        self.interval = interval
        self.timeout = timeout
        self.max_retries = max_retries
        self.limit = limit
        self.received = received
        self.owner = owner
        self.bucket = bucket
        # From this moment on `received` is called for an unchanged body too: a rule waits for time to pass,
        # or (0) takes every answer as a sample.
        self.wake_at = NEVER
        # The request for a redirect's Location on the same place, or None where it leads elsewhere.
        self.redirected = redirected
        self.hops = 0
        # What the connection tells its answer to; the engine sets it once, not at every poll.
        self.done: Done = _nobody
        self.shelf: list[Connection] = []
        self.body: bytes | None = None
        self.planned = 0.0
        self.started_at = 0.0
        self.answered_at = 0.0
        self.deadline = 0.0
        self.attempt = 0
        self.in_flight: object | None = None
        self.succeeded = 0
        self.failed = 0
        self.rate_limited = 0
        self.requests = 0


def _nobody(connection: Connection, answer: Answer | None, reason: str) -> None:
    """A poll that no engine has taken yet."""


def judge(answer: Answer) -> Failure | None:
    """Whether an HTTP answer can hold a state at all, by its status and headers."""
    status = answer.status
    if status == 200:
        kind = answer.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if kind not in (b"application/json", b"application/graphql-response+json", b""):
            shown = kind.decode("latin-1")[:60]
            return Failure(
                "content_type", f"content type {shown!r}, expected application/json", permanent=True
            )
        if answer.headers.get(b"content-encoding", b"identity") != b"identity":
            return Failure("content_type", "compressed answer although none was asked for", permanent=True)
        return None
    if 300 <= status < 400:
        return Failure("redirect", f"HTTP {status} redirect, which is not followed", permanent=True)
    after = answer.headers.get(b"retry-after", b"")
    wait = float(after) if after.isdigit() else None
    permanent = status < 500 and status not in (408, 425, 429)
    return Failure("http_status", f"HTTP {status}", permanent=permanent, retry_after=wait)
