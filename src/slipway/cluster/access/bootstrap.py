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


@cache
def _made(release: str) -> dict[bytes, Object]:
    """What became of each object, by its JSON, in the first cluster of this process that had none yet."""
    return {}


async def bootstrap(registry: Registry, release: str, more: Iterable[Object] = ()) -> None:
    """Create the objects that are missing; existing ones stay as they are. `more` is what the cluster's own parts
    need."""
    # Where there is something already, a webhook may have a say in what is stored.
    made = _made(release) if registry.store.revision == 0 else None
    for obj in _objects("bootstrap.json"):
        await _make(registry, obj, made)
    for obj in _objects("bootstrap_policy.json"):
        _keep(registry, obj)
    for obj in more:
        await _make(registry, obj, made)


async def _make(registry: Registry, obj: Object, made: dict[bytes, Object] | None) -> None:
    """Create an object, or keep what is known to become of it."""
    text = orjson.dumps(obj)
    if made is not None and text in made:
        _keep(registry, made[text])
        return
    stored = await ensure(registry, copy.deepcopy(obj))
    if made is not None and stored is not None:
        made[text] = stored


def _keep(registry: Registry, obj: Object) -> None:
    """Store an object that is given in the form in which it is stored."""
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


async def ensure(registry: Registry, obj: Object) -> Object | None:
    """Create an object if it is missing; what is stored for it then."""
    resource, metadata = _resource(registry, obj), obj["metadata"]
    definition = registry.definitions.of(resource)
    key = definition.key(metadata.get("namespace", ""), metadata["name"])
    if registry.store.get(definition.bucket, key) is not None:
        return None
    call = Call(
        "create", resource, metadata.get("namespace", ""), identity=_LOOPBACK, user_agent="kube-apiserver"
    )
    try:
        return (await create(registry, call, obj)).record.value
    except StatusError as error:
        if error.reason != "AlreadyExists":
            raise
        return None
