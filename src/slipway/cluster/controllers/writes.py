"""What a controller wants done, as data: pure step functions return these, `effects` carries them out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from slipway.cluster.client.client import PatchType
from slipway.cluster.client.objects import Object
from slipway.cluster.client.resources import ApiResource


@dataclass(frozen=True, slots=True)
class Announce:
    """An Event about `about`. In the message `{name}` is the written object's name, `{error}` what failed."""

    about: Mapping[str, Any]
    reason: str
    message: str
    type: str = "Normal"


@dataclass(frozen=True, slots=True)
class Create:
    resource: ApiResource
    obj: Object
    done: Announce | None = None
    failed: Announce | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """PUT; `subresource` is "", "status", "approval" or "finalize"."""

    resource: ApiResource
    obj: Object
    subresource: str = ""
    done: Announce | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    resource: ApiResource
    namespace: str
    name: str
    body: Any
    type: PatchType = PatchType.STRATEGIC
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete exactly this object (by uid); one that is gone already is no failure."""

    resource: ApiResource
    obj: Object
    propagation: str = ""
    grace_period: int | None = None
    done: Announce | None = None
    failed: Announce | None = None


Write = Create | Update | Patch | Delete


@dataclass(slots=True)
class Plan:
    """Writes in their order; the first that fails ends the plan. `requeue_after` is in seconds."""

    writes: list[Write] = field(default_factory=list)
    events: list[Announce] = field(default_factory=list)
    requeue_after: float | None = None

    def again_after(self, seconds: float) -> None:
        """Come back after that long at the latest."""
        if self.requeue_after is None or seconds < self.requeue_after:
            self.requeue_after = seconds
