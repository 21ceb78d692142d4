"""Timers and daemons: intervals, sharpness, idling, delays; stop flags, cancellation, restarts, filters."""

import asyncio
import time
from typing import Any

import kopf
from journal import note


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.background.cancellation_polling = 0.2


@kopf.timer("samples", interval=0.2, annotations={"case": "timers"})
def interval(patch: kopf.Patch, status: kopf.Status, **_: Any) -> None:
    ticks = status.get("ticks", 0) + 1
    note("interval", ticks=ticks)
    patch.status["ticks"] = ticks


@kopf.timer("samples", interval=0.4, sharp=True, annotations={"case": "timers"})
async def sharp(**_: Any) -> None:
    note("sharp", at=time.monotonic())
    await asyncio.sleep(0.25)


@kopf.timer("samples", interval=0.1, idle=0.8, annotations={"case": "idle"})
def idle(spec: kopf.Spec, **_: Any) -> None:
    note("idle", at=time.monotonic(), size=spec.get("size"))


@kopf.timer("samples", interval=60, initial_delay=lambda **_: 0.5, annotations={"case": "timers"})
def delayed(**_: Any) -> dict[str, bool]:
    note("delayed", at=time.monotonic())
    return {"ran": True}


@kopf.timer("samples", interval=0.1, retries=2, backoff=0.1, annotations={"case": "failing"})
def failing_timer(retry: int, **_: Any) -> None:
    note("failing timer", retry=retry)
    raise ValueError("no")


@kopf.daemon("samples", annotations={"case": "daemons"})
def in_a_thread(stopped: kopf.DaemonStopped, name: str, spec: kopf.Spec, **_: Any) -> None:
    note("thread begins", name=name)
    size = None
    while not stopped:
        if spec.get("size") != size:
            size = spec.get("size")
            note("thread sees", size=size)
        stopped.wait(0.05)
    note("thread ends", name=name, reason=str(stopped.reason))


@kopf.daemon("samples", annotations={"case": "daemons"}, cancellation_backoff=0.2, cancellation_timeout=2)
async def cancelled(name: str, stopped: kopf.DaemonStopped, **_: Any) -> None:
    note("task begins", name=name)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        note("task cancelled", name=name, stopped=bool(stopped))
        raise


@kopf.daemon("samples", annotations={"case": "daemons"})
async def restarting(retry: int, **_: Any) -> None:
    note("restarting", retry=retry)
    if retry < 2:
        raise kopf.TemporaryError("once more", delay=0.1)


@kopf.daemon("samples", labels={"watched": "yes"}, initial_delay=0.1)
async def while_labelled(stopped: kopf.DaemonStopped, **_: Any) -> dict[str, str]:
    note("labelled begins")
    await stopped.wait()
    note("labelled ends", reason=str(stopped.reason))
    return {"ended": "well"}
