"""What every cluster has from the start: system namespaces, RBAC policy, priority classes."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from slipway.cluster.exchange import Identity
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.creating import create
from slipway.cluster.registry.registry import Registry, stamped
from slipway.cluster.schema.resource import Resource
from slipway.cluster.status import StatusError
from slipway.cluster.store import Put

Object = dict[str, Any]
_LOOPBACK = Identity("system:apiserver", ("system:masters",))


@cache
def _objects(name: str) -> list[Object]:
    loaded: list[Object] = orjson.loads((Path(__file__).parent / name).read_bytes())["objects"]
    return loaded


async def bootstrap(registry: Registry, more: Iterable[Object] = ()) -> None:
    """Create the objects that are missing; existing ones stay as they are. `more` is what the cluster's own parts
    need."""
    for obj in _objects("bootstrap.json"):
        await ensure(registry, copy.deepcopy(obj))
    for obj in _objects("bootstrap_policy.json"):
        _keep(registry, obj)
    for obj in more:
        await ensure(registry, copy.deepcopy(obj))


def _keep(registry: Registry, obj: Object) -> None:
    """Store an object of upstream's policy, which the data has in the form in which it is stored."""
    metadata, now = obj["metadata"], registry.clock.timestamp()
    definition = registry.definitions.of(_resource(registry, obj))
    key = definition.key(metadata.get("namespace", ""), metadata["name"])
    if registry.store.get(definition.bucket, key) is not None:
        return
    managers = [{**entry, "time": now} for entry in metadata["managedFields"]]
    owned = {"uid": registry.new_uid(), "creationTimestamp": now, "managedFields": managers}
    stored = {**obj, "metadata": {**metadata, **owned}}
    # Of its parts the data already has one for all clusters of the process.
    registry.store.commit(Put(definition.bucket, key, lambda r: stamped(stored, r), expected=0, apart=True))


def _resource(registry: Registry, obj: Object) -> Resource:
    group, _, version = obj["apiVersion"].rpartition("/")
    resource = registry.definitions.catalogue.by_kind(group, version, obj["kind"])
    if resource is None:
        raise LookupError(f"bootstrap: {obj['apiVersion']} {obj['kind']} is not served")
    return resource


async def ensure(registry: Registry, obj: Object) -> None:
    resource, metadata = _resource(registry, obj), obj["metadata"]
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
