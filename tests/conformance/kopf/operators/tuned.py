"""Settings that change how an operator works: one worker, one thread, no discovery after the start, a life-cycle."""

import concurrent.futures
from typing import Any

import kopf
from journal import note

kopf.set_default_lifecycle(kopf.lifecycles.one_by_one)


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.scanning.disabled = True
    settings.queueing.worker_limit = 1
    settings.queueing.idle_timeout = 0.5
    settings.execution.executor = concurrent.futures.ThreadPoolExecutor(max_workers=1)
    settings.networking.error_backoffs = [0.1, 0.2]
    settings.networking.enforce_retry_after = True
    settings.persistence.consistency_timeout = 1.0


@kopf.on.create("conformance.example.com", "v1", "samples")
def first(name: str, **_: Any) -> None:
    note("first", name=name)


@kopf.on.create("conformance.example.com", "v1", "samples")
def second(name: str, **_: Any) -> None:
    note("second", name=name)
