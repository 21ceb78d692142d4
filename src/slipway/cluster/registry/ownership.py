"""managedFields: who set which field, kept up to date on every write.

The rules live in `patching.apply`; here is when they are asked and with what.
"""

from __future__ import annotations

from typing import Any

from slipway.cluster.clock import Clock
from slipway.cluster.patching.apply import FieldManager, MissingVersion
from slipway.cluster.patching.reset_fields import reset_filter
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.definition import Definition, Definitions
from slipway.cluster.schema.shape import Shape
from slipway.cluster.schema.zero_values import blank_object

Object = dict[str, Any]


class ServedVersions:
    """The versions of one kind, for managers that wrote in another than this request's (apply.Versions)."""

    def __init__(self, definitions: Definitions, definition: Definition) -> None:
        self._definitions = definitions
        self._definition = definition

    def _in(self, api_version: str) -> Definition:
        group, _, version = api_version.rpartition("/")
        resource = self._definitions.catalogue.find(group, version, self._definition.resource.plural)
        if resource is None or group != self._definition.resource.group:
            raise MissingVersion(api_version)
        return self._definitions.of(resource)

    def shape(self, api_version: str) -> Shape:
        return self._in(api_version).shape()

    def convert(self, obj: Object, api_version: str) -> Object:
        if obj.get("apiVersion") == api_version:
            return obj  # as it is: reading it anew would drop nulls and fill in defaults
        return self._in(api_version).from_storage(self._definition.to_storage(obj))


def field_manager(definitions: Definitions, definition: Definition, subresource: str) -> FieldManager:
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
        ServedVersions(definitions, definition),
    )


def record_update(
    definitions: Definitions,
    definition: Definition,
    call: Call,
    obj: Object,
    old: Object | None,
    clock: Clock,
) -> None:
    """Note in `obj` that the caller's manager set what differs from `old` (None: it is created)."""
    subresource = str(call.audit.get("owner_subresource") or call.subresource)
    manager = field_manager(definitions, definition, subresource)
    time = _time(subresource, clock)
    seen = obj
    converted = definition.storage_api_version not in ("", obj.get("apiVersion"))
    if converted and (old is not None or not definition.resource.custom):
        # Fields that the storage version does not know are lost, so nobody owns them. Of a custom resource upstream
        # notices it only from the second write on.
        seen = definition.from_storage(definition.to_storage(obj))
    noted = manager.update(old, seen, call.manager, time)
    metadata = noted["metadata"]
    if "managedFields" in metadata:
        obj["metadata"]["managedFields"] = metadata["managedFields"]
    else:
        obj["metadata"].pop("managedFields", None)


def apply(
    definitions: Definitions,
    definition: Definition,
    call: Call,
    config: Object,
    live: Object | None,
    clock: Clock,
) -> Object:
    """The object after the configuration was applied on behalf of the caller's manager."""
    manager = field_manager(definitions, definition, call.subresource)
    time = _time(call.subresource, clock)
    return manager.apply(live, config, call.manager, bool(call.options.force), time)


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
