"""Records and listings as JSON bytes. An object is serialised once per revision and served version; lists and
watch events are put together from those bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import orjson

from slipway.cluster.registry.definition import Definition
from slipway.cluster.registry.reading import Listing
from slipway.cluster.registry.watching import INITIAL_EVENTS_END, WatchEvent
from slipway.cluster.store import Record
from slipway.cluster.store.encodings import keep as keep_encoding

Object = dict[str, Any]


# What is longer goes into a watch's stream as the bytes that all watchers share, in a chunk of its own.
SHARED = 16 * 1024


def item_tail(definition: Definition, record: Record, *, keep: bool = True) -> bytes:
    """The object without kind and apiVersion, as items of typed lists are, but for its opening brace.

    Without `keep` it is not kept for the next reader, which may never come: most objects are written by one
    client and looked at by nobody else.
    """
    key = definition.resource.api_version
    found = record.encoded.get(key)
    if found is None:
        value = definition.from_storage(record.value)
        bare = {name: part for name, part in value.items() if name not in {"kind", "apiVersion"}}
        found = orjson.dumps(bare)[1:]
        if keep:
            keep_encoding(record.encoded, key, found)
    return found


def _type_meta(definition: Definition) -> bytes:
    resource = definition.resource
    return b'{"kind":"%s","apiVersion":"%s"' % (resource.kind.encode(), resource.api_version.encode())


def object_bytes(definition: Definition, record: Record, *, keep: bool = True) -> bytes:
    """The whole object; `keep` as in `item_tail`."""
    return _type_meta(definition) + b"," + item_tail(definition, record, keep=keep)


def list_metadata(listing: Listing) -> Object:
    metadata: Object = {"resourceVersion": str(listing.revision)}
    if listing.continue_token:
        metadata["continue"] = listing.continue_token
        if listing.remaining is not None:
            metadata["remainingItemCount"] = listing.remaining
    return metadata


def list_bytes(definition: Definition, listing: Listing) -> bytes:
    resource = definition.resource
    tails = [item_tail(definition, record) for record in listing.records]
    start = _type_meta(definition) + b"," if resource.custom else b"{"
    return b'{"kind":"%s","apiVersion":"%s","metadata":%s,"items":[%s%s]}' % (
        (definition.custom.get("list_kind") or resource.list_kind).encode(),
        resource.api_version.encode(),
        # Lists of custom resources always say whether they go on.
        orjson.dumps(
            {"continue": "", **list_metadata(listing)} if resource.custom else list_metadata(listing)
        ),
        start if tails else b"",
        (b"," + start).join(tails),
    )


def bookmark(definition: Definition, event: WatchEvent) -> Object:
    """The object of a BOOKMARK event: nothing but its kind and the revision."""
    metadata: Object = {"resourceVersion": str(event.revision)}
    if event.initial_end:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
    return {
        "kind": definition.resource.kind,
        "apiVersion": definition.resource.api_version,
        "metadata": metadata,
    }


def event_line(definition: Definition, event: str, record: Record) -> bytes:
    """A line of a watch stream."""
    return b'{"type":"%s","object":%s}\n' % (event.encode(), object_bytes(definition, record))


async def event_lines(
    definition: Definition, events: AsyncIterator[WatchEvent]
) -> AsyncGenerator[bytes, None]:
    """The lines of a watch stream; a long one comes in parts, of which the longest is shared by all watchers."""
    async for event in events:
        if event.record is None:
            obj = event.error if event.error is not None else bookmark(definition, event)
            yield orjson.dumps({"type": event.kind, "object": obj}) + b"\n"
        elif len(tail := item_tail(definition, event.record)) > SHARED:
            yield b'{"type":"%s","object":%s,' % (event.kind.encode(), _type_meta(definition))
            yield tail
            yield b"}\n"
        else:
            yield event_line(definition, event.kind, event.record)
