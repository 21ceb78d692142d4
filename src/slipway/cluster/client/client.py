"""The verbs of the Kubernetes API over any transport, with objects as plain dicts."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlencode

import orjson

from slipway.cluster.client.objects import Object, name_of, namespace_of
from slipway.cluster.client.resources import ApiResource
from slipway.cluster.client.transport import Transport
from slipway.cluster.clock import Clock
from slipway.cluster.exchange import Request, Response
from slipway.cluster.status import StatusError


class PatchType(StrEnum):
    """The content type that says how a patch is to be read."""

    JSON = "application/json-patch+json"
    MERGE = "application/merge-patch+json"
    STRATEGIC = "application/strategic-merge-patch+json"
    APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """`type` is ADDED, MODIFIED, DELETED or BOOKMARK."""

    type: str
    object: Object


class Client:
    """Talks to one API server as one caller. Every method raises StatusError for an answer of 400 or more."""

    def __init__(self, transport: Transport, *, user_agent: str, clock: Clock) -> None:
        self.clock = clock
        self.user_agent = user_agent
        self._transport = transport

    async def apply(
        self,
        resource: ApiResource,
        obj: Object,
        *,
        field_manager: str,
        force: bool = False,
        subresource: str = "",
    ) -> Object:
        """Server-side apply."""
        return await self.patch(
            resource,
            name_of(obj),
            namespace_of(obj),
            resource.typed(obj),
            PatchType.APPLY,
            field_manager=field_manager,
            force=force,
            subresource=subresource,
        )

    async def close(self) -> None:
        await self._transport.close()

    async def create(
        self,
        resource: ApiResource,
        obj: Object,
        *,
        namespace: str = "",
        name: str = "",
        subresource: str = "",
        dry_run: bool = False,
    ) -> Object:
        """POST to the collection, or with `name` and `subresource` to a sub-resource (binding, eviction, …)."""
        path = resource.path(namespace or namespace_of(obj), name, subresource)
        body = obj if subresource else resource.typed(obj)
        return await self._object("POST", path, {"dryRun": "All" if dry_run else ""}, body)

    async def delete(
        self,
        resource: ApiResource,
        name: str,
        namespace: str = "",
        *,
        propagation: str = "",
        grace_period: int | None = None,
        uid: str = "",
        resource_version: str = "",
    ) -> Object:
        """`propagation` is Background, Foreground or Orphan; `uid` and `resource_version` are preconditions."""
        options = _delete_options(propagation, grace_period, uid, resource_version)
        return await self._object("DELETE", resource.path(namespace, name), {}, options)

    async def delete_collection(
        self,
        resource: ApiResource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        propagation: str = "",
        grace_period: int | None = None,
    ) -> Object:
        query = {"labelSelector": label_selector, "fieldSelector": field_selector}
        options = _delete_options(propagation, grace_period, "", "")
        return await self._object("DELETE", resource.path(namespace), query, options)

    async def get(
        self,
        resource: ApiResource,
        name: str,
        namespace: str = "",
        *,
        subresource: str = "",
        resource_version: str = "",
    ) -> Object:
        path = resource.path(namespace, name, subresource)
        return await self._object("GET", path, {"resourceVersion": resource_version})

    async def list(
        self,
        resource: ApiResource,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = 0,
        continue_token: str = "",
        read_only: bool = False,
    ) -> Object:
        """The list object; its items have `apiVersion` and `kind` filled in.

        With `read_only` the caller promises to change nothing of it: within one process it is then shared with
        the server instead of being written out and read again.
        """
        query = {
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "resourceVersion": resource_version,
            "limit": str(limit) if limit else "",
            "continue": continue_token,
        }
        response = await self.raw("GET", resource.path(namespace), query=query, read_only=read_only)
        await _raise_for_status(response)
        found: Object = response.objects or orjson.loads(await _whole(response))
        found["items"] = [resource.typed(item) for item in found.get("items") or ()]
        return found

    async def patch(
        self,
        resource: ApiResource,
        name: str,
        namespace: str,
        body: Any,
        type: PatchType = PatchType.MERGE,
        *,
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
        dry_run: bool = False,
    ) -> Object:
        query = {
            "fieldManager": field_manager,
            "force": "true" if force else "",
            "dryRun": "All" if dry_run else "",
        }
        path = resource.path(namespace, name, subresource)
        return await self._object("PATCH", path, query, body, content_type=type.value)

    async def raw(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        read_only: bool = False,
    ) -> Response:
        """Any request at all; the answer as it came, whatever its status."""
        encoded = urlencode({field: value for field, value in (query or {}).items() if value})
        all_headers = {"accept": "application/json", "user-agent": self.user_agent, **(headers or {})}
        request = Request(method, path, encoded, all_headers, body, by_reference=read_only)
        return await self._transport.send(request)

    async def update(self, resource: ApiResource, obj: Object, *, subresource: str = "") -> Object:
        path = resource.path(namespace_of(obj), name_of(obj), subresource)
        return await self._object("PUT", path, {}, resource.typed(obj) if not subresource else obj)

    async def update_status(self, resource: ApiResource, obj: Object) -> Object:
        return await self.update(resource, resource.typed(obj), subresource="status")

    async def watch(
        self,
        resource: ApiResource,
        namespace: str = "",
        *,
        resource_version: str = "",
        label_selector: str = "",
        field_selector: str = "",
        timeout: int | None = None,
        bookmarks: bool = False,
        read_only: bool = False,
    ) -> AsyncGenerator[WatchEvent, None]:
        """Changes after `resource_version` until the server ends the watch; StatusError for an ERROR event.

        `read_only` as for `list`.
        """
        query = {
            "watch": "true",
            "resourceVersion": resource_version,
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
            "timeoutSeconds": "" if timeout is None else str(timeout),
            "allowWatchBookmarks": "true" if bookmarks else "",
        }
        response = await self.raw("GET", resource.path(namespace), query=query, read_only=read_only)
        await _raise_for_status(response)
        async with aclosing(_events(response)) as events:
            async for type, obj in events:
                if type == "ERROR":
                    raise StatusError.from_object(obj)
                yield WatchEvent(type, obj)

    async def _object(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Any = None,
        content_type: str = "application/json",
    ) -> Object:
        headers = {"content-type": content_type} if body is not None else {}
        data = orjson.dumps(body) if body is not None else b""
        response = await self.raw(method, path, query=query, headers=headers, body=data)
        await _raise_for_status(response)
        decoded: Object = orjson.loads(await _whole(response))
        return decoded


def _delete_options(
    propagation: str, grace_period: int | None, uid: str, resource_version: str
) -> Object | None:
    options: Object = {}
    if propagation:
        options["propagationPolicy"] = propagation
    if grace_period is not None:
        options["gracePeriodSeconds"] = grace_period
    preconditions = {}
    if uid:
        preconditions["uid"] = uid
    if resource_version:
        preconditions["resourceVersion"] = resource_version
    if preconditions:
        options["preconditions"] = preconditions
    return {"apiVersion": "v1", "kind": "DeleteOptions", **options} if options else None


async def _raise_for_status(response: Response) -> None:
    if response.status < 400:
        return
    body = await _whole(response)
    try:
        status = json.loads(body)
    except ValueError:
        status = None
    if not isinstance(status, dict) or status.get("kind") != "Status":
        raise StatusError(response.status, "", body.decode(errors="replace") or f"HTTP {response.status}")
    raise StatusError.from_object({**status, "code": status.get("code") or response.status})


async def _whole(response: Response) -> bytes:
    if isinstance(response.body, bytes):
        return response.body
    return b"".join([chunk async for chunk in response.body])


async def _events(response: Response) -> AsyncGenerator[tuple[str, Object], None]:
    """Type and object of each event of a watch."""
    if response.objects is not None:
        async with aclosing(response.objects) as events:
            async for event in events:
                yield event
        return
    async with aclosing(_lines(response)) as lines:
        async for line in lines:
            parsed = orjson.loads(line)
            yield parsed["type"], parsed["object"]


async def _lines(response: Response) -> AsyncGenerator[bytes, None]:
    """The lines of a streamed body; the stream is closed when the reader stops."""
    if isinstance(response.body, bytes):
        for line in response.body.splitlines():
            if line.strip():
                yield line
        return
    pending = b""
    chunks = response.body
    try:
        async for chunk in chunks:
            pending += chunk
            if b"\n" not in chunk:
                continue
            *lines, pending = pending.split(b"\n")
            for line in lines:
                if line.strip():
                    yield line
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
