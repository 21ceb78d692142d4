"""A target's runs: the order that a fired rule gives, and what its beginning and end mean for the target."""

import logging
from collections.abc import Sequence
from typing import Any

from kco.actions.handler import FAILED, SKIPPED, SUCCEEDED, TIMED_OUT, Context
from kco.actions.ledger import RunKey
from kco.actions.queue import Ended, Order
from kco.events.severity import NORMAL, WARNING
from kco.metrics import ACTIONS, ERRORS
from kco.operator.target import NOW, Followed, Target
from kco.state.value import MISSING
from operator_kit import logging as logs
from operator_kit.clock import to_rfc3339

log = logging.getLogger(__name__)

REASONS = {
    SUCCEEDED: "ActionSucceeded",
    SKIPPED: "ActionSkipped",
    TIMED_OUT: "ActionTimedOut",
    FAILED: "ActionFailed",
}


def make_order(
    target: Target,
    key: RunKey,
    followed: Followed | None,
    reason: str,
    changes: Sequence[dict[str, Any]],
    correlation: str,
    found: dict[str, Any] | None = None,
) -> Order | None:
    """An order for the queue; None where the rule is not there any more. `found`: the run that exists already."""
    prepared = target.prepared
    assert prepared is not None
    rule = next((rule for rule in prepared.spec.actions if rule.rule == key.rule), None)
    action = prepared.actions.get(key.rule)
    if rule is None or action is None:
        return None
    pod = (
        followed.instance.pod
        if followed is not None
        else str(((found or {}).get("spec") or {}).get("pod", ""))
    )
    state = followed.state if followed is not None and followed.state is not MISSING else {}
    services = target.services

    async def context(deadline: float) -> Context:
        pods = prepared.cluster.pods
        return Context(
            namespace=target.namespace,
            target=target.name,
            uid=target.uid,
            spec=prepared.spec,
            rule=key.rule,
            run=key.name,
            instance=key.instance,
            pod=pod,
            state=state,
            changes=changes,
            parameters=action.parameters,
            client=prepared.acting,
            pool=services.pool,
            credentials=services.clusters.credentials,
            clock=services.clock,
            pods=lambda: pods.chosen(target.namespace, prepared.spec.selector),
            redact=services.redactor,
            patchable=frozenset(services.settings.patchable_kinds),
            deadline=deadline,
            correlation_id=correlation,
        )

    fields = {
        "namespace": target.namespace,
        "tapp": target.name,
        "correlation_id": correlation,
        "rule": key.rule,
    }
    return Order(key, rule, action.handler, reason, pod, context, fields, found)


def began(target: Target, order: Order) -> None:
    """An attempt begins for the first time."""
    text = f"rule {order.key.rule}: {order.rule.action} begins ({order.key.name}): {order.reason}"
    target.say(NORMAL, "ActionStarted", text, kind="action")
    logs.record(log, logging.INFO, "action_started", run=order.key.name, kind=order.rule.action)


def ended(target: Target, end: Ended) -> None:
    """Note how a run ended: counters, breaker, Event, status."""
    order, result, now = end.order, end.result, target.services.clock.now()
    target.counts.add(ACTIONS, order.rule.action, result.phase.lower())
    target.services.metrics.action_took(order.rule.action, end.seconds)
    good = result.phase in (SUCCEEDED, SKIPPED)
    text = f"rule {order.key.rule}: {order.rule.action} {result.phase.lower()}: {result.message}"
    reason = REASONS.get(result.phase, "ActionUnknown")
    target.say(NORMAL if good else WARNING, reason, text, kind="action")
    logs.record(
        log,
        logging.INFO if good else logging.WARNING,
        "action_finished",
        run=order.key.name,
        phase=result.phase,
        seconds=round(end.seconds, 3),
    )
    if not good:
        target.counts.add(ERRORS, "action")
    if target.book is not None and result.phase != SKIPPED:
        opened = target.book.settle(order.key.rule, order.key.instance, succeeded=good, now=now)
        if opened:
            wait = order.rule.breaker.reset_after
            breaker = f"rule {order.key.rule}: held back for {wait:g} s after failures"
            target.say(WARNING, "BreakerOpen", breaker, kind="action")
    target.note_run(
        {
            "name": order.key.name,
            "rule": order.key.rule,
            "action": order.rule.action,
            "phase": result.phase,
            "finishedAt": to_rfc3339(now),
        }
    )
    target.want_status(NOW)
