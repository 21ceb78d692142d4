"""Simulated pods: how long until so many run, what a pod costs, and how much memory they take.

`python -m bench.pods [PODS] [NODES]` (`make bench WHAT=pods`: 10,000 pods on 100 nodes). One process holds control
plane, controllers, scheduler and nodes; a Deployment is created and waited for until its last replica is ready.
CPU seconds are the process's own, so that a busy machine changes them little.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from slipway.cluster import ClusterOptions, EmbeddedCluster
from slipway.cluster.client.resources import DEPLOYMENTS

LIMIT = 600.0  # seconds after which it gives up
DEPLOYMENT = {
    "metadata": {"name": "many", "namespace": "default"},
    "spec": {
        "selector": {"matchLabels": {"app": "many"}},
        "template": {
            "metadata": {"labels": {"app": "many"}},
            "spec": {"containers": [{"name": "main", "image": "nginx:1", "ports": [{"containerPort": 80}]}]},
        },
    },
}


def memory_mb() -> float:
    """Resident megabytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


async def measure(pods: int, nodes: int) -> bool:
    options = ClusterOptions(nodes=nodes, runtime="simulated", listen=False)
    async with EmbeddedCluster(options) as cluster:
        client, rest = cluster.client(), memory_mb()
        spec = {**DEPLOYMENT["spec"], "replicas": pods}
        began, cpu = time.perf_counter(), time.process_time()
        await client.create(DEPLOYMENTS, {**DEPLOYMENT, "spec": spec})
        ready = 0
        while ready < pods and time.perf_counter() - began < LIMIT:
            await asyncio.sleep(0.5)
            ready = (await client.get(DEPLOYMENTS, "many", "default"))["status"].get("readyReplicas", 0)
        took, spent, full = time.perf_counter() - began, time.process_time() - cpu, memory_mb()
    load = os.getloadavg()[0]
    print(f"{pods} pods on {nodes} nodes, load {load:.1f}, Python {sys.version.split()[0]}")
    print(f"ready: {ready} after {took:.1f} s, {spent:.1f} s of them CPU: {1000 * spent / pods:.2f} ms a pod")
    print(f"memory: {full:.0f} MB, {rest:.0f} MB before: {1000 * (full - rest) / pods:.1f} KB a pod")
    return ready == pods


def main() -> int:
    pods, nodes = (int(word) for word in [*sys.argv[1:], *["10000", "100"][len(sys.argv) - 1 :]])
    return 0 if asyncio.run(measure(pods, nodes)) else 1


if __name__ == "__main__":
    sys.exit(main())
