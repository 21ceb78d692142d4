"""Objects from documents into a cluster: in the order of the file, owners before what they own.

Every document is looked at before anything is made. To what exists already the document is applied. References to
owners get the uids of this cluster; the status of a custom object is written where its resource keeps it apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import yaml

from slipway.cluster.client.client import Client, PatchType
from slipway.cluster.client.discovery import discover
from slipway.cluster.client.resources import CUSTOM_RESOURCE_DEFINITIONS, ApiResource
from slipway.cluster.status import StatusError

Object = dict[str, Any]
Key = tuple[str, str, str, str]  # group, kind, namespace, name
FIELD_MANAGER = "slipway-import"
ESTABLISHED_SECONDS = 10


class DocumentError(Exception):
    """A document is not a Kubernetes object; the text says which and why. Nothing has been changed."""


@dataclass(slots=True)
class Imported:
    """How many objects were made and updated; `failures` has a line for each that was refused."""

    created: int = 0
    updated: int = 0
    failures: list[str] = field(default_factory=list)


def read_documents(text: str, source: str) -> list[Object]:
    """The objects of a YAML text, those of Lists one by one. DocumentError names document and field."""
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise DocumentError(f"{source}: not YAML: {error}") from None
    found: list[Object] = []
    for number, document in enumerate(documents, 1):
        listed = isinstance(document, dict) and document.get("kind") == "List"
        for obj in (document.get("items") or []) if listed else [document]:
            _check(obj, f"{source}, document {number}")
            found.append(obj)
    return found


def _check(obj: Any, place: str) -> None:
    if not isinstance(obj, dict):
        raise DocumentError(f"{place}: is {type(obj).__name__}, not an object with apiVersion and kind")
    metadata = obj.get("metadata")
    for name, value in (
        ("apiVersion", obj.get("apiVersion")),
        ("kind", obj.get("kind")),
        ("metadata.name", metadata.get("name") if isinstance(metadata, dict) else None),
    ):
        if not isinstance(value, str) or not value:
            raise DocumentError(f"{place}: {name} is {value!r}; it must be a text that is not empty")


async def import_objects(client: Client, objects: Sequence[Object], namespace: str = "default") -> Imported:
    """Make them all; `namespace` is for those that need one and name none."""
    return await _Import(client, namespace).run(objects)


class _Import:
    def __init__(self, client: Client, namespace: str) -> None:
        self._client = client
        self._namespace = namespace
        self._resources: dict[tuple[str, str], ApiResource] = {}
        self._uids: dict[Key, str] = {}
        self._done = Imported()

    async def run(self, objects: Sequence[Object]) -> Imported:
        awaited = {_key(obj) for obj in objects}
        waiting = list(objects)
        while waiting:
            ready = [obj for obj in waiting if not _owners(obj) & awaited]
            # What owns each other in a circle is made all the same, without those owners.
            later = [obj for obj in waiting if _owners(obj) & awaited] if ready else []
            for obj in ready or waiting:
                await self._one(obj)
                awaited.discard(_key(obj))
            waiting = later
        return self._done

    async def _one(self, obj: Object) -> None:
        try:
            resource = await self._resource(obj)
            made = await self._put(resource, self._adapted(resource, obj))
            if obj.get("status") and await self._keeps_status(resource):
                await self._restore_status(resource, made, obj["status"])
            if resource == CUSTOM_RESOURCE_DEFINITIONS:
                await self._established(made)
        except StatusError as error:
            name = obj["metadata"]["name"]
            self._done.failures.append(f"{obj['kind']} {name}: {error.message}")

    async def _resource(self, obj: Object) -> ApiResource:
        wanted = (obj["apiVersion"], obj["kind"])
        if wanted not in self._resources:  # a definition may have come since
            served = [one.resource for one in await discover(self._client)]
            self._resources = {(one.api_version, one.kind): one for one in served}
        if wanted not in self._resources:
            raise StatusError(
                404,
                "NotFound",
                f"the cluster serves no {obj['kind']} of {obj['apiVersion']}: its CRD is missing",
            )
        return self._resources[wanted]

    def _adapted(self, resource: ApiResource, obj: Object) -> Object:
        metadata = dict(obj["metadata"])
        metadata.pop("resourceVersion", None)
        metadata.pop("uid", None)
        if resource.namespaced:
            metadata.setdefault("namespace", self._namespace)
        owners = []
        for owner in metadata.get("ownerReferences") or ():
            uid = self._uids.get(_owner_key(owner, metadata.get("namespace", "")))
            uid = uid or self._uids.get(_owner_key(owner, ""))
            if uid:
                owners.append({**owner, "uid": uid})
        # An owner that is not here would have the object collected at once.
        metadata["ownerReferences"] = owners
        return {**obj, "metadata": metadata}

    async def _put(self, resource: ApiResource, obj: Object) -> Object:
        try:
            made = await self._client.create(resource, obj)
            self._done.created += 1
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            made = await self._client.apply(resource, obj, field_manager=FIELD_MANAGER, force=True)
            self._done.updated += 1
        self._uids[_key(made)] = made["metadata"]["uid"]
        return made

    async def _keeps_status(self, resource: ApiResource) -> bool:
        """Whether it is a custom resource with a status sub-resource."""
        try:
            definition = await self._client.get(CUSTOM_RESOURCE_DEFINITIONS, resource.qualified)
        except StatusError as error:
            if error.code == 404:
                return False
            raise
        return any(
            version["name"] == resource.version and "status" in version.get("subresources", {})
            for version in definition["spec"]["versions"]
        )

    async def _restore_status(self, resource: ApiResource, made: Object, status: Any) -> None:
        metadata = made["metadata"]
        name, namespace = metadata["name"], metadata.get("namespace", "")
        change = {"status": status}
        await self._client.patch(resource, name, namespace, change, PatchType.MERGE, subresource="status")

    async def _established(self, definition: Object) -> None:
        """Return when the definition's objects can be made."""
        selector = f"metadata.name={definition['metadata']['name']}"
        events = self._client.watch(
            CUSTOM_RESOURCE_DEFINITIONS, field_selector=selector, timeout=ESTABLISHED_SECONDS
        )
        async with aclosing(events):
            async for event in events:
                conditions = event.object.get("status", {}).get("conditions") or ()
                if any(one["type"] == "Established" and one["status"] == "True" for one in conditions):
                    return


def _key(obj: Object) -> Key:
    metadata = obj["metadata"]
    group = obj["apiVersion"].rpartition("/")[0]
    return (group, obj["kind"], metadata.get("namespace", ""), metadata["name"])


def _owner_key(owner: Object, namespace: str) -> Key:
    return (owner["apiVersion"].rpartition("/")[0], owner["kind"], namespace, owner["name"])


def _owners(obj: Object) -> set[Key]:
    """Where its owners may be: in its namespace, or in none."""
    metadata = obj["metadata"]
    spaces = {metadata.get("namespace", ""), ""}
    return {_owner_key(owner, space) for owner in metadata.get("ownerReferences") or () for space in spaces}
