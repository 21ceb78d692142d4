"""What can go wrong with a request, each only as a real API server, or the network before it, does it.

An effect stands between the client and the rest of the server: it is given the request and `proceed`, which carries the
request out, and gives the answer. Anything with the shape of `Effect` can be put into a rule.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import orjson

from slipway.cluster.access.authorization import Attributes
from slipway.cluster.clock import Clock
from slipway.cluster.exchange import Handler, Request, Response
from slipway.cluster.faults.watching import ended_after, late, midway
from slipway.cluster.status import OBJECT_MODIFIED, StatusError, conflict, not_found

When = Literal["before", "after"]
# Reasons by code: apimachinery's metav1.StatusReason.
REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
BY_RULE = "a fault rule of the test says so"
_UNVERSIONED = re.compile(r"(^|&)resourceVersion=0(?=&|$)")
_OTHER_VERSIONS = re.compile(r"(^|&)(resourceVersionMatch|continue|limit)=")


@dataclass(frozen=True, slots=True)
class Struck:
    """A request that a rule hits. `asked` is what authorization would judge; `revision` is the store's when the
    rule was added."""

    request: Request
    asked: Attributes
    clock: Clock
    revision: int


class Effect(Protocol):
    """A wrong: which requests it can be done to at all, and what comes of them."""

    def concerns(self, struck: Struck) -> bool: ...

    async def answer(self, struck: Struck, proceed: Handler) -> Response: ...


class _OfEveryRequest:
    __slots__ = ()

    def concerns(self, struck: Struck) -> bool:
        return True


class _OfWatches:
    __slots__ = ()

    def concerns(self, struck: Struck) -> bool:
        return struck.asked.verb == "watch"


@dataclass(frozen=True, slots=True)
class Refuse(_OfEveryRequest):
    """A `Status` instead of the answer: overload (429, 503), conflicts (409), tokens that are refused (401), …

    `when="after"` carries the request out first, as a server does whose answer from etcd came too late (504, 500).
    `retry_after` in seconds becomes the header and the detail; 429 says 1 by default.
    """

    code: int = 503
    reason: str = ""
    message: str = ""
    retry_after: int | None = None
    when: When = "before"

    def __post_init__(self) -> None:
        if not 400 <= self.code <= 599:
            raise ValueError(f"Refuse({self.code}): give an HTTP status that is an error, 400 to 599")
        if self.retry_after is not None and self.retry_after < 0:
            raise ValueError(f"Refuse(retry_after={self.retry_after}): give 0 or more seconds")
        _check_when(self, self.when, ("before", "after"))

    async def answer(self, struck: Struck, proceed: Handler) -> Response:
        if self.when == "after":
            await _discard(await proceed(struck.request))
        error = self._error(struck.asked)
        headers = {"content-type": "application/json", **error.headers}
        return Response(error.code, headers, orjson.dumps(error.to_object()) + b"\n")

    def _error(self, asked: Attributes) -> StatusError:
        if self.code == 409 and not self.message and not self.reason:
            return conflict(asked.resource, asked.group, asked.name, OBJECT_MODIFIED)
        if self.code == 404 and not self.message and not self.reason:
            return not_found(asked.resource, asked.group, asked.name)
        details: dict[str, Any] = {
            key: text
            for key, text in (("name", asked.name), ("group", asked.group), ("kind", asked.resource))
            if text
        }
        headers: dict[str, str] = {}
        seconds = 1 if self.retry_after is None and self.code == 429 else self.retry_after
        if seconds is not None:
            details["retryAfterSeconds"] = seconds
            headers["Retry-After"] = str(seconds)
        reason = self.reason or REASONS.get(self.code, "")
        return StatusError(self.code, reason, self.message or BY_RULE, details, headers)


@dataclass(frozen=True, slots=True)
class Delay(_OfEveryRequest):
    """The request is carried out, or with `when="after"` answered, that many seconds of cluster time later."""

    seconds: float
    when: When = "before"

    def __post_init__(self) -> None:
        if self.seconds < 0:
            raise ValueError(f"Delay({self.seconds}): give 0 or more seconds")
        _check_when(self, self.when, ("before", "after"))

    async def answer(self, struck: Struck, proceed: Handler) -> Response:
        if self.when == "before":
            await struck.clock.sleep(self.seconds)
            return await proceed(struck.request)
        response = await proceed(struck.request)
        await struck.clock.sleep(self.seconds)
        return response


@dataclass(frozen=True, slots=True)
class Disconnect(_OfEveryRequest):
    """The connection is reset: `before` the request is carried out, `after` it was but before any answer, or
    `midway` through the answer's body."""

    when: Literal["before", "after", "midway"] = "before"

    def __post_init__(self) -> None:
        _check_when(self, self.when, ("before", "after", "midway"))

    async def answer(self, struck: Struck, proceed: Handler) -> Response:
        if self.when == "before":
            raise ConnectionResetError(BY_RULE)
        response = await proceed(struck.request)
        if self.when == "midway" and isinstance(response.body, bytes) and len(response.body) > 1:
            response.body = midway(response.body)
            return response
        await _discard(response)
        raise ConnectionResetError(BY_RULE)


@dataclass(frozen=True, slots=True)
class EndWatch(_OfWatches):
    """The watch ends after that many events: `closed` in good order, as after its time is over; `expired` with the
    ERROR event 410 Gone, as when the history has been compacted; or `reset` with its connection."""

    after: int = 0
    how: Literal["closed", "expired", "reset"] = "expired"

    def __post_init__(self) -> None:
        if self.after < 0:
            raise ValueError(f"EndWatch(after={self.after}): give 0 or more events")
        if self.how not in {"closed", "expired", "reset"}:
            raise ValueError(f"EndWatch(how={self.how!r}): say closed, expired or reset")

    async def answer(self, struck: Struck, proceed: Handler) -> Response:
        response = await proceed(struck.request)
        if response.objects is not None:
            response.objects = ended_after(response.objects, self.after, self.how, lines=False)
        elif not isinstance(response.body, bytes):
            response.body = ended_after(response.body, self.after, self.how, lines=True)
        return response


@dataclass(frozen=True, slots=True)
class LateEvents(_OfWatches):
    """Every event comes that many seconds of cluster time late, in order: what a client sees of the world, and keeps
    in its caches, is old, as behind an API server whose watch cache lags."""

    seconds: float

    def __post_init__(self) -> None:
        if self.seconds < 0:
            raise ValueError(f"LateEvents({self.seconds}): give 0 or more seconds")

    async def answer(self, struck: Struck, proceed: Handler) -> Response:
        response = await proceed(struck.request)
        if response.objects is not None:
            response.objects = late(response.objects, self.seconds, struck.clock)
        elif not isinstance(response.body, bytes):
            response.body = late(response.body, self.seconds, struck.clock)
        return response


@dataclass(frozen=True, slots=True)
class StaleLists:
    """Lists show what was there when the rule was added. Only those that allow it, by `resourceVersion=0`, as
    informers do: to all others Kubernetes promises the newest."""

    def concerns(self, struck: Struck) -> bool:
        query = struck.request.query
        return (
            struck.asked.verb == "list"
            and _UNVERSIONED.search(query) is not None
            and _OTHER_VERSIONS.search(query) is None
        )

    async def answer(self, struck: Struck, proceed: Handler) -> Response:
        request = struck.request
        given = request.query
        exact = rf"\1resourceVersion={struck.revision}&resourceVersionMatch=Exact"
        request.query = _UNVERSIONED.sub(exact, given)
        response = await proceed(request)
        if response.status == 200:
            return response
        request.query = given  # that revision has been compacted: no cache is as old as that either
        return await proceed(request)


def _check_when(effect: object, given: str, allowed: tuple[str, ...]) -> None:
    if given not in allowed:
        raise ValueError(
            f"{type(effect).__name__}(when={given!r}): say {', '.join(allowed[:-1])} or {allowed[-1]}"
        )


async def _discard(response: Response) -> None:
    """End what nobody will read."""
    for stream in (response.body, response.objects):
        if isinstance(stream, AsyncIterator):
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
