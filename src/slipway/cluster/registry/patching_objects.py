"""PATCH: the stored object changed by a patch of any of the four kinds, then written like an update."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from slipway.cluster.patching.json_values import copied
from slipway.cluster.registry import ownership
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.creating import create_decoded
from slipway.cluster.registry.decoding_modes import decode_body, decode_patched
from slipway.cluster.registry.definition import Definition
from slipway.cluster.registry.object_metadata import check_named, check_place, check_type, meta
from slipway.cluster.registry.reading import missing
from slipway.cluster.registry.registry import Registry, Written
from slipway.cluster.registry.updating import ATTEMPTS, replace
from slipway.cluster.status import OBJECT_MODIFIED, conflict
from slipway.cluster.store import Conflict

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Patch:
    """What the body of a PATCH makes of an object, which it leaves as it is.

    `strict_errors` is what strict decoding says of the body, and `printed` how errors show it; where that is None they
    show the outcome.
    """

    apply: Callable[[Object], Object]
    strict_errors: Sequence[str] = ()
    printed: str | None = None


async def patch(registry: Registry, call: Call, change: Patch) -> Written:
    """Apply `change` to the stored object; again on a newer one when another writer was faster, unless the
    patch itself names a revision."""
    definition = registry.definitions.of(call.resource)
    key = definition.key(call.namespace, call.name)
    for _ in range(ATTEMPTS):
        record = registry.store.get(definition.bucket, key)
        if record is None:
            raise missing(call)
        old = await registry.served(definition, record)
        obj = patched(call, definition, change, old)
        named_revision = obj["metadata"].get("resourceVersion") != old["metadata"]["resourceVersion"]
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
    check_place(copy.deepcopy(config), resource.namespaced, call.namespace, call.name)
    meta(config).setdefault("name", call.name)
    key = definition.key(call.namespace, call.name)
    for _ in range(ATTEMPTS):
        record = registry.store.get(definition.bucket, key)
        live = None if record is None else await registry.served(definition, record)
        if live is None and call.subresource:
            raise missing(call)
        obj = copy.deepcopy(await ownership.apply(registry, definition, call, config, live))
        check_place(obj, resource.namespaced, call.namespace, call.name)
        obj, warnings = decode_body(definition, obj, call.options.field_validation, "applied")
        call.warnings += warnings
        if record is None:
            _check_creatable(call, obj)
            call.verb = "create"
            return await create_decoded(registry, call, definition, obj, applied=True)
        try:
            return await replace(registry, call, definition, record, obj, applied=True)
        except Conflict:
            continue
    raise conflict(call.resource.plural, call.resource.group, call.name, OBJECT_MODIFIED)


def _check_creatable(call: Call, obj: Object) -> None:
    """A configuration may name a revision that nothing has, which does not matter, but no uid."""
    obj["metadata"].pop("resourceVersion", None)
    uid = obj["metadata"].get("uid")
    if uid:
        why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        raise conflict(call.resource.plural, call.resource.group, call.name, why)


def patched(call: Call, definition: Definition, change: Patch, old: Object) -> Object:
    """What the patch makes of the object, decoded; 422 when that is none of its kind."""
    resource = call.resource
    obj, warnings = decode_patched(
        definition,
        change.apply(old),
        call.options.field_validation,
        "json" if change.printed is None else "unstructured",
        change.strict_errors,
        lambda: _shown(definition, change, old),
    )
    if change.printed is not None:
        obj["apiVersion"], obj["kind"] = resource.api_version, resource.kind
    check_type(obj, resource, resource.kind, resource.api_version)
    call.warnings += warnings
    check_named(obj, call.name)
    check_place(obj, resource.namespaced, call.namespace, call.name)
    return obj


def _shown(definition: Definition, change: Patch, old: Object) -> str:
    if change.printed is not None:
        return change.printed
    before = copied(old)
    if not definition.resource.custom:
        before, _ = definition.decode(before, "json")  # which puts members into Go's order
    after = _ordered(change.apply(before), before, custom=definition.resource.custom, top=True)
    text = json.dumps(after, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _ordered(obj: Any, old: Any, custom: bool, top: bool = False) -> Any:
    """Members in the order of upstream's text: sorted where the patch went, elsewhere as they were. Custom objects
    are sorted throughout."""
    if isinstance(obj, list) and custom:
        return [_ordered(item, None, custom) for item in obj]
    if not isinstance(obj, dict) or (obj == old and not top and not custom):
        return obj
    before = old if isinstance(old, dict) else {}
    return {name: _ordered(obj[name], before.get(name), custom) for name in sorted(obj)}
