"""Runs actions off the poll path: in order for each TargetApp, so many at once for all, each one once.

An order goes: claim in the ledger (the lock) → wait for a place → note Running → attempt, with the rule's
timeout and retries → note the end → tell (`ended`). Whatever the operator survives, the ledger shows how far
it came: a Pending run was never begun and is resumed; a Running one whose operator vanished is settled as
Unknown, or run again where its action is idempotent.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from kco.actions.handler import (
    FAILED,
    FINISHED,
    PENDING,
    RUNNING,
    SKIPPED,
    SUCCEEDED,
    TIMED_OUT,
    UNKNOWN,
    ActionHandler,
    Context,
    Result,
)
from kco.actions.ledger import Ledger, RunKey, phase_of
from kco.spec.rule import Action
from operator_kit import logging as logs
from operator_kit.clock import Clock
from operator_kit.kube.failure import ApiFailure

log = logging.getLogger(__name__)

CANCEL_GRACE = 5.0
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Order:
    """One execution to be made. `found` is the ActionRun where it exists already (after a restart)."""

    key: RunKey
    rule: Action
    handler: ActionHandler
    reason: str
    pod: str
    context: Callable[[float], Awaitable[Context]]
    fields: Mapping[str, Any] = field(default_factory=dict)
    found: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Ended:
    """How an order ended."""

    order: Order
    result: Result
    seconds: float
    attempts: int


class TookOver(Exception):
    """Another replica has the run."""


class ActionQueue:
    """Takes orders without waiting."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        clock: Clock,
        concurrency: int,
        timeout: float,
        longest: float = 3600.0,
        began: Callable[[Order], None] = lambda order: None,
        ended: Callable[[Ended], None] = lambda ended: None,
    ) -> None:
        self._ledger = ledger
        self._clock = clock
        self._gate = asyncio.Semaphore(concurrency)
        self._timeout = timeout
        self._longest = longest
        self._began = began
        self._ended = ended
        self._lines: dict[str, deque[Order]] = {}
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._stopping = False
        self._nonces = itertools.count(1)
        self.executing: set[str] = set()

    def submit(self, order: Order) -> None:
        """Put an order behind the others of its TargetApp."""
        if self._stopping:
            # Not claimed, so not lost: the next leader sees the same edge and fires it.
            return
        uid = order.key.uid
        self._lines.setdefault(uid, deque()).append(order)
        if uid not in self._workers:
            self._workers[uid] = asyncio.create_task(self._work(uid), name=f"actions of {order.key.target}")

    def waiting(self) -> int:
        return sum(len(line) for line in self._lines.values())

    def forget(self, uid: str) -> None:
        """The TargetApp is gone: what has not begun is dropped, what runs is cancelled."""
        self._lines.pop(uid, None)
        worker = self._workers.pop(uid, None)
        if worker is not None:
            worker.cancel()

    async def stop(self, grace: float) -> None:
        """Begin nothing more, let what runs finish for `grace` seconds, then cancel and record it."""
        self._stopping = True
        for line in self._lines.values():
            line.clear()
        workers = [task for task in self._workers.values() if not task.done()]
        if workers:
            _, late = await asyncio.wait(workers, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _work(self, uid: str) -> None:
        line = self._lines[uid]
        try:
            while line:
                order = line.popleft()
                with logs.fields(**order.fields):
                    try:
                        await self._run(order)
                    except ApiFailure as failure:
                        logs.record(log, logging.ERROR, "action_not_recorded", error=str(failure))
                    except Exception:
                        log.exception("an action's bookkeeping failed")
        finally:
            if self._workers.get(uid) is asyncio.current_task():
                self._workers.pop(uid, None)
                if not line:
                    self._lines.pop(uid, None)

    # -- one order ---------------------------------------------------------------------------------------

    async def _run(self, order: Order) -> None:
        version = None
        if order.found is None:
            nonce = str(next(self._nonces))
            claimed = await self._insist(
                lambda: self._ledger.claim(
                    order.key,
                    action=order.rule.action,
                    idempotent=order.rule.idempotent,
                    reason=order.reason,
                    pod=order.pod,
                    nonce=nonce,
                )
            )
            if not claimed:
                logs.record(log, logging.INFO, "action_already_claimed", run=order.key.name)
                return
        else:
            version = str(order.found["metadata"]["resourceVersion"])
            if phase_of(order.found) in FINISHED:
                return
            if phase_of(order.found) == RUNNING and not order.rule.idempotent:
                await self._settle_lost(order)
                return
        async with self._gate:
            try:
                await self._execute(order, version)
            except TookOver:
                logs.record(log, logging.INFO, "action_taken_over", run=order.key.name)

    async def _settle_lost(self, order: Order) -> None:
        why = "the operator stopped while this ran; it is not known how it ended, so it is not repeated"
        await self._insist(lambda: self._ledger.settle_lost(order.key, why))
        self._ended(Ended(order, Result(UNKNOWN, why), 0.0, 1))

    async def _execute(self, order: Order, version: str | None) -> None:
        begun = self._clock.monotonic()
        result = Result(FAILED, "not attempted")
        attempt = 0
        self.executing.add(order.key.name)
        try:
            while attempt < order.rule.retry.attempts:
                attempt += 1
                await self._note_start(order, attempt, version)
                version = None
                if attempt == 1:
                    self._began(order)
                result = await self._attempt(order)
                again = result.phase == FAILED and result.retryable
                again = again or (result.phase == TIMED_OUT and order.rule.idempotent)
                if not again or attempt >= order.rule.retry.attempts:
                    break
                logs.record(log, logging.WARNING, "action_retried", attempt=attempt, error=result.message)
                await self._clock.sleep(order.rule.retry.backoff * 2 ** (attempt - 1))
        except asyncio.CancelledError:
            # Being cancelled here means a shutdown or a deletion; leave a record, then go.
            why = "the operator was stopped while this ran; it is not known how it ended"
            await asyncio.shield(self._last_words(order, Result(UNKNOWN, why)))
            raise
        finally:
            self.executing.discard(order.key.name)
        await self._insist(
            lambda: self._ledger.finished(order.key, result.phase, result.message, result.output)
        )
        self._ended(Ended(order, result, self._clock.monotonic() - begun, attempt))

    async def _note_start(self, order: Order, attempt: int, version: str | None) -> None:
        try:
            await self._insist(lambda: self._ledger.started(order.key, attempt, version=version))
        except ApiFailure as failure:
            if failure.conflict and version is not None:
                raise TookOver from None
            raise

    async def _attempt(self, order: Order) -> Result:
        limit = min(order.rule.timeout or self._timeout, self._longest)
        try:
            context = await order.context(self._clock.monotonic() + limit)
            reason = await order.handler.can_handle(context)
        except Exception as failure:
            return self._surprise(order, failure)
        if reason is not None:
            return Result(SKIPPED, reason)
        work = asyncio.create_task(order.handler.execute(context), name=f"action {order.key.name}")
        try:
            finished, _ = await asyncio.wait({work}, timeout=limit)
        except asyncio.CancelledError:
            work.cancel()
            await asyncio.wait({work}, timeout=CANCEL_GRACE)
            raise
        if not finished:
            work.cancel()
            # A plugin that swallows its cancellation is left behind; it cannot hold up the queue.
            await asyncio.wait({work}, timeout=CANCEL_GRACE)
            return Result(TIMED_OUT, f"not finished within {limit:g} s")
        try:
            result = work.result()
        except asyncio.CancelledError:
            return Result(FAILED, "the action cancelled itself", retryable=False)
        except Exception as failure:
            return self._surprise(order, failure)
        if not isinstance(result, Result) or result.phase not in (SUCCEEDED, FAILED, SKIPPED):
            return Result(FAILED, f"action {order.rule.action} gave back no Result", retryable=False)
        return Result(result.phase, context.redact(result.message), result.output, result.retryable)

    def _surprise(self, order: Order, failure: Exception) -> Result:
        if isinstance(failure, ApiFailure):
            return Result(FAILED, str(failure), retryable=failure.transient or failure.conflict)
        log.warning("action raised", exc_info=failure, extra={"fields": {"run": order.key.name}})
        return Result(FAILED, f"{type(failure).__name__}: {failure}")

    async def _last_words(self, order: Order, result: Result) -> None:
        try:
            async with asyncio.timeout(3):
                await self._ledger.finished(order.key, result.phase, result.message, {})
        except (ApiFailure, TimeoutError):
            # The next operator finds it Running and settles it.
            return
        self._ended(Ended(order, result, 0.0, 1))

    async def _insist(self, request: Callable[[], Awaitable[Answer]]) -> Answer:
        """Retry a ledger request through API outages: an action without a record must not happen."""
        wait = 0.5
        while True:
            try:
                return await request()
            except ApiFailure as failure:
                if not failure.transient:
                    raise
                await self._clock.sleep(max(wait, failure.retry_after or 0.0))
                wait = min(wait * 2, 15.0)


__all__ = ["PENDING", "ActionQueue", "Ended", "Order"]
