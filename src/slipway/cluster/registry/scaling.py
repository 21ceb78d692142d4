"""The `scale` sub-resource: autoscaling/v1 Scale of any kind that has replicas, built-in or custom."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from slipway.cluster.registry import ownership
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.decoding_modes import decode_body, decoded
from slipway.cluster.registry.definition import Definition
from slipway.cluster.registry.object_metadata import meta
from slipway.cluster.registry.patching_objects import Patch, patched
from slipway.cluster.registry.questions import kind_of
from slipway.cluster.registry.reading import missing
from slipway.cluster.registry.registry import Admission, Registry
from slipway.cluster.registry.updating import ATTEMPTS, replace
from slipway.cluster.status import (
    OBJECT_MODIFIED,
    FieldError,
    StatusError,
    bad_request,
    conflict,
    internal_error,
    invalid,
)
from slipway.cluster.store import Conflict, Record

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where a kind keeps its replicas; dotted, as in a CRD's `subresources.scale`."""

    spec: str = ".spec.replicas"
    status: str = ".status.replicas"
    selector: str = ""  # empty: the kind's own spec.selector


def paths_of(definition: Definition) -> ScalePaths:
    scale: Mapping[str, Any] | None = definition.custom.get("scale")
    if scale is None:
        return ScalePaths()
    return ScalePaths(
        scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath", "")
    )


def _dig(obj: Object, path: str) -> Any:
    value: Any = obj
    for part in path.strip(".").split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(part)
    return value


def _put(obj: Object, path: str, value: Any) -> None:
    *parents, last = path.strip(".").split(".")
    for part in parents:
        obj = obj.setdefault(part, {})
    obj[last] = value


def selector_text(selector: Object | None) -> str:
    """A selector object as the one-line form that clients pass back as labelSelector."""
    if not selector:
        return ""
    if "matchLabels" not in selector and "matchExpressions" not in selector:
        return ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or []:
        key, operator = expression["key"], expression["operator"]
        values = ",".join(sorted(expression.get("values") or []))
        match operator:
            case "In":
                parts.append(f"{key} in ({values})")
            case "NotIn":
                parts.append(f"{key} notin ({values})")
            case "Exists":
                parts.append(key)
            case "DoesNotExist":
                parts.append(f"!{key}")
    return ",".join(parts)


def scale_of(definition: Definition, obj: Object) -> Object:
    """The Scale of an object."""
    paths, metadata = paths_of(definition), obj["metadata"]
    if definition.resource.custom:
        selector = _dig(obj, paths.selector) if paths.selector else ""
    else:
        selector = selector_text((obj.get("spec") or {}).get("selector"))
    status: Object = {"replicas": _dig(obj, paths.status) or 0}
    if selector:
        status["selector"] = selector
    spec: Object = {}
    replicas = _dig(obj, paths.spec)
    if replicas:
        spec["replicas"] = replicas
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            name: metadata[name]
            for name in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
            if name in metadata
        },
        "spec": spec,
        "status": status,
    }


def _record(registry: Registry, call: Call, definition: Definition) -> Record:
    record = registry.store.get(definition.bucket, definition.key(call.namespace, call.name))
    if record is None:
        raise missing(call)
    return record


async def get_scale(registry: Registry, call: Call) -> Object:
    definition = registry.definitions.of(call.resource)
    obj = await registry.served(definition, _record(registry, call, definition))
    path = paths_of(definition).spec
    if definition.resource.custom and _dig(obj, path) is None:
        raise internal_error(f'the spec replicas field "{path}" does not exist')
    return scale_of(definition, obj)


def scale_definition(registry: Registry, call: Call) -> Definition:
    """Of the Scale that the call's resource speaks."""
    return registry.definitions.of(kind_of(call))


async def put_scale(registry: Registry, call: Call, body: Object) -> Object:
    """Replace the Scale, and with it the object's replicas."""
    definition = scale_definition(registry, call)
    scale = decoded(definition, call, body)
    meta(scale)
    return await _change_scale(registry, call, lambda _: scale)


async def patch_scale(registry: Registry, call: Call, change: Patch) -> Object:
    """Patch the Scale, and with it the object's replicas."""
    definition = scale_definition(registry, call)
    spoken = dataclasses.replace(call, resource=definition.resource, subresource="")
    return await _change_scale(registry, call, lambda current: patched(spoken, definition, change, current))


async def _change_scale(registry: Registry, call: Call, change: Callable[[Object], Object]) -> Object:
    """Change the Scale to what `change` makes of the present one, and with it the object's replicas."""
    definition = registry.definitions.of(call.resource)
    for _ in range(ATTEMPTS):
        record = _record(registry, call, definition)
        obj = copy.deepcopy(await registry.served(definition, record))
        before = scale_of(definition, obj)
        scale = change(copy.deepcopy(before))
        _check(call, scale, custom=definition.resource.custom)
        said = (scale.get("metadata") or {}).get("resourceVersion")
        if said and said != before["metadata"]["resourceVersion"]:
            raise _modified(call)
        _put(obj, paths_of(definition).spec, int((scale.get("spec") or {}).get("replicas") or 0))
        try:
            return await _write(registry, call, definition, record, obj)
        except Conflict:
            continue
    raise _modified(call)


async def apply_scale(registry: Registry, call: Call, config: Object) -> Object:
    """Server-side apply of a Scale: the caller owns the object's replicas, through the sub-resource, from then on."""
    definition, spoken = registry.definitions.of(call.resource), scale_definition(registry, call)
    ownership.check_config(registry.definitions, spoken, config)
    decode_body(spoken, config, "Ignore", "applied")
    for _ in range(ATTEMPTS):
        record = _record(registry, call, definition)
        live = await registry.served(definition, record)
        resource = call.resource
        wanted: Object = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {}}
        replicas = (config.get("spec") or {}).get("replicas")
        if replicas is not None:
            _put(wanted, paths_of(definition).spec, replicas)
        try:
            obj = await ownership.apply(registry, definition, call, wanted, live)
        except StatusError as error:
            raise _in_scale_words(error, resource.api_version) from None
        obj = copy.deepcopy(obj)
        _check(
            call, {**scale_of(definition, obj), "spec": {"replicas": replicas or 0}}, custom=resource.custom
        )
        try:
            return await _write(registry, call, definition, record, obj, applied=True)
        except Conflict:
            continue
    raise _modified(call)


def _in_scale_words(error: StatusError, api_version: str) -> StatusError:
    """Whoever set the replicas did so in a Scale, as far as this sub-resource can tell."""
    before, after = f"using {api_version}", "using autoscaling/v1"
    causes = [
        {**cause, "message": cause["message"].replace(before, after)}
        for cause in (error.details or {}).get("causes", ())
    ]
    details = {**(error.details or {}), "causes": causes}
    return StatusError(error.code, error.reason, error.message.replace(before, after), details)


async def _write(
    registry: Registry, call: Call, definition: Definition, record: Record, obj: Object, applied: bool = False
) -> Object:
    whole = dataclasses.replace(call, subresource="", audit={"owner_subresource": "scale"})
    admission = _ScaleAdmission(registry.admission, call, definition)
    written = await replace(registry, whole, definition, record, obj, applied=applied, admission=admission)
    return scale_of(definition, await registry.served(definition, written.record))


class _ScaleAdmission:
    """Shows the Scale to admission where the whole object changes: webhooks for `…/scale` see that, and no others."""

    def __init__(self, admission: Admission, call: Call, definition: Definition) -> None:
        self._admission = admission
        self._call = call
        self._definition = definition

    async def mutate(self, call: Call, obj: Object | None, old: Object | None) -> Object | None:
        if obj is None:
            return None
        scale = await self._admission.mutate(self._call, self._scale(obj), self._scale(old))
        replicas = ((scale or {}).get("spec") or {}).get("replicas") or 0
        _put(obj, paths_of(self._definition).spec, int(replicas))
        return obj

    async def validate(self, call: Call, obj: Object | None, old: Object | None) -> None:
        await self._admission.validate(self._call, self._scale(obj), self._scale(old))

    def _scale(self, obj: Object | None) -> Object | None:
        return None if obj is None else scale_of(self._definition, obj)


def _modified(call: Call) -> StatusError:
    return conflict(call.resource.plural, call.resource.group, call.name, OBJECT_MODIFIED)


def _check(call: Call, scale: Object, *, custom: bool) -> None:
    """`custom`: the number is checked with the custom resource, in its words."""
    name = scale["metadata"].get("name")
    if name and name != call.name:
        raise bad_request(f"the name of the object ({name}) does not match the name on the URL ({call.name})")
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if replicas < 0 and not custom:
        error = FieldError(
            "FieldValueInvalid", "spec.replicas", replicas, "must be greater than or equal to 0"
        )
        raise invalid("Scale", "autoscaling", call.name, [error])
