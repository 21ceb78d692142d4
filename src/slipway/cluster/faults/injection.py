"""The rules of one cluster, around the one handler that every request passes.

A request passes the rules in the order in which they were added: each that hits it stands between its client and the
next. Rules may be added and removed from any thread, while requests are under way.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import cache

from slipway.cluster.access.authorization import Attributes
from slipway.cluster.clock import Clock
from slipway.cluster.exchange import Handler, Request, Response
from slipway.cluster.faults.effects import Effect, Struck
from slipway.cluster.faults.rules import Match, Rule, matching
from slipway.cluster.server.api import ApiServer, attributes_of
from slipway.cluster.server.api_paths import parse_path
from slipway.cluster.server.listener import Listener
from slipway.cluster.status import StatusError


class Faults:
    """Made by the cluster, and its `faults`. `seed` makes rules by probability hit the same requests again."""

    def __init__(
        self,
        api: ApiServer,
        clock: Clock,
        listener: Callable[[], Listener | None],
        loop: asyncio.AbstractEventLoop,
        seed: int,
    ) -> None:
        self._api = api
        self._clock = clock
        self._listener = listener
        self._loop = loop
        self._seed = seed
        self._rules: tuple[Rule, ...] = ()
        self._added = 0
        self._lock = threading.Lock()

    @property
    def rules(self) -> Sequence[Rule]:
        """Those that hold, in the order in which a request passes them."""
        return self._rules

    def add(
        self,
        effect: Effect,
        *,
        verb: str | Collection[str] = (),
        resource: str = "",
        subresource: str | None = None,
        namespace: str = "",
        name: str = "",
        path: str = "",
        user: str = "",
        agent: str = "",
        skip: int = 0,
        times: int | None = None,
        probability: float = 1.0,
    ) -> Rule:
        """From now on do `effect` to every request that is like this, until the rule is removed or its `with` block
        ends. See `Match` for what words mean. The first `skip` requests pass, the next `times` are hit (None: all
        that come), or of all those a share by `probability`.

        Requests that came before are not hit; a watch that is under way goes on (`cut` ends it). FaultError, or
        ValueError from an effect, says what is wrong with a rule.
        """
        match = matching(verb, resource, subresource, namespace, name, path, user, agent)
        with self._lock:
            self._added += 1
            rule = Rule(
                self._added,
                effect,
                match,
                skip=skip,
                times=times,
                probability=probability,
                seed=self._seed,
                revision=self._api.registry.store.revision,
                removed=self._remove,
            )
            self._rules += (rule,)
        return rule

    def clear(self) -> None:
        """Remove every rule."""
        with self._lock:
            self._rules = ()

    def cut(
        self,
        *,
        verb: str | Collection[str] = (),
        resource: str = "",
        subresource: str | None = None,
        namespace: str = "",
        name: str = "",
        path: str = "",
        user: str = "",
        agent: str = "",
    ) -> int:
        """Reset, now, the connections on which such requests are being answered (watches, streams of logs, slow
        writes); how many there were. A write that has begun is finished nevertheless."""
        match = matching(verb, resource, subresource, namespace, name, path, user, agent)
        if _running_loop() is self._loop:
            return self._cut(match)

        async def cut() -> int:
            return self._cut(match)

        return asyncio.run_coroutine_threadsafe(cut(), self._loop).result()

    def _cut(self, match: Match) -> int:
        listener = self._listener()
        found = 0
        for connection in listener.open_connections() if listener is not None else ():
            request = connection.answering
            if request is not None and self._takes(match, request):
                connection.transport.abort()
                found += 1
        return found

    def _takes(self, match: Match, request: Request) -> bool:
        asked = _asked(request)
        return asked is not None and match.takes(asked, request, lambda: self._user(request))

    def _remove(self, rule: Rule) -> None:
        with self._lock:
            self._rules = tuple(one for one in self._rules if one is not rule)

    def around(self, handle: Handler) -> Handler:
        """The handler, with the faults; as it was, but for one comparison, while there are none."""

        def answered(request: Request) -> Awaitable[Response]:
            return self._pass(request, handle) if self._rules else handle(request)

        return answered

    async def _pass(self, request: Request, handle: Handler) -> Response:
        asked = _asked(request)
        if asked is None:
            return await handle(request)
        user = cache(lambda: self._user(request))
        rules = iter(self._rules)

        async def proceed(request: Request) -> Response:
            for rule in rules:
                struck = Struck(request, asked, self._clock, rule.revision)
                if rule.strikes(struck, user):
                    return await rule.effect.answer(struck, proceed)
            return await handle(request)

        return await proceed(request)

    def _user(self, request: Request) -> str:
        """Who the credentials say is calling; nobody when they are refused."""
        try:
            return self._api.authenticator.identify(request).name
        except StatusError:
            return ""


def _asked(request: Request) -> Attributes | None:
    try:
        return attributes_of(request, parse_path(request.path))
    except StatusError:  # a method that nothing here knows
        return None


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
