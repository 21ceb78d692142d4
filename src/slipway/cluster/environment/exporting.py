"""A cluster's objects as documents that another cluster can be given, and the words of both ways.

Left out is what any cluster makes again by itself: what only the cluster's own programs have written, and what a
built-in controller made for an object that is exported. Which other objects and fields stay behind, and why, is
data (`data/export.yaml`). The status of custom objects goes along, since nobody else would know it; that of
built-in objects is found anew. `importing` reads what this writes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from slipway.cluster.client.client import Client
from slipway.cluster.client.discovery import Served, discover
from slipway.cluster.client.resources import CUSTOM_RESOURCE_DEFINITIONS, NAMESPACES, ApiResource

Object = dict[str, Any]
Conditions = Mapping[str, Collection[Any]]


@dataclass(frozen=True, slots=True)
class Row:
    """Some objects of one resource (of all when it is empty): those whose fields are as `where`, not as `unless`."""

    resource: str = ""
    why: str = ""
    where: Conditions | None = None
    unless: Conditions | None = None
    condition: Sequence[str] = ()  # of these status conditions one is True
    fields: Sequence[str] = ()

    def takes(self, resource: str, obj: Object) -> bool:
        if self.resource not in {"", resource}:
            return False
        if self.condition and not any(
            one.get("type") in self.condition and one.get("status") == "True"
            for one in (obj.get("status") or {}).get("conditions") or ()
        ):
            return False
        return _holds(self.where or {}, obj) and not (self.unless and _holds(self.unless, obj))


@dataclass(frozen=True, slots=True)
class Rules:
    """`data/export.yaml`."""

    managers: frozenset[str]
    left_out: tuple[Row, ...]
    trimmed: tuple[Row, ...]
    first: tuple[str, ...]
    last: tuple[str, ...]

    def rank(self, resource: str) -> int:
        if resource in self.first:
            return self.first.index(resource) - len(self.first)
        return self.last.index(resource) + 1 if resource in self.last else 0


@cache
def rules() -> Rules:
    text = (Path(__file__).parent / "data" / "export.yaml").read_text()
    found = yaml.safe_load(text)
    return Rules(
        frozenset(found["managers"]),
        tuple(Row(**row) for row in found["left_out"]),
        tuple(Row(**row) for row in found["trimmed"]),
        tuple(found["first"]),
        tuple(found["last"]),
    )


async def export(client: Client, namespaces: Collection[str] = ()) -> list[Object]:
    """The objects, in the order in which they are to be made; of some namespaces only when these are named."""
    custom = await _custom(client)
    found: list[tuple[tuple[int, str, str, str], Object]] = []
    for served in await discover(client):
        if not _wanted(served, namespaces):
            continue
        resource = served.resource
        for obj in (await client.list(resource))["items"]:
            space, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
            if namespaces and (name if resource.qualified == "namespaces" else space) not in namespaces:
                continue
            if _made_again(resource, obj, custom):
                continue
            place = (rules().rank(resource.qualified), resource.qualified, space, name)
            found.append((place, _trimmed(resource, obj, custom)))
    return [obj for _, obj in sorted(found, key=lambda pair: pair[0])]


def to_yaml(objects: Sequence[Object]) -> str:
    """One document for each object, its fields by name: two exports can be compared line by line."""
    return "".join(f"---\n{yaml.safe_dump(obj, sort_keys=True, allow_unicode=True)}" for obj in objects)


async def _custom(client: Client) -> frozenset[tuple[str, str]]:
    """Group and kind of every custom resource."""
    definitions = (await client.list(CUSTOM_RESOURCE_DEFINITIONS))["items"]
    return frozenset((one["spec"]["group"], one["spec"]["names"]["kind"]) for one in definitions)


def _wanted(served: Served, namespaces: Collection[str]) -> bool:
    if not served.preferred or not {"list", "create"} <= served.verbs:
        return False
    return not namespaces or served.resource.namespaced or served.resource == NAMESPACES


def _made_again(resource: ApiResource, obj: Object, custom: frozenset[tuple[str, str]]) -> bool:
    metadata = obj["metadata"]
    managers = {entry.get("manager") for entry in metadata.get("managedFields") or ()}
    if managers and managers <= rules().managers:
        return True
    if metadata.get("deletionTimestamp"):
        return True
    for owner in metadata.get("ownerReferences") or ():
        group = owner["apiVersion"].rpartition("/")[0]
        if owner.get("controller") and (group, owner["kind"]) not in custom:
            return True
    return any(row.takes(resource.qualified, obj) for row in rules().left_out)


def _trimmed(resource: ApiResource, obj: Object, custom: frozenset[tuple[str, str]]) -> Object:
    for row in rules().trimmed:
        if row.takes(resource.qualified, obj):
            for field in row.fields:
                _remove(obj, _keys(field))
    if (resource.group, resource.kind) not in custom:
        obj.pop("status", None)
    return resource.typed(obj)


def _holds(conditions: Conditions, obj: Object) -> bool:
    """Whether each field has one of its values; no value at all means that the field is absent."""
    for field, values in conditions.items():
        value: Any = obj
        for key in _keys(field):
            value = value.get(key) if isinstance(value, dict) else None
        if (value not in values) if values else (value is not None):
            return False
    return True


def _keys(pointer: str) -> list[str]:
    return [key.replace("~1", "/").replace("~0", "~") for key in pointer.split("/")[1:]]


def _remove(obj: Object, keys: list[str]) -> None:
    """Remove the field, and the objects around it that are empty then."""
    inner = obj.get(keys[0])
    if len(keys) == 1:
        obj.pop(keys[0], None)
    elif isinstance(inner, dict):
        _remove(inner, keys[1:])
        if not inner:
            del obj[keys[0]]
