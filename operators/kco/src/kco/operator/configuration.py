"""What the end of a configuration attempt means for a target: conditions, Events, polling begins or stops."""

from kco.events.severity import WARNING
from kco.metrics import ERRORS
from kco.operator import following
from kco.operator import status as st
from kco.operator.preparation import Prepared
from kco.operator.target import NOW, Target
from kco.prediction.forecaster import Forecaster
from kco.rules.book import RuleBook


def failed(target: Target, condition: str, reason: str, message: str) -> None:
    """The TargetApp cannot be monitored as it is."""
    now = target.services.clock.now()
    following.stop(target)
    target.prepared = None
    target.state_word = st.FAILED
    message = target.services.redactor(message)
    target.last_error = message
    changed = target.conditions.set(condition, "False", reason, message, now)
    if condition != st.READY:
        target.conditions.set(st.READY, "False", reason, message, now)
    if changed or target.message != message:
        target.say(WARNING, reason, message, kind="invalid")
        target.counts.add(ERRORS, reason)
    target.message = message
    target.want_status(NOW)


def suspended(target: Target) -> None:
    """`spec.suspend` is true."""
    following.stop(target)
    target.state_word = st.SUSPENDED
    target.conditions.set(st.READY, "False", "Suspended", "spec.suspend is true", target.services.clock.now())
    target.want_status(NOW)


def configured(target: Target, prepared: Prepared, missing: list[str]) -> None:
    """Everything about the TargetApp is in order: monitor it."""
    now = target.services.clock.now()
    known = target.prepared.warnings if target.prepared is not None else ()
    for warning in prepared.warnings:
        if warning not in known and target.told_generation != target.generation:
            target.say(WARNING, "InsecureConfiguration", warning, kind="invalid")
    target.told_generation = target.generation
    target.prepared = prepared
    if target.book is None:
        target.book = RuleBook(prepared.spec, target.restored_rules)
    else:
        target.book.replace_rules(prepared.spec)
    forecaster = Forecaster(prepared.spec)
    target.forecaster = forecaster if forecaster.wanted else None
    target.conditions.set(st.QUERY_VALID, "True", "Checked", "the query is one GraphQL query", now)
    _authorize(target, missing, now)
    target.message = ""
    target.state_word = st.MONITORING if target.answered() else st.INITIALIZING
    following.resolve(target, renew=True)
    target.want_status(NOW)


def _authorize(target: Target, missing: list[str], now: float) -> None:
    target.authorized = not missing
    if missing:
        text = "not allowed: " + "; ".join(missing)
        if target.conditions.set(st.ACTIONS_AUTHORIZED, "False", "Forbidden", text, now):
            target.say(WARNING, "ActionsNotAuthorized", text, kind="invalid")
    else:
        target.conditions.set(st.ACTIONS_AUTHORIZED, "True", "Allowed", "the actions are allowed", now)


def authorization(target: Target, missing: list[str]) -> None:
    """A later review of the permissions."""
    before = target.authorized
    _authorize(target, missing, target.services.clock.now())
    if before != target.authorized:
        for poll in target.polls():
            poll.body = None
        target.want_status(NOW)
