"""managedFields: who set which field, kept up to date on every write.

The rules live in `patching.apply`; here is when they are asked and with what.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from slipway.cluster.clock import Clock
from slipway.cluster.patching.apply import FieldManager, MissingVersion
from slipway.cluster.patching.reset_fields import reset_filter
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.definition import Definition, Definitions
from slipway.cluster.registry.registry import Registry
from slipway.cluster.schema.shape import Shape
from slipway.cluster.schema.zero_values import blank_object

Object = dict[str, Any]
Through = Callable[
    [Definition], Definition
]  # a definition as one piece of work sees it (conversion.Conversions)


class ServedVersions:
    """The versions of one kind, for managers that wrote in another than this request's (apply.Versions)."""

    def __init__(self, definitions: Definitions, definition: Definition, through: Through) -> None:
        self._definitions = definitions
        self._definition = definition
        self._through = through

    def _in(self, api_version: str) -> Definition:
        group, _, version = api_version.rpartition("/")
        resource = self._definitions.catalogue.find(group, version, self._definition.resource.plural)
        found = self._definitions.of(resource) if resource is not None else None
        if found is None or found.bucket != self._definition.bucket:
            raise MissingVersion(api_version)
        return found

    def shape(self, api_version: str) -> Shape:
        return self._in(api_version).shape()

    def convert(self, obj: Object, api_version: str) -> Object:
        if obj.get("apiVersion") == api_version:
            return obj  # as it is: reading it anew would drop nulls and fill in defaults
        wanted = self._through(self._in(api_version))
        if wanted.webhook is not None:
            return wanted.from_storage(
                obj
            )  # which is asked for the one from the other, without what is stored
        return wanted.from_storage(self._definition.to_storage(obj))


def field_manager(
    definitions: Definitions, definition: Definition, subresource: str, through: Through
) -> FieldManager:
    resource = definition.resource
    return FieldManager(
        resource.group,
        resource.version,
        resource.kind,
        definition.shape(),
        subresource,
        reset_filter(
            resource.qualified, subresource, has_status=definition.has_status, custom=resource.custom
        ),
        {} if resource.custom else blank_object(resource.group, resource.version, resource.kind),
        ServedVersions(definitions, definition, through),
    )


async def record_update(
    registry: Registry, definition: Definition, call: Call, obj: Object, old: Object | None
) -> None:
    """Note in `obj` that the caller's manager set what differs from `old` (None: it is created)."""
    subresource = str(call.audit.get("owner_subresource") or call.subresource)
    time = _time(subresource, registry.clock)
    seen = obj
    converted = definition.storage_api_version not in ("", obj.get("apiVersion"))
    if converted and definition.webhook is None and (old is not None or not definition.resource.custom):
        # Fields that the storage version does not know are lost, so nobody owns them. Of a custom resource upstream
        # notices it only from the second write on, and never what a webhook loses.
        seen = definition.from_storage(definition.to_storage(obj))

    def work(through: Through) -> Object:
        manager = field_manager(registry.definitions, definition, subresource, through)
        return manager.update(old, seen, call.manager, time)

    metadata = (await registry.conversions.settled(definition, work))["metadata"]
    if "managedFields" in metadata:
        obj["metadata"]["managedFields"] = metadata["managedFields"]
    else:
        obj["metadata"].pop("managedFields", None)


async def apply(
    registry: Registry, definition: Definition, call: Call, config: Object, live: Object | None
) -> Object:
    """The object after the configuration was applied on behalf of the caller's manager."""
    time = _time(call.subresource, registry.clock)

    def work(through: Through) -> Object:
        manager = field_manager(registry.definitions, definition, call.subresource, through)
        return manager.apply(live, copy.deepcopy(config), call.manager, bool(call.options.force), time)

    return await registry.conversions.settled(definition, work)


def check_config(definitions: Definitions, definition: Definition, config: Object) -> None:
    """StatusError for a configuration that says it is something else, or does not fit the schema."""
    field_manager(definitions, definition, "", lambda one: one).check_config(config)


def _time(subresource: str, clock: Clock) -> str:
    """Upstream loses the time on the way from the Scale to the object that it scales."""
    return "" if subresource == "scale" else clock.timestamp()


def without_stamps(obj: Object) -> Object:
    """The object without what changes on every write, for telling whether a write changes anything."""
    metadata = dict(obj.get("metadata") or {})
    metadata.pop("resourceVersion", None)
    managed = metadata.get("managedFields")
    if managed:
        metadata["managedFields"] = [{k: v for k, v in entry.items() if k != "time"} for entry in managed]
    return {**obj, "metadata": metadata}
