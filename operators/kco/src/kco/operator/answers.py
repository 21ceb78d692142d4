"""What an answer, or none, means for a target: differences, Events, rules, orders.

Runs synchronously from the poll engine (`received`) or a subscription (`observe`) through the whole flow. Nothing in it
waits; what must wait (Events, actions, status, history) is handed to a queue.
"""

import logging
from typing import Any

from kco.actions.ledger import RunKey
from kco.events.severity import NORMAL, WARNING
from kco.events.wording import change_events, cut, mask, spell
from kco.history.store import Entry
from kco.metrics import ACTIONS, ERRORS
from kco.operator import status as st
from kco.operator.runs import make_order
from kco.operator.target import NOW, SOON, Followed, Target
from kco.polling.poll import NEVER, Failure, Poll
from kco.rules.book import Fired
from kco.rules.step import SUPPRESSED
from kco.rules.trigger import Observation
from kco.spec.path import parse_path
from kco.state.decode import Decoded, GraphqlErrors, Undecodable, decode
from kco.state.diff import Change, diff
from kco.state.digest import digest
from kco.state.value import MISSING
from operator_kit import logging as logs

log = logging.getLogger(__name__)


def received(target: Target, poll: Poll, body: bytes | None, failure: Failure | None) -> None:
    """A poll has an answer that differs from its last one, or has failed."""
    followed = poll.owner
    assert isinstance(followed, Followed)
    correlation = target.services.correlation()
    with logs.fields(namespace=target.namespace, tapp=target.name, correlation_id=correlation):
        if failure is None:
            assert body is not None
            try:
                decoded = decode(body)
            except Undecodable as wrong:
                poll.succeeded -= 1
                poll.failed += 1
                poll.body = None
                failure = Failure(wrong.category, str(wrong), permanent=True)
                if isinstance(wrong, GraphqlErrors):
                    now = target.services.clock.now()
                    target.conditions.set(st.QUERY_VALID, "False", "GraphqlErrors", failure.message, now)
            else:
                observe(target, followed, decoded, correlation)
        if failure is not None:
            _missed(target, followed, failure)
        if poll.wake_at != 0.0:
            poll.wake_at = next_wake(target, followed.instance.name)


def observe(target: Target, followed: Followed, decoded: Decoded, correlation: str) -> None:
    """A state has come: tell what changed, judge the rules."""
    now = target.services.clock.now()
    assert target.prepared is not None
    previous, state = followed.state, decoded.state
    followed.answered_at = now
    followed.state = state
    _reachable(target, followed, now)
    changes = diff(previous, state) if previous is not MISSING else []
    if previous is MISSING or changes:
        _tell(target, followed, previous, state, changes)
        _record(target, "state", followed, mask(state, (), target.hidden()), now)
    if decoded.errors:
        target.last_error = target.services.redactor("; ".join(decoded.errors)[:1024])
    elif target.last_error and not any(entry.down for entry in target.followed.values()):
        target.last_error = ""
    forecasts = target.forecaster.learn(followed.instance.name, state, now) if target.forecaster else {}
    seen = Observation(state, previous, endpoint(followed), forecasts)
    judge(target, followed, seen, changes, correlation)


def _reachable(target: Target, followed: Followed, now: float) -> None:
    was_down, followed.failures, followed.error, followed.down = followed.down, 0, "", False
    if was_down:
        target.say(NORMAL, "EndpointUp", f"{_spoken(target, followed)} answers again", kind="endpoint")
        logs.record(log, logging.INFO, "endpoint_up")
    if target.conditions.status(st.QUERY_VALID) != "True":
        target.conditions.set(st.QUERY_VALID, "True", "Answered", "the endpoint answers the query", now)
    if not any(entry.down for entry in target.followed.values()):
        first = target.conditions.set(st.ENDPOINT_REACHABLE, "True", "Answered", target.endpoint_text, now)
        target.conditions.set(st.READY, "True", "Monitoring", "the state is followed", now)
        before, target.state_word = target.state_word, st.MONITORING
        if first or was_down or before != st.MONITORING:
            target.want_status(NOW)


def _missed(target: Target, followed: Followed, failure: Failure) -> None:
    """No state this time."""
    assert target.prepared is not None
    now = target.services.clock.now()
    message = target.services.redactor(failure.message)
    followed.failures += 1
    followed.error = message
    target.last_error = message
    target.counts.add(ERRORS, failure.category)
    where = _spoken(target, followed)
    logs.record(log, logging.DEBUG, "poll_failed", category=failure.category, error=message)
    if followed.failures == target.prepared.spec.failure_threshold and not followed.down:
        followed.down = True
        target.say(WARNING, st.ENDPOINT_DOWN, f"{where} does not answer: {message}", kind="endpoint")
        logs.record(log, logging.WARNING, "endpoint_down", category=failure.category, error=message)
        target.conditions.set(st.ENDPOINT_REACHABLE, "False", st.ENDPOINT_DOWN, f"{where}: {message}", now)
        target.conditions.set(st.READY, "False", st.ENDPOINT_DOWN, f"{where}: {message}", now)
        _record(target, "down", followed, {"error": message}, now)
        target.want_status(NOW)
    if followed.down:
        target.state_word = st.FAILED
    target.want_status(SOON)
    seen = Observation({}, MISSING, endpoint(followed), {})
    judge(target, followed, seen, [], target.services.correlation(), endpoint_only=True)


def endpoint(followed: Followed) -> dict[str, Any]:
    """What rules see below `@endpoint`."""
    return {"up": not followed.down, "failures": followed.failures, "error": followed.error or None}


def _spoken(target: Target, followed: Followed) -> str:
    instance = followed.instance
    return f"{instance.address.shown} (pod {instance.pod})" if instance.pod else instance.address.shown


def _tell(target: Target, followed: Followed, previous: Any, state: Any, changes: list[Change]) -> None:
    assert target.prepared is not None
    rules, name = target.prepared.spec.events, followed.instance.name
    before = target.restored.pop(name, "") if previous is MISSING else ""
    followed.seen_digest = digest(state)
    if previous is MISSING and not name and target.parted is not MISSING:
        previous, target.parted = target.parted, MISSING
        changes = diff(previous, state)
    if previous is MISSING:
        if not before:
            summary = spell((), state, target.hidden())
            target.say(NORMAL, "InitialState", f"{_spoken(target, followed)}: {summary}", kind="initial")
            target.want_status(SOON)
        elif before != followed.seen_digest:
            target.say(NORMAL, "StateChanged", "the state changed while it was not followed", kind="change")
            target.want_status(SOON)
        return
    for type, message in change_events(changes, rules, instance=name):
        target.say(type, "StateChanged", message)
        target.want_status(SOON)
    if log.isEnabledFor(logging.INFO):
        for change in changes[:20]:
            logs.record(
                log,
                logging.INFO,
                "state_change_detected",
                field=change.field,
                old_state=spell(change.path, change.old, target.hidden()),
                new_state=spell(change.path, change.new, target.hidden()),
            )


def _record(target: Target, kind: str, followed: Followed, body: Any, now: float, rule: str = "") -> None:
    history = target.services.history
    if history is not None:
        name = followed.instance.name
        history.add(Entry(now, target.namespace, target.name, target.uid, name, kind, body, rule))


def judge(
    target: Target,
    followed: Followed,
    seen: Observation,
    changes: list[Change],
    correlation: str,
    *,
    endpoint_only: bool = False,
) -> None:
    """Step the rules; what fires becomes an order."""
    if target.book is None or not target.authorized:
        return
    now = target.services.clock.now()
    stepped = target.book.observe(followed.instance.name, seen, now, endpoint_only=endpoint_only)
    if stepped.changed:
        target.want_status(NOW)
    for rule, decision in stepped.decisions.items():
        if decision.outcome == SUPPRESSED and decision.tell:
            target.say(NORMAL, "ActionHeldBack", f"rule {rule}: {decision.reason}", kind="action")
            logs.record(log, logging.INFO, "action_held_back", rule=rule, reason=decision.reason)
    for fired in stepped.fired:
        _record(target, "decision", followed, {"explanation": fired.decision.explain()}, now, fired.rule.rule)
        _fire(target, followed, fired, changes, correlation)


def _fire(target: Target, followed: Followed, fired: Fired, changes: list[Change], correlation: str) -> None:
    assert target.prepared is not None
    hidden = target.hidden()
    told = [
        {"field": c.field, "old": spell(c.path, c.old, hidden), "new": spell(c.path, c.new, hidden)}
        for c in changes
    ]
    reason = _why(target, fired)
    logs.record(log, logging.INFO, "rule_fired", rule=fired.rule.rule, transition=fired.decision.transition)
    if target.prepared.spec.dry_run:
        text = f"rule {fired.rule.rule} would run {fired.rule.action} (dryRun): {reason}"
        target.say(NORMAL, "ActionDryRun", text, kind="action")
        target.counts.add(ACTIONS, fired.rule.action, "dry_run")
        return
    key = RunKey(
        target.namespace,
        target.name,
        target.uid,
        fired.rule.rule,
        fired.instance,
        fired.decision.transition,
    )
    order = make_order(target, key, followed, reason, told, correlation)
    if order is not None:
        target.services.queue.submit(order)


def _why(target: Target, fired: Fired) -> str:
    """Why the rule fired, with redacted fields' values left out."""
    assert target.prepared is not None
    hidden = target.hidden()
    parts = []
    for finding in fired.decision.findings:
        shown = spell(parse_path(finding.field), finding.actual, hidden)
        parts.append(f"{finding.field} is {shown}")
    return target.services.redactor(cut("; ".join(parts), 512))


def next_wake(target: Target, name: str) -> float:
    """When the loop's clock shows this, rules must be judged again although nothing changed."""
    due = target.book.due(name) if target.book is not None else None
    if due is None:
        return NEVER
    clock = target.services.clock
    return clock.monotonic() + max(0.0, due - clock.now())
