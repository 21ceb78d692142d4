"""One live TargetApp: answers come in, differences, rules, Events and orders go out.

`received` is called by the poll engine with every answer that needs looking at and runs through the whole
flow synchronously: decode, diff, events, rules, orders. Nothing in it waits; what must wait (Events, actions,
status, history) is handed to a queue.
"""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from kco.actions.ledger import RunKey
from kco.events.recorder import Subject
from kco.events.severity import NORMAL, WARNING
from kco.events.wording import change_events, cut, mask, spell
from kco.history.store import Entry
from kco.metrics import TargetCounts
from kco.net.pool import place_of
from kco.net.pool import prepare as prepare_request
from kco.operator import status as st
from kco.operator.preparation import Prepared, redirect_address
from kco.operator.runs import make_order
from kco.operator.services import Services
from kco.polling.poll import NEVER, Failure, Poll
from kco.polling.rate import Bucket
from kco.polling.subscription import Subscription
from kco.prediction.forecaster import Forecaster
from kco.rules.book import Fired, RuleBook
from kco.rules.step import SUPPRESSED
from kco.rules.trigger import Observation
from kco.spec.path import parse_path
from kco.spec.targetapp import API_VERSION
from kco.state.decode import Decoded, GraphqlErrors, Undecodable, decode
from kco.state.diff import Change, diff
from kco.state.digest import digest
from kco.state.value import MISSING
from kco.targets.instance import Instance, resolve
from operator_kit import logging as logs

log = logging.getLogger(__name__)

NOT_AT_ALL, ROUTINE, SOON, NOW = 0, 1, 2, 3


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
    """One TargetApp (one uid)."""

    def __init__(self, body: dict[str, Any], services: Services) -> None:
        metadata = body["metadata"]
        self.namespace: str = metadata["namespace"]
        self.name: str = metadata["name"]
        self.uid: str = metadata["uid"]
        self.services = services
        self.prepared: Prepared | None = None
        self.followed: dict[str, Followed] = {}
        self.counts = TargetCounts()
        self.conditions = st.Conditions()
        self.book: RuleBook | None = None
        self.forecaster: Forecaster | None = None
        self.authorized = True
        self.message = ""
        self.state_word = st.INITIALIZING
        self.last_error = ""
        self.urgency = NOT_AT_ALL
        self.written_at = 0.0
        self.recent_runs: deque[dict[str, Any]] = deque(maxlen=5)
        self.pod_counts = (0, 0)
        self.actions_before = 0
        self.events_before = 0
        self.restored: dict[str, str] = {}
        self._rule_entries: list[dict[str, Any]] = []
        self.update(body)
        self._restore(body.get("status") or {})

    # -- the object --------------------------------------------------------------------------------------

    def update(self, body: dict[str, Any]) -> None:
        """Take over the object's current version."""
        self.generation = int(body["metadata"].get("generation") or 0)
        self.conditions.generation = self.generation
        self.spec_body = body.get("spec")
        self.subject = Subject(
            API_VERSION,
            "TargetApp",
            self.namespace,
            self.name,
            self.uid,
            str(body["metadata"].get("resourceVersion") or ""),
        )

    def _restore(self, status: dict[str, Any]) -> None:
        self.conditions.load(status.get("conditions") or [])
        self._rule_entries = [entry for entry in status.get("rules") or [] if isinstance(entry, dict)]
        self.restored = {
            str(entry.get("name") or ""): str(entry.get("digest") or "")
            for entry in status.get("instances") or []
            if isinstance(entry, dict)
        }
        self.actions_before = int(status.get("actionsExecuted") or 0)
        self.events_before = int(status.get("eventsGenerated") or 0)
        self.recent_runs.extend(status.get("recentRuns") or [])

    def say(self, type: str, reason: str, message: str, *, kind: str = "change") -> None:
        self.services.recorder.emit(self.subject, type, reason, message, kind=kind)

    def want_now(self) -> None:
        self.want_status(NOW)

    def want_status(self, urgency: int) -> None:
        self.urgency = max(self.urgency, urgency)

    # -- configuration -----------------------------------------------------------------------------------

    def failed(self, condition: str, reason: str, message: str) -> None:
        """The TargetApp cannot be monitored as it is."""
        now = self.services.clock.now()
        self.stop_polling()
        self.prepared = None
        self.state_word = st.FAILED
        message = self.services.redactor(message)
        self.last_error = message
        changed = self.conditions.set(condition, "False", reason, message, now)
        if condition != st.READY:
            self.conditions.set(st.READY, "False", reason, message, now)
        if changed or self.message != message:
            self.say(WARNING, reason, message, kind="invalid")
            self.counts.errors[reason] += 1
        self.message = message
        self.want_status(NOW)

    def suspended(self) -> None:
        self.stop_polling()
        self.state_word = st.SUSPENDED
        self.conditions.set(st.READY, "False", "Suspended", "spec.suspend is true", self.services.clock.now())
        self.want_status(NOW)

    def configured(self, prepared: Prepared, missing: list[str]) -> None:
        """Everything about the TargetApp is in order: monitor it."""
        now = self.services.clock.now()
        for warning in prepared.warnings:
            if self.prepared is None or warning not in self.prepared.warnings:
                self.say(WARNING, "InsecureConfiguration", warning, kind="invalid")
        self.prepared = prepared
        if self.book is None:
            self.book = RuleBook(prepared.spec, self._rule_entries)
        else:
            self.book.replace_rules(prepared.spec)
        self.forecaster = Forecaster(prepared.spec)
        self.conditions.set(st.QUERY_VALID, "True", "Checked", "the query is one GraphQL query", now)
        self._authorize(missing, now)
        self.message = ""
        self.state_word = st.MONITORING if self._answered() else st.INITIALIZING
        self.resolve_instances(renew=True)
        self.want_status(NOW)

    def _authorize(self, missing: list[str], now: float) -> None:
        self.authorized = not missing
        if missing:
            text = "not allowed: " + "; ".join(missing)
            if self.conditions.set(st.ACTIONS_AUTHORIZED, "False", "Forbidden", text, now):
                self.say(WARNING, "ActionsNotAuthorized", text, kind="invalid")
        else:
            self.conditions.set(st.ACTIONS_AUTHORIZED, "True", "Allowed", "the actions are allowed", now)

    def authorization(self, missing: list[str]) -> None:
        """A later review of the permissions."""
        before = self.authorized
        self._authorize(missing, self.services.clock.now())
        if before != self.authorized:
            for poll in self._polls():
                poll.body = None
            self.want_status(NOW)

    # -- instances ---------------------------------------------------------------------------------------

    def resolve_instances(self, *, renew: bool = False) -> None:
        """Find the instances anew and poll exactly those."""
        prepared = self.prepared
        if prepared is None:
            return
        spec = prepared.spec
        pods = prepared.cluster.pods.chosen(self.namespace, spec.selector)
        current = [followed.instance for followed in self.followed.values()]
        found = resolve(spec, self.namespace, pods, current)
        self.pod_counts = (found.selected, found.usable)
        wanted = {instance.name: instance for instance in found.instances}
        for name in [name for name in self.followed if name not in wanted]:
            self._drop(name)
        for name, instance in wanted.items():
            followed = self.followed.get(name)
            if followed is None:
                followed = self.followed[name] = Followed(instance)
                self._begin(followed, at_once=bool(instance.pod))
            elif followed.instance != instance or renew:
                moved = followed.instance != instance
                followed.instance = instance
                self._end(name)
                self._begin(followed, at_once=moved)
        now = self.services.clock.now()
        if not wanted:
            changed = self.conditions.set(st.ENDPOINT_REACHABLE, "False", "NoPods", found.message, now)
            self.conditions.set(st.READY, "False", "NoPods", found.message, now)
            self.state_word = st.INITIALIZING
            if changed:
                self.want_status(NOW)
        self.endpoint_text = found.message
        self.want_status(SOON)

    endpoint_text = ""

    def _begin(self, followed: Followed, *, at_once: bool) -> None:
        prepared = self.prepared
        assert prepared is not None
        spec, settings = prepared.spec, self.services.settings
        address = followed.instance.address
        request = prepare_request("POST", address, prepared.headers, prepared.body)

        def redirected(location: str) -> bytes | None:
            target = redirect_address(address, location)
            return prepare_request("POST", target, prepared.headers, prepared.body) if target else None

        interval = float(spec.polling_interval or settings.default_polling_interval)
        per_minute = spec.requests_per_minute or settings.target_rate_limit
        poll = Poll(
            key=f"{self.uid}/{followed.instance.name}",
            place=place_of(address, prepared.tls),
            request=request,
            interval=interval,
            timeout=min(spec.timeout or settings.graphql_timeout, interval),
            max_retries=settings.graphql_max_retries if spec.max_retries is None else spec.max_retries,
            limit=spec.max_response_bytes,
            received=self._received,
            owner=followed,
            bucket=Bucket(per_minute, min(5, per_minute), self.services.clock.monotonic()),
            redirected=redirected if spec.follow_redirects else None,
        )
        if self.forecaster is not None and self.forecaster.wanted:
            poll.wake_at = 0.0
        self.services.engine.add(poll, at_once=at_once)
        if spec.subscription is not None:
            self._subscribe(followed, poll)

    def _subscribe(self, followed: Followed, poll: Poll) -> None:
        """Follow by subscription; the poll rests while the socket delivers."""
        prepared = self.prepared
        assert prepared is not None
        spec, services, engine = prepared.spec, self.services, self.services.engine
        assert spec.subscription is not None
        address = followed.instance.address
        if spec.subscription.path:
            address = replace(address, path=spec.subscription.path)

        def up(delivering: bool, reason: str) -> None:
            if delivering:
                self._gather(poll)
                engine.remove(poll.key)
                return
            self.say(
                WARNING, "SubscriptionLost", f"polling instead: {services.redactor(reason)}", kind="endpoint"
            )
            poll.removed = False
            poll.body = None
            engine.add(poll, at_once=True)

        def received(data: dict[str, Any], errors: tuple[str, ...]) -> None:
            correlation = services.correlation()
            self.counts.polls["subscription"] += 1
            with logs.fields(namespace=self.namespace, tapp=self.name, correlation_id=correlation):
                self.observe(followed, Decoded(data, errors), correlation)
            self._wake_later(followed)

        subscription = followed.subscription = Subscription(
            address=address,
            query=spec.subscription.query,
            variables=spec.variables,
            headers=prepared.headers,
            tls=prepared.tls,
            guard=services.guard,
            clock=services.clock,
            timeout=poll.timeout,
            limit=spec.max_response_bytes,
            received=received,
            up=up,
        )
        subscription.start()

    def _wake_later(self, followed: Followed) -> None:
        """Rules that wait for time to pass are judged again although the socket stays silent."""
        if followed.timer is not None:
            followed.timer.cancel()
            followed.timer = None
        wake = self._next_wake(followed.instance.name)
        if wake == NEVER or followed.subscription is None:
            return

        def judge_again() -> None:
            if followed.subscription is None or followed.down:
                return
            seen = Observation(followed.state, followed.state, self._endpoint(followed), {})
            self._judge(followed, seen, [], self.services.correlation())
            self._wake_later(followed)

        delay = max(0.05, wake - self.services.clock.monotonic())
        followed.timer = asyncio.get_running_loop().call_later(delay, judge_again)

    def _end(self, name: str) -> None:
        followed = self.followed[name]
        if followed.subscription is not None:
            followed.subscription.stop()
            followed.subscription = None
        if followed.timer is not None:
            followed.timer.cancel()
            followed.timer = None
        poll = self.services.engine.polls.get(f"{self.uid}/{name}")
        if poll is not None:
            self._gather(poll)
            self.services.engine.remove(poll.key)

    def _drop(self, name: str) -> None:
        followed = self.followed[name]
        self._end(name)
        if name:
            # A pod of its own is gone for good; the single instance only waits for its next pod.
            del self.followed[name]
            if self.book is not None:
                self.book.forget(name)
            if self.forecaster is not None:
                self.forecaster.forget(name)
        elif followed.instance.pod:
            self.restored[""] = followed.seen_digest
            del self.followed[name]

    def stop_polling(self) -> None:
        for name in list(self.followed):
            self._end(name)
            followed = self.followed.pop(name)
            self.restored[name] = followed.seen_digest

    def _gather(self, poll: Poll) -> None:
        """Take a poll's counts over before it goes."""
        for word, count in (
            ("success", poll.succeeded),
            ("error", poll.failed),
            ("rate_limited", poll.rate_limited),
        ):
            if count:
                self.counts.polls[word] += count
        poll.succeeded = poll.failed = poll.rate_limited = 0

    def _polls(self) -> list[Poll]:
        polls = self.services.engine.polls
        found = (polls.get(f"{self.uid}/{name}") for name in self.followed)
        return [poll for poll in found if poll is not None]

    def _answered(self) -> bool:
        return any(followed.state is not MISSING for followed in self.followed.values())

    # -- answers -----------------------------------------------------------------------------------------

    def _received(self, poll: Poll, body: bytes | None, failure: Failure | None) -> None:
        followed = poll.owner
        assert isinstance(followed, Followed)
        correlation = self.services.correlation()
        with logs.fields(namespace=self.namespace, tapp=self.name, correlation_id=correlation):
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
                        now = self.services.clock.now()
                        self.conditions.set(st.QUERY_VALID, "False", "GraphqlErrors", failure.message, now)
                else:
                    self.observe(followed, decoded, correlation)
            if failure is not None:
                self._missed(followed, failure)
            if poll.wake_at != 0.0:
                poll.wake_at = self._next_wake(followed.instance.name)

    def _next_wake(self, name: str) -> float:
        due = self.book.due(name) if self.book is not None else None
        if due is None:
            return NEVER
        clock = self.services.clock
        return clock.monotonic() + max(0.0, due - clock.now())

    def observe(self, followed: Followed, decoded: Decoded, correlation: str) -> None:
        """A state has come: tell what changed, judge the rules."""
        now = self.services.clock.now()
        assert self.prepared is not None
        previous, state = followed.state, decoded.state
        followed.answered_at = now
        followed.state = state
        self._reachable(followed, now)
        changes = diff(previous, state) if previous is not MISSING else []
        if previous is MISSING or changes:
            self._tell(followed, previous, state, changes)
            self._record("state", followed, mask(state, (), self._hidden()), now)
        if decoded.errors:
            self.last_error = self.services.redactor("; ".join(decoded.errors)[:1024])
        elif self.last_error and not any(entry.down for entry in self.followed.values()):
            self.last_error = ""
        forecasts = self.forecaster.learn(followed.instance.name, state, now) if self.forecaster else {}
        seen = Observation(state, previous, self._endpoint(followed), forecasts)
        self._judge(followed, seen, changes, correlation)

    def _reachable(self, followed: Followed, now: float) -> None:
        was_down, followed.failures, followed.error, followed.down = followed.down, 0, "", False
        if was_down:
            self.say(NORMAL, "EndpointUp", f"{self._where(followed)} answers again", kind="endpoint")
            logs.record(log, logging.INFO, "endpoint_up")
        if self.conditions.status(st.QUERY_VALID) != "True":
            self.conditions.set(st.QUERY_VALID, "True", "Answered", "the endpoint answers the query", now)
        if not any(entry.down for entry in self.followed.values()):
            first = self.conditions.set(st.ENDPOINT_REACHABLE, "True", "Answered", self.endpoint_text, now)
            self.conditions.set(st.READY, "True", "Monitoring", "the state is followed", now)
            self.state_word = st.MONITORING
            if first or was_down:
                self.want_status(NOW)

    def _missed(self, followed: Followed, failure: Failure) -> None:
        """No state this time."""
        assert self.prepared is not None
        now = self.services.clock.now()
        message = self.services.redactor(failure.message)
        followed.failures += 1
        followed.error = message
        self.last_error = message
        self.counts.errors[failure.category] += 1
        where = self._where(followed)
        logs.record(log, logging.DEBUG, "poll_failed", category=failure.category, error=message)
        if followed.failures == self.prepared.spec.failure_threshold and not followed.down:
            followed.down = True
            self.say(WARNING, "EndpointDown", f"{where} does not answer: {message}", kind="endpoint")
            logs.record(log, logging.WARNING, "endpoint_down", category=failure.category, error=message)
            self.conditions.set(st.ENDPOINT_REACHABLE, "False", "EndpointDown", f"{where}: {message}", now)
            self.conditions.set(st.READY, "False", "EndpointDown", f"{where}: {message}", now)
            self._record("down", followed, {"error": message}, now)
            self.want_status(NOW)
        self.want_status(SOON)
        seen = Observation({}, MISSING, self._endpoint(followed), {})
        self._judge(followed, seen, [], self.services.correlation(), endpoint_only=True)

    def _endpoint(self, followed: Followed) -> dict[str, Any]:
        return {"up": not followed.down, "failures": followed.failures, "error": followed.error or None}

    def _where(self, followed: Followed) -> str:
        instance = followed.instance
        return f"{instance.address.shown} (pod {instance.pod})" if instance.pod else instance.address.shown

    # -- telling -----------------------------------------------------------------------------------------

    def _tell(self, followed: Followed, previous: Any, state: Any, changes: list[Change]) -> None:
        assert self.prepared is not None
        rules, name = self.prepared.spec.events, followed.instance.name
        before = self.restored.pop(name, "") if previous is MISSING else ""
        followed.seen_digest = digest(state)
        if previous is MISSING:
            if not before:
                summary = spell((), state, self._hidden())
                self.say(NORMAL, "InitialState", f"{self._where(followed)}: {summary}", kind="initial")
                self.want_status(SOON)
            elif before != followed.seen_digest:
                self.say(NORMAL, "StateChanged", "the state changed while it was not followed", kind="change")
                self.want_status(SOON)
            return
        for type, message in change_events(changes, rules, instance=name):
            self.say(type, "StateChanged", message)
            self.want_status(SOON)
        if log.isEnabledFor(logging.INFO):
            for change in changes[:20]:
                logs.record(
                    log,
                    logging.INFO,
                    "state_change_detected",
                    field=change.field,
                    old_state=spell(change.path, change.old, self._hidden()),
                    new_state=spell(change.path, change.new, self._hidden()),
                )

    def _hidden(self) -> list[tuple[str | int, ...]]:
        assert self.prepared is not None
        return [parse_path(text) for text in self.prepared.spec.events.redact]

    def _record(self, kind: str, followed: Followed, body: Any, now: float, rule: str = "") -> None:
        history = self.services.history
        if history is not None:
            name = followed.instance.name
            history.add(Entry(now, self.namespace, self.name, self.uid, name, kind, body, rule))

    # -- rules and orders --------------------------------------------------------------------------------

    def _judge(
        self,
        followed: Followed,
        seen: Observation,
        changes: list[Change],
        correlation: str,
        *,
        endpoint_only: bool = False,
    ) -> None:
        if self.book is None or not self.authorized:
            return
        now = self.services.clock.now()
        stepped = self.book.observe(followed.instance.name, seen, now, endpoint_only=endpoint_only)
        if stepped.changed:
            self.want_status(NOW)
        for rule, decision in stepped.decisions.items():
            if decision.outcome == SUPPRESSED and decision.tell:
                self.say(NORMAL, "ActionHeldBack", f"rule {rule}: {decision.reason}", kind="action")
                logs.record(log, logging.INFO, "action_held_back", rule=rule, reason=decision.reason)
        for fired in stepped.fired:
            self._record(
                "decision", followed, {"explanation": fired.decision.explain()}, now, fired.rule.rule
            )
            self._fire(followed, fired, changes, correlation)

    def _fire(self, followed: Followed, fired: Fired, changes: list[Change], correlation: str) -> None:
        assert self.prepared is not None
        hidden = self._hidden()
        told = [
            {"field": c.field, "old": spell(c.path, c.old, hidden), "new": spell(c.path, c.new, hidden)}
            for c in changes
        ]
        reason = self._reason(fired)
        logs.record(
            log, logging.INFO, "rule_fired", rule=fired.rule.rule, transition=fired.decision.transition
        )
        if self.prepared.spec.dry_run:
            text = f"rule {fired.rule.rule} would run {fired.rule.action} (dryRun): {reason}"
            self.say(NORMAL, "ActionDryRun", text, kind="action")
            self.counts.actions[(fired.rule.action, "dry_run")] += 1
            return
        key = RunKey(
            self.namespace,
            self.name,
            self.uid,
            fired.rule.rule,
            fired.instance,
            fired.decision.transition,
        )
        order = make_order(self, key, followed, reason, told, correlation)
        if order is not None:
            self.services.queue.submit(order)

    def _reason(self, fired: Fired) -> str:
        """Why the rule fired, with redacted fields' values left out."""
        assert self.prepared is not None
        hidden = self._hidden()
        parts = []
        for finding in fired.decision.findings:
            shown = spell(parse_path(finding.field), finding.actual, hidden)
            parts.append(f"{finding.field} is {shown}")
        return self.services.redactor(cut("; ".join(parts), 512))

    # -- readings ----------------------------------------------------------------------------------------

    def last_polled(self) -> float:
        """Wall time of the last answer or failure."""
        loop_now, now = self.services.clock.monotonic(), self.services.clock.now()
        latest = max((poll.answered_at for poll in self._polls()), default=0.0)
        streamed = max((entry.answered_at for entry in self.followed.values()), default=0.0)
        return max(now - (loop_now - latest) if latest else 0.0, streamed)

    def rule_entries(self) -> list[dict[str, Any]]:
        """The rules' memories as they go into the status."""
        return self.book.write() if self.book is not None else self._rule_entries

    def gather_polls(self) -> None:
        for poll in self._polls():
            self._gather(poll)

    def redact(self, text: str) -> str:
        return self.services.redactor(text)
