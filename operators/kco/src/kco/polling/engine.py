"""The one scheduler over all polls: starts what is due, times out what hangs, retries what may pass.

Data comes in as due moments of `schedule`, goes out through each poll's `received`. A quiet poll (the same
body as before) costs one pop, one write, one parse, one comparison and one push, and tells nobody.
A retry is a due moment like any other, so that a slow application delays no other one.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import Callable
from functools import partial

from kco.net.connection import Answer, Connection
from kco.net.guard import Refused, Unresolvable
from kco.net.pool import Place, Pool, take_from
from kco.net.tls import InvalidCertificate
from kco.polling.poll import Failure, Poll, judge
from kco.polling.rate import Bucket
from kco.polling.schedule import Schedule, following, phase

log = logging.getLogger(__name__)

FIRST_BACKOFF = 0.25
LONGEST_BACKOFF = 10.0
SWEEP = 0.1
MAX_HOPS = 3


class PollEngine:
    """Runs polls on the current event loop between `start` and `stop`."""

    def __init__(
        self,
        pool: Pool,
        *,
        bucket: Bucket,
        duration: Callable[[float], None] = lambda seconds: None,
        max_connecting: int = 200,
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._pool = pool
        self._bucket = bucket
        self._duration = duration
        self._spread = spread
        self._schedule: Schedule[Poll] = Schedule()
        self._flying: dict[Poll, Connection | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._connecting: dict[Place, asyncio.Semaphore] = {}
        self._max_connecting = max_connecting
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0
        self._sweeper: asyncio.Task[None] | None = None
        self._running = False
        # One bound method for thousands of polls.
        self._on_answer = self._answered
        self.polls: dict[str, Poll] = {}
        self.beat_at = 0.0

    # -- life --------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._running = True
        self.beat_at = self._loop.time()
        self._sweeper = asyncio.create_task(self._sweep(), name="poll deadlines")
        self._arm()

    async def stop(self) -> None:
        """No new polls; what is in flight is dropped."""
        self._running = False
        if self._timer:
            self._timer.cancel()
        for poll in self._flying:
            poll.in_flight = None
        tasks = [*self._tasks, *([self._sweeper] if self._sweeper else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self._flying.values()):
            if connection is not None:
                connection.abort("stopping")
        self._flying.clear()
        self._pool.close()

    def add(self, poll: Poll, *, at_once: bool = False) -> None:
        """Begin polling; the first poll comes at the key's own phase of the interval, or now."""
        moment = self._loop.time()
        self.polls[poll.key] = poll
        poll.shelf = self._pool.shelf(poll.place)
        poll.done = partial(self._on_answer, poll)
        poll.planned = moment + (0.0 if at_once else phase(poll.key, poll.interval))
        self._plan(poll, poll.planned)

    def remove(self, key: str) -> None:
        """End polling at once; an answer still under way is thrown away."""
        poll = self.polls.pop(key, None)
        if poll is None:
            return
        poll.in_flight = None
        self._schedule.drop(poll)
        connection = self._flying.pop(poll, None)
        if connection is not None:
            connection.abort("no longer polled")
        if not any(other.place == poll.place for other in self.polls.values()):
            self._pool.forget(poll.place)

    def poke(self, key: str) -> None:
        """Poll now and keep the rhythm afterwards."""
        poll = self.polls.get(key)
        if poll is not None and poll.in_flight is None:
            self._plan(poll, self._loop.time())

    # -- due moments -------------------------------------------------------------------------------------

    def _plan(self, poll: Poll, due: float) -> None:
        self._schedule.set(poll, due)
        if self._running and (self._timer is None or due < self._timer_due):
            self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._schedule.next_due()
        if due is not None and self._running:
            # Kept beside the handle: uvloop's immediate handles do not tell their time.
            self._timer_due = due
            self._timer = self._loop.call_at(due, self._tick)

    def _tick(self) -> None:
        self._timer = None
        moment = self._loop.time()
        self.beat_at = moment
        # Moments within the next two milliseconds are taken along: timers are not finer than that anyway.
        for poll in self._schedule.take(moment + 0.002):
            self._begin(poll, moment)
        self._arm()

    def _begin(self, poll: Poll, moment: float) -> None:
        wait = poll.bucket.take(moment)
        if not wait:
            wait = self._bucket.take(moment)
            if wait:
                poll.bucket.give_back()
        if wait:
            poll.rate_limited += 1
            self._plan(poll, moment + wait)
            return
        poll.started_at = moment
        poll.deadline = moment + poll.timeout
        poll.requests += 1
        connection = take_from(poll.shelf)
        self._flying[poll] = connection
        if connection is not None:
            poll.in_flight = connection
            connection.send(poll.request, poll.limit, poll.done)
        else:
            self._spawn_connect(poll)

    def _answered(self, poll: Poll, connection: Connection, answer: Answer | None, reason: str) -> None:
        moment = self._loop.time()
        if answer is None:
            self._unanswered(poll, connection, reason, moment)
            return
        if poll.in_flight is connection and answer.status >= 300 and self._redirect(poll, connection, answer):
            return
        self._pool.give(connection, moment)
        if poll.in_flight is connection:
            self._finish(poll, answer, moment)

    def _unanswered(self, poll: Poll, connection: Connection, reason: str, moment: float) -> None:
        if poll.in_flight is not connection:
            return
        if connection.used > 1 and not connection.answered and moment < poll.deadline:
            # The server had closed an idle connection; that says nothing about the application.
            self._spawn_connect(poll)
        else:
            category = "too_large" if "larger than" in reason else "connection"
            self._fail(poll, Failure(category, reason, permanent=category == "too_large"))

    def _redirect(self, poll: Poll, connection: Connection, answer: Answer) -> bool:
        """Follow a redirect where the target asked for it and it stays on the same place."""
        if poll.redirected is None or answer.status not in (301, 302, 303, 307, 308) or poll.hops >= MAX_HOPS:
            return False
        request = poll.redirected(answer.headers.get(b"location", b"").decode("latin-1"))
        if request is None or connection.closed:
            return False
        poll.hops += 1
        poll.requests += 1
        poll.bucket.charge()
        self._bucket.charge()
        connection.send(request, poll.limit, poll.done)
        return True

    # -- connecting --------------------------------------------------------------------------------------

    def _spawn_connect(self, poll: Poll) -> None:
        task = asyncio.create_task(self._connect(poll))
        poll.in_flight = task
        self._flying[poll] = None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, poll: Poll) -> None:
        # Whoever takes the poll away meanwhile clears or changes `in_flight`.
        task = asyncio.current_task()
        gate = self._connecting.setdefault(poll.place, asyncio.Semaphore(self._max_connecting))
        failure: Failure
        try:
            async with asyncio.timeout_at(poll.deadline), gate:
                # While waiting at the gate somebody may have finished with a connection.
                connection = take_from(poll.shelf) or await self._pool.open(poll.place)
        except TimeoutError:
            failure = Failure("timeout", f"no connection within {poll.timeout:g} s")
        except Refused as refusal:
            failure = Failure("refused_address", str(refusal), permanent=True)
        except Unresolvable as unknown:
            failure = Failure("dns", str(unknown))
        except ssl.SSLError as broken:
            failure = Failure("tls", f"TLS: {_tls_reason(broken)}", permanent=True)
        except InvalidCertificate as broken:
            failure = Failure("tls", str(broken), permanent=True)
        except OSError as refused:
            failure = Failure("connection", refused.strerror or str(refused))
        else:
            if poll.in_flight is not task:
                self._pool.give(connection, self._loop.time())
                return
            poll.in_flight = connection
            self._flying[poll] = connection
            connection.send(poll.request, poll.limit, poll.done)
            return
        finally:
            if not gate.locked() and not gate._waiters:
                self._connecting.pop(poll.place, None)
        if poll.in_flight is task:
            self._fail(poll, failure)

    # -- ends --------------------------------------------------------------------------------------------

    def _finish(self, poll: Poll, answer: Answer, moment: float) -> None:
        body = answer.body
        if answer.status == 200 and body == poll.body and moment < poll.wake_at:
            poll.succeeded += 1
            self._settle(poll, moment)
            return
        failure = judge(answer)
        if failure is not None:
            self._fail(poll, failure)
            return
        poll.succeeded += 1
        poll.body = body
        self._settle(poll, moment)
        self._tell(poll, body, None)

    def _fail(self, poll: Poll, failure: Failure) -> None:
        moment = self._loop.time()
        upcoming = following(poll.planned, poll.interval, moment)
        if not failure.permanent and poll.attempt < poll.max_retries:
            backoff = min(FIRST_BACKOFF * 2**poll.attempt, LONGEST_BACKOFF) * self._spread(0.5, 1.0)
            wait = max(backoff, failure.retry_after or 0.0)
            if moment + wait < upcoming:
                poll.attempt += 1
                poll.in_flight = None
                self._flying.pop(poll, None)
                self._plan(poll, moment + wait)
                return
        poll.failed += 1
        # The next good answer must be looked at, also where it equals the last one before the failure.
        poll.body = None
        self._settle(poll, moment)
        if failure.retry_after and moment + failure.retry_after > upcoming:
            self._plan(poll, moment + failure.retry_after)
        self._tell(poll, None, failure)

    def _settle(self, poll: Poll, moment: float) -> None:
        self._duration(moment - poll.started_at)
        poll.answered_at = moment
        poll.attempt = poll.hops = 0
        poll.in_flight = None
        self._flying.pop(poll, None)
        poll.planned = following(poll.planned, poll.interval, moment)
        self._plan(poll, poll.planned)

    def _tell(self, poll: Poll, body: bytes | None, failure: Failure | None) -> None:
        try:
            poll.received(poll, body, failure)
        except Exception:
            # One target's surprise must not stop the scheduler for all others.
            log.exception("handling an answer failed", extra={"fields": {"poll": poll.key}})

    async def _sweep(self) -> None:
        """Give up exchanges that are past their deadline; beat for the health check; close idle connections."""
        rounds = 0
        while True:
            await asyncio.sleep(SWEEP)
            moment = self._loop.time()
            self.beat_at = moment
            self._give_up(moment)
            rounds += 1
            if rounds % 50 == 0:
                self._pool.sweep(moment)

    def _give_up(self, moment: float) -> None:
        for poll, connection in list(self._flying.items()):
            if moment > poll.deadline and connection is not None:
                poll.in_flight = None
                connection.abort("timeout")
                self._fail(poll, Failure("timeout", f"no answer within {poll.timeout:g} s"))


def _tls_reason(failure: ssl.SSLError) -> str:
    if isinstance(failure, ssl.SSLCertVerificationError):
        return failure.verify_message or str(failure)
    return failure.reason or str(failure)
