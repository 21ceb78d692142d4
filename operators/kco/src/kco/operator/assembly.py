"""Builds what every target of one operator process shares, from the settings."""

import uuid
from collections.abc import Callable

from kco.actions.ledger import Ledger
from kco.actions.queue import ActionQueue
from kco.actions.registry import ActionRegistry
from kco.events.recorder import EventRecorder
from kco.history.store import History
from kco.metrics import KcoCollector
from kco.net.guard import Guard
from kco.net.pool import Pool
from kco.operator.clusters import Clusters
from kco.operator.controller import Controller
from kco.operator.services import Services
from kco.polling.engine import PollEngine
from kco.polling.rate import Bucket
from kco.settings import Settings
from kco.targets.credentials import Redactor
from operator_kit.clock import Clock
from operator_kit.kube.client import KubeClient

DAY = 86400  # seconds


def assemble(
    settings: Settings,
    *,
    clock: Clock,
    client: KubeClient,
    metrics: KcoCollector,
    redactor: Redactor,
    identity: str,
    controller: Callable[[], Controller],
) -> Services:
    """The parts, none of them started.

    They tell the controller what happens, and the controller is built on them: `controller` is asked only then.
    """
    guard = Guard(refused=settings.refused_networks, allowed=settings.allowed_networks)
    pool = Pool(guard)
    bucket = Bucket(settings.global_rate_limit, settings.global_rate_burst, clock.monotonic())
    ledger = Ledger(
        client,
        clock=clock,
        identity=identity,
        keep=settings.run_history,
        keep_seconds=settings.run_history_days * DAY,
    )
    return Services(
        settings=settings,
        clock=clock,
        client=client,
        guard=guard,
        pool=pool,
        engine=PollEngine(pool, bucket=bucket, duration=metrics.poll_seconds.observe),
        recorder=EventRecorder(
            client,
            clock=clock,
            instance=identity,
            redact=redactor,
            written=lambda subject, kind: controller().event_written(subject, kind),
            failed=lambda: metrics.errors.update(["event"]),
        ),
        ledger=ledger,
        queue=ActionQueue(
            ledger,
            clock=clock,
            concurrency=settings.action_concurrency,
            timeout=settings.action_execution_timeout,
            began=lambda order: controller().run_began(order),
            ended=lambda ended: controller().run_ended(ended),
        ),
        registry=ActionRegistry(),
        metrics=metrics,
        clusters=Clusters(
            client,
            clock=clock,
            guard=guard,
            redactor=redactor,
            pods_changed=lambda cluster, namespace: controller().pods_changed(cluster, namespace),
        ),
        redactor=redactor,
        history=_history(settings, clock),
        correlation=lambda: uuid.uuid4().hex[:16],
    )


def _history(settings: Settings, clock: Clock) -> History | None:
    if not settings.history_url:
        return None
    return History(settings.history_url, clock=clock, retention=settings.history_days * DAY)
