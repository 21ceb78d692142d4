"""An embedded Kubernetes: control plane and nodes in one Python process, pods as processes of their own.

From the ground up: `clock`, `exchange`, `status` and `kubelet` are the words that all floors share; `schema` knows
kinds, `store` keeps objects, `patching` changes them, `registry` says what each kind does, `access` says who
may, `server` speaks HTTP; `client` is how `controllers`, `scheduler` and `nodes` talk to all that, exactly as
they would to a real cluster; `environment` starts and stops everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slipway.cluster.environment import clients
    from slipway.cluster.environment.cluster import Cluster
    from slipway.cluster.environment.embedded import ClusterError, EmbeddedCluster
    from slipway.cluster.environment.options import ClusterOptions

_HOMES = {
    "Cluster": "slipway.cluster.environment.cluster",
    "ClusterError": "slipway.cluster.environment.embedded",
    "ClusterOptions": "slipway.cluster.environment.options",
    "EmbeddedCluster": "slipway.cluster.environment.embedded",
}


def __getattr__(name: str) -> Any:
    # Lazily: importing one floor must not import the whole house.
    import importlib

    if name == "clients":
        return importlib.import_module("slipway.cluster.environment.clients")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["Cluster", "ClusterError", "ClusterOptions", "EmbeddedCluster", "clients"]
