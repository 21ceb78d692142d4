"""Objects that are asked and not kept: reviews, TokenRequests. They are read as what is created is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from slipway.cluster.registry import ownership
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.decoding_modes import decoded
from slipway.cluster.registry.object_metadata import check_place, drop_empty, meta
from slipway.cluster.registry.registry import Registry
from slipway.cluster.schema.resource import Resource

Object = dict[str, Any]


def kind_of(call: Call) -> Resource:
    """The kind that the call's resource, or its sub-resource, speaks."""
    resource = call.resource
    spoken = resource.subresource(call.subresource) if call.subresource else None
    if spoken is None:
        return resource
    return replace(
        resource,
        group=spoken.group,
        version=spoken.version,
        plural=f"{resource.plural}/{spoken.name}",
        kind=spoken.kind,
        subresources=(),
        stored=False,
    )


async def understand(registry: Registry, call: Call, body: Object) -> Object:
    """The object of a body: decoded, with defaults, in its place, and with the fields that the caller set."""
    resource = kind_of(call)
    definition = registry.definitions.of(resource)
    obj = decoded(definition, call, body)
    meta(obj)
    check_place(obj, resource.namespaced, call.namespace, "")
    definition.default(obj)
    await ownership.record_update(registry, definition, call, obj, None)
    obj.pop("status", None)
    drop_empty(obj["metadata"])
    return obj
