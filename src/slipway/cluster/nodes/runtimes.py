"""What runs the pods of a cluster: the runtimes that there are, which is the best here, and making one."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from slipway.cluster.clock import Clock
from slipway.cluster.nodes.runtime import Runtime

if TYPE_CHECKING:
    from slipway.cluster.nodes.simulated import Book

# rootless: namespaces in a user namespace, as without root.
RUNTIMES = ("auto", "namespaces", "rootless", "process", "simulated")
_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21


@dataclass(frozen=True, slots=True)
class NodesSettings:
    """`folder` is where logs and volumes lie; `mapping` a file with rows of images, read at each pull."""

    cluster: str
    count: int
    runtime: str
    folder: Path
    pod_range: str
    service_range: str
    seed: int | None = None
    version: str = "1.37"
    mapping: Path | None = None
    named: str = ""  # what the nodes' names begin with, if not with the cluster's
    behaviours: Path | None = None  # of simulated pods: a behaviour file, or one of KWOK's Stages

    @property
    def nodes(self) -> list[str]:
        """The nodes' names."""
        return [f"{self.named or self.cluster}-{number + 1}" for number in range(self.count)]


def make_runtime(settings: NodesSettings, clock: Clock) -> Runtime:
    """The runtime of that name; `auto` is the best that this machine can have."""
    random = Random(settings.seed)
    name = settings.runtime
    if name == "auto":
        name = best_runtime()
    # Each is imported where it is chosen: a cluster starts without the others.
    if name == "process":
        from slipway.cluster.nodes.processes import ProcessRuntime

        return ProcessRuntime(settings.cluster, clock, random)
    if name == "simulated":
        from slipway.cluster.nodes.simulated import SimulatedRuntime

        book = _behaviours(settings.behaviours) if settings.behaviours else None
        return SimulatedRuntime(clock, random, settings.pod_range, settings.count, book)
    if name in ("namespaces", "rootless"):
        from slipway.cluster.nodes.namespaces.runtime import NamespacesRuntime

        return NamespacesRuntime(
            settings.cluster,
            clock,
            random,
            pod_range=settings.pod_range,
            service_range=settings.service_range,
            nodes=settings.nodes,
            rootless=name == "rootless" or os.geteuid() != 0,
        )
    raise ValueError(f"runtime {settings.runtime!r} is not one of {', '.join(RUNTIMES)}")


def _behaviours(path: Path) -> Book:
    from slipway.cluster.nodes.stages import read_behaviours

    return read_behaviours(path)


def best_runtime() -> str:
    """namespaces where Linux lets us, plain processes elsewhere."""
    return "namespaces" if namespaces_possible() else "process"


def namespaces_possible() -> bool:
    """Whether this process may make namespaces. Root with its capabilities may; for others only trying tells."""
    if sys.platform != "linux":
        return False
    if os.geteuid() == 0:
        return all(_capabilities() >> bit & 1 for bit in (_CAP_NET_ADMIN, _CAP_SYS_ADMIN))
    from slipway.cluster.nodes.namespaces.kernel import NEWNET, NEWNS, NEWUSER

    flags = NEWNET | NEWNS | NEWUSER
    code = f"import ctypes, sys; sys.exit(1 if ctypes.CDLL(None).unshare({flags}) else 0)"
    tried = subprocess.run([sys.executable, "-I", "-S", "-E", "-c", code], check=False)
    return tried.returncode == 0


def _capabilities() -> int:
    """The effective capabilities, as a bit mask."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return int(line.split()[1], 16)
    return 0
