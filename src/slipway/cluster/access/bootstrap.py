"""What every cluster has from the start: system namespaces, RBAC policy, priority classes."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from typing import Any

from slipway.cluster.exchange import Identity
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.creating import create
from slipway.cluster.registry.registry import Registry
from slipway.cluster.status import StatusError

Object = dict[str, Any]
_LOOPBACK = Identity("system:apiserver", ("system:masters",))


@cache
def _objects() -> list[Object]:
    loaded: list[Object] = json.loads((files(__package__) / "bootstrap.json").read_text())["objects"]
    return loaded


async def bootstrap(registry: Registry, policy: Iterable[Object] = ()) -> None:
    """Create the objects that are missing; existing ones stay as they are. `policy` is more of them: the roles of
    the cluster's own parts."""
    for obj in [*_objects(), *policy]:
        await ensure(registry, copy.deepcopy(obj))


async def ensure(registry: Registry, obj: Object) -> None:
    group, _, version = obj["apiVersion"].rpartition("/")
    resource = registry.definitions.catalogue.by_kind(group, version, obj["kind"])
    if resource is None:
        raise LookupError(f"bootstrap: {obj['apiVersion']} {obj['kind']} is not served")
    metadata = obj["metadata"]
    definition = registry.definitions.of(resource)
    key = definition.key(metadata.get("namespace", ""), metadata["name"])
    if registry.store.get(definition.bucket, key) is not None:
        return
    call = Call(
        "create", resource, metadata.get("namespace", ""), identity=_LOOPBACK, user_agent="kube-apiserver"
    )
    try:
        await create(registry, call, obj)
    except StatusError as error:
        if error.reason != "AlreadyExists":
            raise
