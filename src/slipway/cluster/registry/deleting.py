"""DELETE, of one object and of a collection: preconditions, propagation, finalizers, grace."""

from __future__ import annotations

import dataclasses
from typing import Any

from slipway.cluster.clock import format_timestamp, parse_timestamp
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.definition import Definition
from slipway.cluster.registry.reading import list_page, missing
from slipway.cluster.registry.registry import Registry, Written, stamped
from slipway.cluster.status import FieldError, StatusError, invalid
from slipway.cluster.store import Conflict, Delete, Put, Record

Object = dict[str, Any]
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"


def check_options(call: Call) -> None:
    """422 for DeleteOptions that contradict themselves."""
    options, errors = call.options, []
    if options.propagation_policy not in {"", "Orphan", "Background", "Foreground"}:
        errors.append(
            FieldError(
                "FieldValueNotSupported",
                "propagationPolicy",
                options.propagation_policy,
                'supported values: "Foreground", "Background", "Orphan", "nil"',
            )
        )
    elif options.propagation_policy and options.orphan_dependents is not None:
        errors.append(
            FieldError(
                "FieldValueInvalid",
                "propagationPolicy",
                options.propagation_policy,
                "orphanDependents and deletionPropagation cannot be both set",
            )
        )
    if errors:
        raise invalid("DeleteOptions", "meta.k8s.io", "", errors)


def _warn(call: Call, definition: Definition) -> None:
    options = call.options
    if not options.propagation_policy and options.orphan_dependents is None:
        call.warnings += filter(None, [definition.row.warns_of_orphans])


async def delete(registry: Registry, call: Call) -> Written:
    """Delete one object; `Written.deleted` tells whether it is gone or lingers."""
    definition = registry.definitions.of(call.resource)
    check_options(call)
    _warn(call, definition)
    key = definition.key(call.namespace, call.name)
    while True:
        record = registry.store.get(definition.bucket, key)
        if record is None:
            raise missing(call)
        shown = await registry.conversions.record(definition, record)
        old = definition.from_storage(shown.value)
        check_preconditions(call, old)
        definition.strategy.check_delete(registry, call, old)
        await registry.admission.mutate(call, None, old)
        await registry.admission.validate(call, None, old)
        try:
            return await _delete(registry, call, definition, record, old)
        except Conflict:
            continue  # another writer changed it meanwhile: look again


def check_preconditions(call: Call, old: Object) -> None:
    options, metadata = call.options, old["metadata"]
    why = ""
    if options.precondition_uid and options.precondition_uid != metadata["uid"]:
        why = (
            f"the UID in the precondition ({options.precondition_uid}) does not match the UID in record"
            f" ({metadata['uid']}). The object might have been deleted and then recreated"
        )
    version = options.precondition_resource_version
    if version and version != metadata["resourceVersion"]:
        why = (
            f"the ResourceVersion in the precondition ({version}) does not match the ResourceVersion in record"
            f" ({metadata['resourceVersion']}). The object might have been modified"
        )
    if why:
        kind = call.resource.kind
        message = f'Operation cannot be fulfilled on {_qualified(call)} "{call.name}": {why}'
        details = {"name": call.name, "kind": kind}
        if call.resource.group:
            details["group"] = call.resource.group
        raise StatusError(409, "Conflict", message, details)


def _qualified(call: Call) -> str:
    resource = call.resource
    return f"{resource.kind}.{resource.group}" if resource.group else resource.kind


def _finalizers(call: Call, definition: Definition, metadata: Object) -> list[str]:
    """The finalizers after the propagation policy, asked for or the kind's own, has had its say."""
    current = list(metadata.get("finalizers") or [])
    policy, orphan = call.options.propagation_policy, call.options.orphan_dependents
    if not policy and orphan is not None:
        policy = "Orphan" if orphan else "Background"
    if not policy and {ORPHAN, FOREGROUND}.isdisjoint(current) and definition.row.orphans_dependents:
        policy = "Orphan"
    if not policy:
        return current
    kept = [name for name in current if name not in {ORPHAN, FOREGROUND}]
    if policy == "Orphan":
        kept.append(ORPHAN)
    elif policy == "Foreground":
        kept.append(FOREGROUND)
    return kept if set(kept) != set(current) else current


async def _delete(
    registry: Registry, call: Call, definition: Definition, record: Record, old: Object
) -> Written:
    """Mark the object as being deleted where it lingers or has a grace period, then remove it if nothing holds it."""
    if _under_way(call, old["metadata"]):
        return Written(record)
    metadata = dict(old["metadata"])
    begins = "deletionTimestamp" not in metadata
    grace = _grace(registry, call, definition, old, metadata)
    finalizers = _finalizers(call, definition, metadata)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    lingers = bool(finalizers) or definition.strategy.holds(old)
    if grace is None:
        if not lingers:
            return await _remove(registry, call, definition, record, {**old, "metadata": metadata})
        metadata.setdefault("deletionTimestamp", registry.clock.timestamp())
        metadata["deletionGracePeriodSeconds"] = 0
    if begins and (definition.row.generation or definition.resource.custom):
        metadata["generation"] = int(metadata.get("generation") or 0) + 1
    obj = {**old, "metadata": metadata}
    if begins:
        definition.strategy.begin_delete(registry, call, obj)
    marked = await _mark(registry, call, definition, record, obj, old)
    if lingers or grace:
        return Written(marked)
    return await _remove(registry, call, definition, marked, obj)


def _under_way(call: Call, metadata: Object) -> bool:
    """Whether the object is within its grace already, which is never made longer."""
    current = metadata.get("deletionGracePeriodSeconds")
    wanted = call.options.grace_period_seconds
    return bool("deletionTimestamp" in metadata and current and (wanted is None or wanted >= current))


def _grace(
    registry: Registry, call: Call, definition: Definition, old: Object, metadata: Object
) -> int | None:
    """The grace that this request gives, marked in the metadata; None where there is none to give any more."""
    now = registry.clock.now()
    if "deletionTimestamp" not in metadata:
        seconds = definition.strategy.grace_period(registry, call, old)
        end = now + (seconds or 0)
    else:
        current, wanted = metadata.get("deletionGracePeriodSeconds"), call.options.grace_period_seconds
        if not current or wanted is None:
            return None
        seconds = wanted if wanted >= 0 else 1
        end = parse_timestamp(metadata["deletionTimestamp"]) - current + seconds
        if end < now:
            end, seconds = now, min(seconds, 1)
    if seconds is not None:
        metadata["deletionTimestamp"] = format_timestamp(end)
        metadata["deletionGracePeriodSeconds"] = seconds
    return seconds


async def _mark(
    registry: Registry, call: Call, definition: Definition, record: Record, obj: Object, old: Object
) -> Record:
    if obj == old:
        return record
    stored = await registry.conversions.stored(definition, obj)
    if call.options.dry_run:
        return Record(record.key, stored, record.created, record.revision)
    (lingering,) = registry.store.commit(
        Put(definition.bucket, record.key, lambda r: stamped(stored, r), record.revision)
    )
    definition.strategy.after_update(registry, lingering.value, record.value)
    return lingering


async def _remove(
    registry: Registry, call: Call, definition: Definition, record: Record, obj: Object
) -> Written:
    gone = await registry.conversions.stored(definition, obj)
    if call.options.dry_run:
        return Written(record, deleted=True)
    (removed,) = registry.store.commit(
        Delete(definition.bucket, record.key, lambda r: stamped(gone, r), record.revision)
    )
    definition.strategy.after_delete(registry, removed.value)
    return Written(removed, deleted=True)


async def delete_collection(registry: Registry, call: Call) -> list[Record]:
    """Delete what the selectors choose; the records as they were before."""
    definition = registry.definitions.of(call.resource)
    check_options(call)
    _warn(call, definition)
    page = await list_page(registry, definition, call)
    records = []
    for record in page.records:
        metadata = record.value["metadata"]
        one = dataclasses.replace(
            call, verb="delete", name=metadata["name"], namespace=metadata.get("namespace", "")
        )
        try:
            await delete(registry, one)
            records.append(record)
        except StatusError as error:
            if error.code != 404:
                raise
    return records
