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


async def delete(registry: Registry, call: Call) -> Written:
    """Delete one object; `Written.deleted` tells whether it is gone or lingers."""
    definition = registry.definitions.of(call.resource)
    check_options(call)
    key = definition.key(call.namespace, call.name)
    while True:
        record = registry.store.get(definition.bucket, key)
        if record is None:
            raise missing(call)
        old = registry.served(definition, record)
        _check_preconditions(call, old)
        definition.strategy.check_delete(registry, call, old)
        await registry.admission.mutate(call, None, old)
        await registry.admission.validate(call, None, old)
        try:
            return _delete(registry, call, definition, record, old)
        except Conflict:
            continue  # another writer changed it meanwhile: look again


def _check_preconditions(call: Call, old: Object) -> None:
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


def _finalizers(call: Call, metadata: Object) -> list[str]:
    """The finalizers after the propagation policy has had its say."""
    current = list(metadata.get("finalizers") or [])
    policy, orphan = call.options.propagation_policy, call.options.orphan_dependents
    if not policy and orphan is not None:
        policy = "Orphan" if orphan else "Background"
    if not policy:
        return current
    kept = [name for name in current if name not in {ORPHAN, FOREGROUND}]
    if policy == "Orphan":
        kept.append(ORPHAN)
    elif policy == "Foreground":
        kept.append(FOREGROUND)
    return kept if kept != current else current


def _delete(registry: Registry, call: Call, definition: Definition, record: Record, old: Object) -> Written:
    metadata = dict(old["metadata"])
    finalizers = _finalizers(call, metadata)
    grace = _grace(registry, call, definition, old)
    already = "deletionTimestamp" in metadata
    lingers = bool(finalizers) or grace > 0 or definition.strategy.holds(old)
    if not lingers:
        gone = definition.to_storage({**old, "metadata": metadata})
        if call.options.dry_run:
            return Written(record, deleted=True)
        (removed,) = registry.store.commit(
            Delete(definition.bucket, record.key, lambda r: stamped(gone, r), record.revision)
        )
        definition.strategy.after_delete(registry, removed.value)
        return Written(removed, deleted=True)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    if not already:
        metadata["deletionTimestamp"] = _after(registry, grace)
        metadata["deletionGracePeriodSeconds"] = grace
        if definition.row.generation or definition.resource.custom:
            metadata["generation"] = int(metadata.get("generation") or 0) + 1
    elif grace < int(metadata.get("deletionGracePeriodSeconds") or 0):
        _shorten(metadata, grace)
    obj = {**old, "metadata": metadata}
    if not already:
        definition.strategy.begin_delete(registry, call, obj)
    if obj == old:
        return Written(record)
    stored = definition.to_storage(obj)
    if call.options.dry_run:
        return Written(Record(record.key, stored, record.created, record.revision))
    (lingering,) = registry.store.commit(
        Put(definition.bucket, record.key, lambda r: stamped(stored, r), record.revision)
    )
    definition.strategy.after_update(registry, lingering.value, record.value)
    return Written(lingering)


def _grace(registry: Registry, call: Call, definition: Definition, old: Object) -> int:
    grace = definition.strategy.grace_period(registry, call, old)
    current = old["metadata"].get("deletionGracePeriodSeconds")
    if current is not None and grace > current:
        return int(current)  # a deletion under way is never lengthened
    return grace


def _after(registry: Registry, seconds: int) -> str:
    return format_timestamp(registry.clock.now() + seconds)


def _shorten(metadata: Object, grace: int) -> None:
    begun = parse_timestamp(metadata["deletionTimestamp"]) - int(metadata["deletionGracePeriodSeconds"])
    metadata["deletionTimestamp"] = format_timestamp(begun + grace)
    metadata["deletionGracePeriodSeconds"] = grace


async def delete_collection(registry: Registry, call: Call) -> list[Record]:
    """Delete what the selectors choose; the records as they were deleted or linger."""
    definition = registry.definitions.of(call.resource)
    check_options(call)
    page = list_page(registry.store, definition, call)
    records = []
    for record in page.records:
        metadata = record.value["metadata"]
        one = dataclasses.replace(
            call, verb="delete", name=metadata["name"], namespace=metadata.get("namespace", "")
        )
        try:
            records.append((await delete(registry, one)).record)
        except StatusError as error:
            if error.code != 404:
                raise
    return records
