"""managedFields: who set which field, kept up to date on every write.

The rules live in `patching.apply`; here is when they are asked and with what.
"""

from __future__ import annotations

from typing import Any

from slipway.cluster.clock import Clock
from slipway.cluster.registry.call import Call
from slipway.cluster.registry.definition import Definition

Object = dict[str, Any]


def record_update(definition: Definition, call: Call, obj: Object, old: Object | None, clock: Clock) -> None:
    """Note in `obj` that the caller's manager set what differs from `old`."""


def without_stamps(obj: Object) -> Object:
    """The object without what changes on every write, for telling whether a write changes anything."""
    metadata = dict(obj.get("metadata") or {})
    metadata.pop("resourceVersion", None)
    managed = metadata.get("managedFields")
    if managed:
        metadata["managedFields"] = [{k: v for k, v in entry.items() if k != "time"} for entry in managed]
    return {**obj, "metadata": metadata}
