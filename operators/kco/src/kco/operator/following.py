"""Which instances a target has now, and the poll or the subscription of each."""

import asyncio
from dataclasses import replace
from functools import partial
from typing import Any

from kco.events.severity import WARNING
from kco.metrics import POLLS
from kco.net.pool import place_of
from kco.net.pool import prepare as prepare_request
from kco.net.url import Address
from kco.operator import answers
from kco.operator import status as st
from kco.operator.preparation import Prepared, redirect_address
from kco.operator.target import NOW, SOON, Followed, Target
from kco.polling.poll import NEVER, Poll
from kco.polling.rate import Bucket
from kco.polling.subscription import Subscription
from kco.rules.trigger import Observation
from kco.state.decode import Decoded
from kco.state.value import MISSING
from kco.targets.instance import resolve as resolve_addresses
from operator_kit import logging as logs


def resolve(target: Target, *, renew: bool = False) -> None:
    """Find the instances anew and poll exactly those."""
    prepared = target.prepared
    if prepared is None:
        return
    spec = prepared.spec
    pods = prepared.cluster.pods.chosen(target.namespace, spec.selector)
    current = [followed.instance for followed in target.followed.values()]
    found = resolve_addresses(spec, target.namespace, pods, current)
    target.pod_counts = (found.selected, found.usable)
    wanted = {instance.name: instance for instance in found.instances}
    for name in [name for name in target.followed if name not in wanted]:
        _drop(target, name)
    for name, instance in wanted.items():
        followed = target.followed.get(name)
        if followed is None:
            followed = target.followed[name] = Followed(instance, down=name in target.restored_down)
            _begin(target, followed, at_once=bool(instance.pod))
        elif followed.instance != instance or renew:
            moved = followed.instance != instance
            followed.instance = instance
            _end(target, name)
            _begin(target, followed, at_once=moved)
    now = target.services.clock.now()
    if not wanted:
        changed = target.conditions.set(st.ENDPOINT_REACHABLE, "False", "NoPods", found.message, now)
        target.conditions.set(st.READY, "False", "NoPods", found.message, now)
        target.state_word = st.INITIALIZING
        if changed:
            target.want_status(NOW)
    target.endpoint_text = found.message
    target.want_status(SOON)


def _begin(target: Target, followed: Followed, *, at_once: bool) -> None:
    prepared = target.prepared
    assert prepared is not None
    spec, settings = prepared.spec, target.services.settings
    address = followed.instance.address
    request = prepare_request("POST", address, prepared.headers, prepared.question.encode())
    interval = float(spec.polling_interval or settings.default_polling_interval)
    per_minute = spec.requests_per_minute or settings.rate_limit_requests
    poll = Poll(
        key=f"{target.uid}/{followed.instance.name}",
        place=place_of(address, prepared.tls),
        request=request,
        interval=interval,
        timeout=min(spec.timeout or settings.graphql_timeout, interval),
        max_retries=settings.graphql_max_retries if spec.max_retries is None else spec.max_retries,
        limit=spec.max_response_bytes,
        received=partial(answers.received, target),
        owner=followed,
        bucket=Bucket(per_minute, min(5, per_minute), target.services.clock.monotonic()),
        redirected=partial(_redirected, prepared, address) if spec.follow_redirects else None,
    )
    if target.forecaster is not None:
        poll.wake_at = 0.0
    target.services.engine.add(poll, at_once=at_once)
    if spec.subscription is not None:
        _subscribe(target, followed, poll)


def _redirected(prepared: Prepared, address: Address, location: str) -> bytes | None:
    """The request for where a redirect leads, if that is a place to go to."""
    there = redirect_address(address, location)
    return prepare_request("POST", there, prepared.headers, prepared.question.encode()) if there else None


def _subscribe(target: Target, followed: Followed, poll: Poll) -> None:
    """Follow by subscription; the poll rests while the socket delivers."""
    prepared = target.prepared
    assert prepared is not None
    spec, services, engine = prepared.spec, target.services, target.services.engine
    assert spec.subscription is not None
    address = followed.instance.address
    if spec.subscription.path:
        address = replace(address, path=spec.subscription.path)

    def up(delivering: bool, reason: str) -> None:
        if delivering:
            target.gather(poll)
            engine.remove(poll.key)
            return
        target.say(
            WARNING, "SubscriptionLost", f"polling instead: {services.redactor(reason)}", kind="endpoint"
        )
        poll.body = None
        engine.add(poll, at_once=True)

    def received(data: dict[str, Any], errors: tuple[str, ...]) -> None:
        correlation = services.correlation()
        target.counts.add(POLLS, "subscription")
        with logs.fields(namespace=target.namespace, tapp=target.name, correlation_id=correlation):
            answers.observe(target, followed, Decoded(data, errors), correlation)
        _wake_later(target, followed)

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


def _wake_later(target: Target, followed: Followed) -> None:
    """Rules that wait for time to pass are judged again although the socket stays silent."""
    if followed.timer is not None:
        followed.timer.cancel()
        followed.timer = None
    wake = answers.next_wake(target, followed.instance.name)
    if wake == NEVER or followed.subscription is None:
        return

    def judge_again() -> None:
        if followed.subscription is None or followed.down:
            return
        seen = Observation(followed.state, followed.state, answers.endpoint(followed), {})
        answers.judge(target, followed, seen, [], target.services.correlation())
        _wake_later(target, followed)

    delay = max(0.05, wake - target.services.clock.monotonic())
    followed.timer = asyncio.get_running_loop().call_later(delay, judge_again)


def _end(target: Target, name: str) -> None:
    """No more polls of this instance; what is known of it stays."""
    followed = target.followed[name]
    if followed.subscription is not None:
        followed.subscription.stop()
        followed.subscription = None
    if followed.timer is not None:
        followed.timer.cancel()
        followed.timer = None
    poll = target.services.engine.polls.get(f"{target.uid}/{name}")
    if poll is not None:
        target.gather(poll)
        target.services.engine.remove(poll.key)


def _drop(target: Target, name: str) -> None:
    followed = target.followed[name]
    _end(target, name)
    if name:
        # A pod of its own is gone for good; the single instance only waits for its next pod.
        del target.followed[name]
        if target.book is not None:
            target.book.forget(name)
        if target.forecaster is not None:
            target.forecaster.forget(name)
    elif followed.instance.pod:
        target.restored[""] = followed.seen_digest
        if followed.state is not MISSING:
            target.parted = followed.state
        del target.followed[name]


def stop(target: Target) -> None:
    """No more polls at all; only the fingerprints of the states are kept."""
    target.parted = MISSING
    for name in list(target.followed):
        _end(target, name)
        followed = target.followed.pop(name)
        target.restored[name] = followed.seen_digest
