"""Where something of the cluster is listened to, and what lies behind. Plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Door:
    """Where a port of a Service, or of a pod on its node, is listened to."""

    address: str
    port: int
    protocol: str


@dataclass(slots=True)
class Room:
    """What lies behind a door: a Service's endpoints, or `only` one place. `sticky` sends one client always to one
    endpoint."""

    namespace: str
    service: str  # or the pod's name
    port_name: str
    sticky: bool
    next: int = 0
    only: tuple[str, int] | None = None
