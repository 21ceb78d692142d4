"""What every target of one operator process shares."""

from collections.abc import Callable
from dataclasses import dataclass

from kco.actions.ledger import Ledger
from kco.actions.queue import ActionQueue
from kco.actions.registry import ActionRegistry
from kco.events.recorder import EventRecorder
from kco.history.store import History
from kco.metrics import KcoCollector
from kco.net.guard import Guard
from kco.net.pool import Pool
from kco.operator.clusters import Clusters
from kco.polling.engine import PollEngine
from kco.settings import Settings
from kco.targets.credentials import Redactor
from operator_kit.clock import Clock
from operator_kit.kube.client import KubeClient


@dataclass
class Services:
    settings: Settings
    clock: Clock
    client: KubeClient
    guard: Guard
    pool: Pool
    engine: PollEngine
    recorder: EventRecorder
    ledger: Ledger
    queue: ActionQueue
    registry: ActionRegistry
    metrics: KcoCollector
    clusters: Clusters
    redactor: Redactor
    history: History | None
    correlation: Callable[[], str]
