"""managedFields read and written: which manager owns which fields, in which version, since when.

`Managers` is the list in an object's metadata, decoded. A manager is identified by name, operation and
sub-resource, and an updater also by its API version, so that one that applies always finds its last entry.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Literal

from slipway.cluster.clock import parse_timestamp
from slipway.cluster.patching.fields import FieldSet

Operation = Literal["Apply", "Update"]
MAXIMUM_UPDATERS = 10


@dataclass(frozen=True, slots=True)
class Identity:
    """Who owns. `api_version` is empty for one that applies."""

    manager: str
    operation: Operation
    api_version: str
    subresource: str

    @property
    def sort_key(self) -> str:
        """How upstream writes an identity, which its order of conflicts and of old updaters follows."""
        written = {"manager": self.manager, "operation": self.operation}
        if self.api_version:
            written["apiVersion"] = self.api_version
        if self.subresource:
            written["subresource"] = self.subresource
        return json.dumps(written, separators=(",", ":"), ensure_ascii=False)

    @property
    def shown(self) -> str:
        text = json.dumps(self.manager, ensure_ascii=False)
        if self.subresource:
            text += f" with subresource {json.dumps(self.subresource)}"
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


def identity(manager: str, operation: Operation, api_version: str, subresource: str) -> Identity:
    version = "" if operation == "Apply" else api_version
    return Identity(manager or "unknown", operation, version, subresource)


@dataclass(frozen=True, slots=True)
class Owned:
    """The fields of one manager, in one API version."""

    fields: FieldSet
    api_version: str
    time: str | None = None

    def with_fields(self, fields: FieldSet) -> Owned:
        return replace(self, fields=fields)


Managers = dict[Identity, Owned]


def decode_managers(entries: Any) -> Managers:
    """ValueError says which entry is wrong and how."""
    managers: Managers = {}
    for index, entry in enumerate(entries or ()):
        if not isinstance(entry, dict):
            raise ValueError(f"managed fields entry {index} must be an object")
        operation = entry.get("operation")
        if operation not in ("Apply", "Update"):
            raise ValueError("operation must be `Apply` or `Update`")
        api_version = entry.get("apiVersion") or ""
        if not api_version:
            raise ValueError("apiVersion must not be empty")
        fields_type = entry.get("fieldsType") or ""
        if not fields_type:
            raise ValueError(f"missing fieldsType in managed fields entry {index}")
        if fields_type != "FieldsV1":
            raise ValueError(f"invalid fieldsType {json.dumps(fields_type)} in managed fields entry {index}")
        who = Identity(
            entry.get("manager") or "",
            operation,
            "" if operation == "Apply" else api_version,
            entry.get("subresource") or "",
        )
        fields = FieldSet.from_json(entry.get("fieldsV1"))
        managers[who] = Owned(fields, api_version, entry.get("time"))
    return managers


def encode_managers(managers: Managers) -> list[dict[str, Any]]:
    """Entries in the order in which they are shown: appliers first, then by time, name, version."""
    entries = [_entry(who, owned) for who, owned in managers.items()]
    return sorted(
        entries,
        key=lambda entry: (
            entry["operation"],
            _seconds(entry.get("time")),
            entry.get("manager", ""),
            entry["apiVersion"],
            entry.get("subresource", ""),
        ),
    )


def _entry(who: Identity, owned: Owned) -> dict[str, Any]:
    entry: dict[str, Any] = {"manager": who.manager} if who.manager else {}
    entry |= {"operation": who.operation, "apiVersion": owned.api_version}
    if owned.time:
        entry["time"] = owned.time
    entry |= {"fieldsType": "FieldsV1", "fieldsV1": owned.fields.to_json()}
    if who.subresource:
        entry["subresource"] = who.subresource
    return entry


def _seconds(time: str | None) -> float:
    return parse_timestamp(time) if time else 0


def cap_updaters(managers: Managers) -> None:
    """Keep at most ten updaters: the oldest of one version are joined as `ancient-changes`."""
    updaters = [who for who in managers if who.operation == "Update"]
    excess = len(updaters) - MAXIMUM_UPDATERS
    updaters.sort(key=lambda who: (_seconds(managers[who].time), who.sort_key))
    first_of_version: dict[str, Identity] = {}
    for who in updaters:
        if excess <= 0:
            return
        owned = managers[who]
        bucket = identity("ancient-changes", "Update", owned.api_version, "")
        first = first_of_version.setdefault(owned.api_version, who)
        if first == who:
            continue
        if bucket not in managers:
            managers[bucket] = managers.pop(first)
        if who != bucket:
            del managers[who]
        managers[bucket] = replace(owned, fields=owned.fields | managers[bucket].fields)
        excess -= 1
