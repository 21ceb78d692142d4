"""PUT, and the second half of PATCH: a changed object, from the body to the store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slipway.cluster.patching.json_values import copied
from slipway.cluster.registry import aspects, ownership
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.creating import create_decoded
from slipway.cluster.registry.decoding_modes import decoded
from slipway.cluster.registry.definition import Definition
from slipway.cluster.registry.object_metadata import (
    check_named,
    check_place,
    drop_empty,
    keep_server_fields,
    meta,
)
from slipway.cluster.registry.reading import missing
from slipway.cluster.registry.registry import Admission, Registry, Written, stamped
from slipway.cluster.status import OBJECT_MODIFIED, FieldError, StatusError, conflict, invalid
from slipway.cluster.store import Conflict, Delete, Put, Record

Object = dict[str, Any]
ATTEMPTS = 5  # of a write that named no revision and met another writer


async def update(registry: Registry, call: Call, body: Object) -> Written:
    """Replace an object by `body`, which is taken over."""
    definition = registry.definitions.of(call.resource)
    resource = call.resource
    body = decoded(definition, call, body)
    check_named(body, call.name)
    check_place(body, resource.namespaced, call.namespace, call.name)
    key = definition.key(call.namespace, call.name)
    for _ in range(ATTEMPTS):
        record = registry.store.get(definition.bucket, key)
        if record is None:
            if not definition.row.create_on_update or call.subresource:
                raise missing(call)
            body["metadata"].pop("resourceVersion", None)
            call.verb = "create"
            return await create_decoded(registry, call, definition, body)
        try:
            return await replace(registry, call, definition, record, copied(body))
        except Conflict:
            if body["metadata"].get("resourceVersion"):
                raise _modified(call) from None
    raise _modified(call)


def _modified(call: Call) -> StatusError:
    return conflict(call.resource.plural, call.resource.group, call.name, OBJECT_MODIFIED)


def check_preconditions(call: Call, definition: Definition, obj: Object, record: Record) -> None:
    """The revision and uid in the body, where they are given, are those of the stored object."""
    metadata, stored = meta(obj), record.value["metadata"]
    said = metadata.get("resourceVersion")
    if said and said != "0":
        if said != stored["resourceVersion"]:
            raise _modified(call)
    elif not definition.row.unconditional_update or definition.resource.custom:
        shown = FieldError(
            "FieldValueInvalid",
            "metadata.resourceVersion",
            0,
            "must be specified for an update",
            shown="0" if definition.resource.custom else "0x0",
        )
        resource = definition.resource
        kind = resource.plural if resource.custom else resource.kind
        raise invalid(kind, resource.group, call.name, [shown])
    uid = metadata.get("uid")
    if uid and uid != stored["uid"]:
        if call.verb == "patch":
            wrong = FieldError("FieldValueInvalid", "metadata.uid", uid, "field is immutable")
            twice = 2 if definition.resource.custom else 1  # upstream checks custom objects' metadata twice
            raise invalid(call.resource.kind, call.resource.group, call.name, [wrong] * twice)
        raise conflict(
            call.resource.plural,
            call.resource.group,
            call.name,
            f"Precondition failed: UID in precondition: {uid}, UID in object meta: {stored['uid']}",
        )


async def replace(
    registry: Registry,
    call: Call,
    definition: Definition,
    record: Record,
    obj: Object,
    *,
    applied: bool = False,
    admission: Admission | None = None,
) -> Written:
    """Put `obj` in the place of `record`. store.Conflict when another writer was faster.

    `admission` is the registry's, unless a sub-resource shows its own kind of object to it.
    """
    admission = admission or registry.admission
    old = await registry.served(definition, record)
    check_preconditions(call, definition, obj, record)
    obj = await _prepare(registry, call, definition, obj, old, applied)
    admitted = await admission.mutate(call, copied(obj), old)
    assert admitted is not None
    if admitted != obj:
        obj = await _prepare(registry, call, definition, admitted, old, applied=True)
    if not call.subresource:
        definition.strategy.prepare_update(registry, call, obj, old)
    _bump_generation(call, definition, obj, old)
    _validate(registry, call, definition, obj, old)
    await admission.validate(call, obj, old)
    return await _store(registry, call, definition, record, obj, old)


async def _prepare(
    registry: Registry, call: Call, definition: Definition, obj: Object, old: Object, applied: bool
) -> Object:
    keep_server_fields(meta(obj), old["metadata"])
    obj["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
    definition.default(obj)
    if call.subresource:
        obj = aspects.only_part(definition, call.subresource, obj, old)
    else:
        aspects.keep_parts(definition, obj, old)
    if not applied:  # what admission changes is nobody's
        await ownership.record_update(registry, definition, call, obj, old)
    drop_empty(obj["metadata"])
    return obj


def _bump_generation(call: Call, definition: Definition, obj: Object, old: Object) -> None:
    custom = definition.resource.custom
    if not custom and not definition.row.generation:
        return
    if call.subresource == "status":
        changed = False
    elif custom:
        ignored = {"metadata", "status"} if definition.has_status else {"metadata"}
        changed = _without(obj, ignored) != _without(old, ignored)
    else:
        changed = definition.strategy.changed_spec(obj, old)
    if changed:
        obj["metadata"]["generation"] = int(old["metadata"].get("generation") or 0) + 1


def _without(obj: Object, names: set[str]) -> Object:
    return {name: value for name, value in obj.items() if name not in names}


def _validate(registry: Registry, call: Call, definition: Definition, obj: Object, old: Object) -> None:
    errors = definition.validate(obj, old, call.subresource)
    errors += definition.strategy.validate(registry, call, obj, old)
    if errors:
        raise invalid(definition.resource.kind, definition.error_group, call.name, errors)
    call.warnings += definition.warnings(obj, old)


async def _store(
    registry: Registry, call: Call, definition: Definition, record: Record, obj: Object, old: Object
) -> Written:
    if ownership.without_stamps(obj) == ownership.without_stamps(old):
        return Written(record)
    stored = await registry.conversions.stored(definition, obj)
    if call.options.dry_run:
        return Written(Record(record.key, stored, record.created, record.revision))
    make: Callable[[int], Object] = lambda revision: stamped(stored, revision)  # noqa: E731
    if finished_deleting(definition, obj):
        # What is deleted is the object as it was; who asked is shown what was asked for.
        end: Callable[[int], Object] = lambda revision: stamped(record.value, revision)  # noqa: E731
        (gone,) = registry.store.commit(Delete(definition.bucket, record.key, end, record.revision))
        definition.strategy.after_delete(registry, gone.value)
        return Written(Record(record.key, stored, record.created, record.revision), deleted=True)
    (new,) = registry.store.commit(Put(definition.bucket, record.key, make, record.revision))
    definition.strategy.after_update(registry, new.value, record.value)
    return Written(new)


def finished_deleting(definition: Definition, obj: Object) -> bool:
    """A deleted object that nothing holds any more."""
    metadata = obj["metadata"]
    return bool(
        metadata.get("deletionTimestamp")
        and not metadata.get("finalizers")
        and not metadata.get("deletionGracePeriodSeconds")
        and not definition.strategy.holds(obj)
    )
