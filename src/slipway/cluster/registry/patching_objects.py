"""PATCH: the stored object changed by a patch of any of the four kinds, then written like an update."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal

from slipway.cluster.registry import ownership
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.creating import create_decoded
from slipway.cluster.registry.definition import Definition
from slipway.cluster.registry.object_metadata import check_place, check_type
from slipway.cluster.registry.reading import missing
from slipway.cluster.registry.registry import Registry, Written
from slipway.cluster.registry.updating import ATTEMPTS, replace
from slipway.cluster.status import OBJECT_MODIFIED, conflict
from slipway.cluster.store import Conflict

Object = dict[str, Any]
PatchKind = Literal["json", "merge", "strategic"]
Change = Callable[[Object], Object]


async def patch(registry: Registry, call: Call, change: Change) -> Written:
    """Apply `change` to the stored object; again on a newer one when another writer was faster, unless the
    patch itself names a revision."""
    definition = registry.definitions.of(call.resource)
    key = definition.key(call.namespace, call.name)
    for _ in range(ATTEMPTS):
        record = registry.store.get(definition.bucket, key)
        if record is None:
            raise missing(call)
        old = registry.served(definition, record)
        obj = change(copy.deepcopy(old))
        named_revision = (obj.get("metadata") or {}).get("resourceVersion") != old["metadata"][
            "resourceVersion"
        ]
        obj = _checked(call, definition, obj)
        try:
            return await replace(registry, call, definition, record, obj)
        except Conflict:
            if named_revision:
                break
    raise conflict(call.resource.plural, call.resource.group, call.name, OBJECT_MODIFIED)


async def apply(registry: Registry, call: Call, config: Object) -> Written:
    """Server-side apply: merge a configuration into the object, or create it (`Written.created`)."""
    definition = registry.definitions.of(call.resource)
    resource = call.resource
    check_place(config, resource.namespaced, call.namespace, call.name)
    key = definition.key(call.namespace, call.name)
    for _ in range(ATTEMPTS):
        record = registry.store.get(definition.bucket, key)
        live = None if record is None else registry.served(definition, record)
        if live is None and (call.subresource or config["metadata"].get("resourceVersion")):
            raise missing(call)
        obj = copy.deepcopy(
            ownership.apply(
                registry.definitions, definition, call, copy.deepcopy(config), live, registry.clock
            )
        )
        obj, warnings = definition.decode(obj, call.options.field_validation)
        call.warnings += warnings
        if record is None:
            call.verb = "create"
            return await create_decoded(registry, call, definition, obj, applied=True)
        try:
            return await replace(registry, call, definition, record, obj, applied=True)
        except Conflict:
            continue
    raise conflict(call.resource.plural, call.resource.group, call.name, OBJECT_MODIFIED)


def _checked(call: Call, definition: Definition, obj: Object) -> Object:
    resource = call.resource
    check_type(obj, resource, resource.kind, resource.api_version)
    obj, warnings = definition.decode(obj, call.options.field_validation)
    call.warnings += warnings
    check_place(obj, resource.namespaced, call.namespace, call.name)
    return obj
