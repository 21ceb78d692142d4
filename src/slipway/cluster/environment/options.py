"""What a cluster is started with."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

HISTORY = 20_000  # changes


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """`state` None keeps everything in memory. Port 0 takes a free one. `tls` False serves plain http, on
    loopback only, and still asks for a token. `seed` makes names, uids and choices repeatable.

    `controllers` False starts none of kube-controller-manager's; `disabled_controllers` leaves some out.
    `window` is how many changes the store keeps for watches and paged lists.
    """

    name: str = "slipway"
    nodes: int = 1
    runtime: str = "simulated"  # simulated, process, namespaces
    state: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    tls: bool = True
    listen: bool = True  # False: no socket at all, only in-process clients
    seed: int | None = None
    version: str = "1.37"
    controllers: bool = True
    disabled_controllers: frozenset[str] = frozenset()
    scheduler: bool = True
    service_account_admission: bool = True
    anonymous: bool = True
    tokens: dict[str, tuple[str, tuple[str, ...]]] = field(default_factory=dict)  # token: (user, groups)
    window: int = HISTORY
    service_range: str = ""  # empty: a free range, 10.96.0.0/16 if it is
    pod_range: str = ""  # the same, 10.244.0.0/16
    images: Path | None = None  # what image names stand for, see nodes/images.py; read at each pull
    behaviours: Path | None = None  # of simulated pods: a behaviour file, or KWOK's Stages
    data: Path | None = None  # where nodes keep logs and volumes; a temporary folder by default
