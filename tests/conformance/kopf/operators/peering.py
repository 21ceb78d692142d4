"""An operator that says which one it is: two of them watch the same objects, one with the higher priority."""

import os
from typing import Any

import kopf
from journal import note

WHO = os.environ["WHO"]


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.peering.lifetime = 5
    settings.peering.stealth = bool(os.environ.get("STEALTH"))


@kopf.on.event("samples")
def seen(name: str, type: str | None, **_: Any) -> None:
    note("seen", who=WHO, name=name, type=type)


@kopf.on.create("samples")
def created(name: str, patch: kopf.Patch, **_: Any) -> None:
    note("created", who=WHO, name=name)
    patch.status["by"] = WHO


@kopf.daemon("samples", labels={"daemon": "yes"})
async def daemon(stopped: kopf.DaemonStopped, **_: Any) -> None:
    note("daemon begins", who=WHO)
    await stopped.wait()
    note("daemon ends", who=WHO, reason=str(stopped.reason))
