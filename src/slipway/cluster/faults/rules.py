"""Which requests a fault hits: by what is asked for, by who asks, and how often."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Self

from slipway.cluster.access.authorization import Attributes
from slipway.cluster.exchange import Request
from slipway.cluster.faults.effects import Effect, Struck

VERBS = (
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
)
HITS_KEPT = 10_000
OWN_CLIENTS = frozenset({"slipway-test", "slipway-dump", "slipway-export", "slipway-import", "slipway-roles"})


class FaultError(Exception):
    """A rule that cannot be, or one that did not come to hit what it was to hit."""


@dataclass(frozen=True, slots=True)
class Match:
    """What a request must be. Texts are globs (`*`, `?`, `[…]`); what is empty is not looked at.

    `resource` is the plural, with the group behind a dot where that matters (`deployments`, `widgets.example.com`,
    `*.example.com`); `subresource` is "" for the object itself, None for either. `path` is for requests to no
    resource (`/openapi/*`). Without `user` and `agent` the cluster's own programs are spared, and slipway's clients
    (the fixture of a test): what is tried is the operator.
    """

    verbs: frozenset[str] = frozenset()
    resource: str = ""
    subresource: str | None = None
    namespace: str = ""
    name: str = ""
    path: str = ""
    user: str = ""
    agent: str = ""

    def __post_init__(self) -> None:
        for verb in sorted(self.verbs):
            if verb not in VERBS:
                raise FaultError(f"verb {verb!r}: say one or more of {', '.join(VERBS)}")
        if "/" in self.resource:
            raise FaultError(
                f"resource {self.resource!r}: give a plural (pods, widgets.example.com), and subresource= beside it"
            )
        if self.path and (self.resource or self.verbs or self.subresource is not None):
            raise FaultError("path is for requests to no resource: leave resource, subresource and verb out")

    def takes(self, asked: Attributes, request: Request, user: Callable[[], str]) -> bool:
        """`user` finds out who asks; called only where that matters."""
        return self._takes_what(asked) and self._takes_who(request, user)

    def _takes_what(self, asked: Attributes) -> bool:
        if self.path or asked.path:
            unbound = not (self.verbs or self.resource or self.namespace or self.name)
            return bool(asked.path) and (fnmatchcase(asked.path, self.path) if self.path else unbound)
        if self.verbs and asked.verb not in self.verbs:
            return False
        if self.subresource is not None and not fnmatchcase(asked.subresource, self.subresource):
            return False
        qualified = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
        found = (
            (self.resource, qualified if "." in self.resource else asked.resource),
            (self.namespace, asked.namespace),
            (self.name, asked.name),
        )
        return all(fnmatchcase(text, wanted) for wanted, text in found if wanted)

    def _takes_who(self, request: Request, user: Callable[[], str]) -> bool:
        agent = request.headers.get("user-agent", "")
        if not self.user and not self.agent:
            return request.peer.identity is None and agent not in OWN_CLIENTS
        if self.agent and not fnmatchcase(agent, self.agent):
            return False
        return not self.user or fnmatchcase(user(), self.user)


def matching(
    verb: str | Collection[str],
    resource: str,
    subresource: str | None,
    namespace: str,
    name: str,
    path: str,
    user: str,
    agent: str,
) -> Match:
    """A Match from the words of `Faults.add`."""
    verbs = frozenset([verb] if isinstance(verb, str) and verb else verb)
    return Match(verbs, resource, subresource, namespace, name, path, user, agent)


@dataclass(frozen=True, slots=True)
class Hit:
    """A request that a rule hit; `at` is the cluster's time in seconds since 1970."""

    at: float
    rule: int
    effect: Effect
    method: str
    path: str
    query: str
    agent: str

    def __str__(self) -> str:
        target = f"{self.path}?{self.query}" if self.query else self.path
        return f"{self.effect} hit {self.method} {target} of {self.agent or 'a client without a name'}"


class Rule:
    """An effect and whom it hits. As a context manager it ends with the block; `remove` ends it at once."""

    def __init__(
        self,
        number: int,
        effect: Effect,
        match: Match,
        *,
        skip: int,
        times: int | None,
        probability: float,
        seed: int,
        revision: int,
        removed: Callable[[Rule], None],
    ) -> None:
        if skip < 0:
            raise FaultError(f"skip={skip}: give how many requests pass before the first is hit, 0 or more")
        if times is not None and times < 1:
            raise FaultError(f"times={times}: give how many requests are hit, 1 or more, or None for all")
        if not 0 <= probability <= 1:
            raise FaultError(f"probability={probability}: give a share from 0 to 1")
        self.number = number
        self.effect = effect
        self.match = match
        self.revision = revision
        self.hits: deque[Hit] = deque(maxlen=HITS_KEPT)
        self.count = 0
        self._skip = skip
        self._left = times
        self._probability = probability
        self._random = random.Random(f"{seed}/{number}")
        self._removed = removed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()

    def remove(self) -> None:
        """No further request is hit; harmless when removed already."""
        self._removed(self)

    def strikes(self, struck: Struck, user: Callable[[], str]) -> bool:
        """Whether it hits this request; counts the request if it is one of those it is about."""
        if self._left == 0 or not self.match.takes(struck.asked, struck.request, user):
            return False
        if not self.effect.concerns(struck):
            return False
        if self._skip:
            self._skip -= 1
            return False
        if self._probability < 1 and self._random.random() >= self._probability:
            return False
        if self._left is not None:
            self._left -= 1
        self._note(struck)
        return True

    def _note(self, struck: Struck) -> None:
        request = struck.request
        agent = request.headers.get("user-agent", "")
        self.hits.append(
            Hit(
                struck.clock.now(),
                self.number,
                self.effect,
                request.method,
                request.path,
                request.query,
                agent,
            )
        )
        self.count += 1

    def wait(self, count: int = 1, timeout: float = 30.0) -> None:
        """Block until it has hit `count` requests; FaultError when it does not come to that."""
        end = time.monotonic() + timeout
        while self.count < count:
            if time.monotonic() > end:
                raise FaultError(
                    f"{self.effect} hit {self.count} requests within {timeout:g} s, not {count}: {self.match}"
                )
            time.sleep(0.02)
