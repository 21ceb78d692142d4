"""POST: a new object, from the body to the store."""

from __future__ import annotations

from typing import Any

from slipway.cluster.patching.json_values import copied
from slipway.cluster.registry import ownership
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.decoding_modes import decoded
from slipway.cluster.registry.definition import Definition
from slipway.cluster.registry.object_metadata import (
    MAX_GENERATED_BASE,
    SERVER_FIELDS,
    check_place,
    drop_empty,
    meta,
)
from slipway.cluster.registry.registry import Registry, Written, stamped
from slipway.cluster.status import StatusError, already_exists, invalid
from slipway.cluster.store import Conflict, Put, Record

Object = dict[str, Any]
NAME_ATTEMPTS = 8


async def create(registry: Registry, call: Call, body: Object) -> Written:
    """Create `body`, which is taken over. 409 when the name is taken, 422 when it is invalid."""
    definition = registry.definitions.of(call.resource)
    return await create_decoded(registry, call, definition, decoded(definition, call, body))


async def create_decoded(
    registry: Registry, call: Call, definition: Definition, obj: Object, applied: bool = False
) -> Written:
    resource = call.resource
    check_place(obj, resource.namespaced, call.namespace, call.name)
    metadata = meta(obj)
    # It is upstream's storage that refuses this: a dry run does not reach it, and apply comes by another way.
    if _number(metadata.get("resourceVersion")) and not call.options.dry_run and not applied:
        raise StatusError(500, "", "resourceVersion should not be set on objects to be created")
    definition.default(obj)
    _prepare_metadata(registry, call, definition, obj)
    if not applied:
        await ownership.record_update(registry, definition, call, obj, None)
    admitted = await registry.admission.mutate(call, copied(obj), None)
    assert admitted is not None
    if admitted != obj:
        obj = admitted
        definition.default(obj)  # what admission changes is nobody's
    definition.strategy.prepare_create(registry, call, obj)
    drop_empty(obj["metadata"])
    _validate(registry, call, definition, obj)
    await registry.admission.validate(call, obj, None)
    return await _store(registry, call, definition, obj)


def _number(version: object) -> int:
    """A resourceVersion as a number; 0 for what is none, which a create takes no notice of."""
    text = str(version or "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _prepare_metadata(registry: Registry, call: Call, definition: Definition, obj: Object) -> None:
    metadata = meta(obj)
    for name in SERVER_FIELDS:
        # A kind that does not count generations keeps what it is given.
        if name != "generation" or definition.row.generation or definition.resource.custom:
            metadata.pop(name, None)
    metadata.pop("selfLink", None)
    if not metadata.get("name") and metadata.get("generateName"):
        metadata["name"] = _free_name(registry, definition, metadata)
    call.name = call.name or str(metadata.get("name") or "")
    metadata["uid"] = registry.new_uid()
    metadata["creationTimestamp"] = registry.clock.timestamp()
    if definition.row.generation or definition.resource.custom:
        metadata["generation"] = 1
    if definition.row.status is not None:
        # The row's status is in the words of the stored version.
        obj["status"] = definition.from_storage({"status": copied(definition.row.status)})["status"]
    elif definition.resource.custom and definition.has_status:
        obj.pop("status", None)


def _free_name(registry: Registry, definition: Definition, metadata: Object) -> str:
    """A generated name that nobody has; after some attempts one that may be taken."""
    base = str(metadata["generateName"])[:MAX_GENERATED_BASE]
    for _ in range(NAME_ATTEMPTS):
        name = registry.generate_name(base)
        if registry.store.get(definition.bucket, definition.key(metadata.get("namespace", ""), name)) is None:
            break
    return name


def _validate(registry: Registry, call: Call, definition: Definition, obj: Object) -> None:
    metadata = obj["metadata"]
    errors = definition.validate(obj, None, "")
    errors += definition.strategy.validate(registry, call, obj, None)
    if errors:
        resource = definition.resource
        raise invalid(resource.kind, definition.error_group, str(metadata.get("name") or ""), errors)
    call.warnings += definition.warnings(obj, None)


async def _store(registry: Registry, call: Call, definition: Definition, obj: Object) -> Written:
    metadata = obj["metadata"]
    key = definition.key(metadata.get("namespace", ""), metadata["name"])
    stored = await registry.conversions.stored(definition, obj)
    if call.options.dry_run:
        if registry.store.get(definition.bucket, key) is not None:
            raise _taken(registry, definition, key, metadata["name"])
        return Written(Record(key, stored, 0, 0), created=True)
    try:
        (record,) = registry.store.commit(
            Put(definition.bucket, key, lambda revision: stamped(stored, revision), expected=0)
        )
    except Conflict:
        raise _taken(registry, definition, key, metadata["name"]) from None
    definition.strategy.after_create(registry, record.value)
    return Written(record, created=True)


def _taken(registry: Registry, definition: Definition, key: str, name: str) -> StatusError:
    """The refusal of a name that an object has already, which may be on its way out."""
    error = already_exists(definition.resource.plural, definition.resource.group, name)
    record = registry.store.get(definition.bucket, key)
    if record is not None and record.value["metadata"].get("deletionTimestamp"):
        error.message = f"object is being deleted: {error.message}"
    return error
