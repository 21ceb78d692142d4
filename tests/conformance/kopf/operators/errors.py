"""Temporary, permanent and arbitrary errors, with retries, back-off, time-outs and modes; throttling of 5xx."""

from typing import Any

import kopf
from journal import note


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.execution.default_backoff = 0.2
    settings.posting.loggers = True
    settings.posting.level = 30


@kopf.on.create("samples", annotations={"case": "temporary"})
def temporary(retry: int, **_: Any) -> dict[str, int]:
    note("temporary", retry=retry)
    if retry < 3:
        raise kopf.TemporaryError(f"attempt {retry}", delay=0.2)
    return {"retries": retry}


@kopf.on.create("samples", annotations={"case": "permanent"})
def permanent(retry: int, **_: Any) -> None:
    note("permanent", retry=retry)
    raise kopf.PermanentError("never")


@kopf.on.create("samples", annotations={"case": "arbitrary"})
async def arbitrary(retry: int, **_: Any) -> None:
    note("arbitrary", retry=retry)
    if retry < 1:
        raise ValueError("by default tried again")


@kopf.on.create("samples", annotations={"case": "retries"}, retries=2, backoff=0.1)
def two_tries(retry: int, **_: Any) -> None:
    note("two tries", retry=retry)
    raise ValueError("again")


@kopf.on.create("samples", annotations={"case": "timeout"}, timeout=1.0)
def one_second(retry: int, **_: Any) -> None:
    note("one second", retry=retry)
    raise kopf.TemporaryError("again", delay=0.2)


@kopf.on.create("samples", annotations={"case": "modes"}, errors=kopf.ErrorsMode.PERMANENT)
def mode_permanent(retry: int, **_: Any) -> None:
    note("mode permanent", retry=retry)
    raise ValueError("once")


@kopf.on.create("samples", annotations={"case": "modes"}, errors=kopf.ErrorsMode.IGNORED)
def mode_ignored(retry: int, **_: Any) -> None:
    note("mode ignored", retry=retry)
    raise ValueError("as if it were success")
