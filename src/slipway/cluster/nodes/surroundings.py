"""What every pod of a node is run with: client, clock, runtime, images, and where things lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from slipway.cluster.client.client import Client
from slipway.cluster.client.events import EventRecorder
from slipway.cluster.clock import Clock
from slipway.cluster.nodes.container_environment import Lookup
from slipway.cluster.nodes.images import ImageSource
from slipway.cluster.nodes.pod_status import Reporter
from slipway.cluster.nodes.runtime import Runtime
from slipway.cluster.nodes.trust_bundles import ListBundles

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ClusterDns:
    """Where pods ask for names; no address when the cluster has no DNS."""

    address: str = ""
    domain: str = "cluster.local"


@dataclass(slots=True)
class Surroundings:
    """`find` reads an object of a namespace by kind and name; `services` gives all Services known, `bundles` all
    ClusterTrustBundles."""

    node: str
    client: Client
    clock: Clock
    runtime: Runtime
    images: ImageSource
    recorder: EventRecorder
    reporter: Reporter
    folder: Path
    find: Callable[[str], Lookup]  # by namespace
    services: Callable[[], list[Object]]
    bundles: ListBundles
    allocatable: Mapping[str, str]
    dns: ClusterDns = field(default_factory=ClusterDns)
    files: bool = True  # False: nothing of pods is written to disk (simulated)

    def pod_folder(self, pod: Object) -> Path:
        return self.folder / "pods" / str(pod["metadata"]["uid"])

    def log_folder(self, pod: Object) -> Path:
        meta = pod["metadata"]
        return self.folder / "logs" / f"{meta['namespace']}_{meta['name']}_{meta['uid']}"

    def log(self, pod: Object, container: str, attempt: int) -> Path:
        return self.log_folder(pod) / container / f"{attempt}.log"
