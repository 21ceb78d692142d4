"""Answers in the form that the client asked for: whole objects from cached bytes, tables, bare metadata; as
JSON, indented JSON or YAML."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import orjson

from slipway.cluster.clock import Clock
from slipway.cluster.exchange import PushedBody, Request, Response, Sink
from slipway.cluster.registry.definition import Definition
from slipway.cluster.registry.reading import Listing
from slipway.cluster.registry.watching import WatchEvent
from slipway.cluster.server import api_encoding
from slipway.cluster.server.negotiation import Representation, negotiate
from slipway.cluster.server.partial_metadata import partial, partial_list
from slipway.cluster.status import StatusError, not_acceptable
from slipway.cluster.store import Record

if TYPE_CHECKING:
    from slipway.cluster.server.tables import TableMaker

Object = dict[str, Any]


def encode(value: Any, form: Representation) -> bytes:
    """A document as bytes."""
    if form.yaml:
        from slipway.cluster.server.yaml_bodies import yaml_bytes

        return yaml_bytes(value)
    return orjson.dumps(value, option=orjson.OPT_INDENT_2) if form.pretty else orjson.dumps(value) + b"\n"


async def answered(request: Request, kind: str, answer: Callable[[], Awaitable[Object]]) -> Response:
    """The answer to a question, which is an object that is not kept and has no table."""
    headers = request.headers
    form = negotiate(
        headers.get("accept", ""), request.query, headers.get("user-agent", ""), verb="create", tables=False
    )
    if form.form == "partial-list":
        raise not_a(kind, "PartialObjectMetadataList", "is not a list")
    value = await answer()
    body = encode(partial(value, form.version) if form.form == "partial" else value, form)
    return Response(201, {"content-type": form.media_type}, body)


def not_a(kind: str, wanted: str, why: str) -> StatusError:
    return not_acceptable(f"you requested {wanted}, but the requested object {why} ({kind})")


class Presentation:
    """One request's way of being answered. Made before anything is done, so that what cannot be answered in
    the form asked for (406) changes nothing."""

    def __init__(self, request: Request, definition: Definition, verb: str, clock: Clock) -> None:
        resource = definition.resource
        self._definition = definition
        self._clock = clock
        self._verb = verb
        self._by_reference = request.by_reference
        headers = request.headers
        self.form = negotiate(
            headers.get("accept", ""),
            request.query,
            headers.get("user-agent", ""),
            custom=resource.custom,
            verb=verb,
        )
        self._tables: TableMaker | None = None
        if self.form.form == "table":
            from slipway.cluster.server.tables import TableMaker, included  # a cluster starts without tables

            columns = definition.custom.get("columns", []) if resource.custom else None
            self._tables = TableMaker(resource, columns, self.form.version, included(request.query))

    def _response(self, body: bytes, status: int = 200) -> Response:
        return Response(status, {"content-type": self.form.media_type}, body)

    def _value(self, record: Record) -> Object:
        resource = self._definition.resource
        value = self._definition.from_storage(record.value)
        return {**value, "kind": resource.kind, "apiVersion": resource.api_version}

    def object(self, record: Record, status: int = 200) -> Response:
        if self.form.plain:
            # The answer to a write is for its writer alone; watchers, if there are any, keep what they need.
            body = api_encoding.object_bytes(self._definition, record, keep=self._verb == "get")
            return self._response(body + b"\n", status)
        return self._response(encode(self._object(record), self.form), status)

    def _object(self, record: Record) -> Object:
        value = self._value(record)
        if self._tables is not None:
            return self._tables.single(value, self._clock.now())
        if self.form.form == "partial":
            return partial(value, self.form.version)
        if self.form.form == "partial-list":
            raise not_a(self._definition.resource.kind, "PartialObjectMetadataList", "is not a list")
        return value

    def listing(self, listing: Listing) -> Response:
        if self._by_reference:
            items = [self._definition.from_storage(record.value) for record in listing.records]
            return Response(objects={"metadata": api_encoding.list_metadata(listing), "items": items})
        if self.form.plain:
            return self._response(api_encoding.list_bytes(self._definition, listing) + b"\n")
        if self.form.form == "object":
            whole = orjson.loads(api_encoding.list_bytes(self._definition, listing))
            return self._response(encode(whole, self.form))
        if self.form.form == "partial":
            raise not_a(self._definition.resource.kind, "PartialObjectMetadata", "is a list")
        metadata = api_encoding.list_metadata(listing)
        values = [self._value(record) for record in listing.records]
        if self._tables is not None:
            return self._response(encode(self._tables.table(values, metadata, self._clock.now()), self.form))
        return self._response(encode(partial_list(values, metadata, self.form.version), self.form))

    @property
    def lines(self) -> bool:
        """Whether a watch shows whole objects, in lines that are the same for all who watch them."""
        return self.form.form == "object" and not self._by_reference

    def events(
        self, events: AsyncIterator[WatchEvent], attach: Callable[[Sink], None] | None = None
    ) -> Response:
        """A watch's stream; in tables only the first event names the columns. `attach` for a watch in `lines` that
        may push them."""
        if self._by_reference:
            return Response(objects=self._event_objects(events))
        headers = {"content-type": self.form.media_type}
        if not self.lines:
            return Response(200, headers, self._event_lines(events))
        lines = api_encoding.event_lines(self._definition, events)
        return Response(200, headers, lines if attach is None else PushedBody(lines, attach))

    async def _event_objects(self, events: AsyncIterator[WatchEvent]) -> AsyncIterator[tuple[str, Object]]:
        async for event in events:
            if event.record is not None:
                yield event.kind, self._definition.from_storage(event.record.value)
            else:
                yield event.kind, event.error or api_encoding.bookmark(self._definition, event)

    async def _event_lines(self, events: AsyncIterator[WatchEvent]) -> AsyncIterator[bytes]:
        headers = True
        async for event in events:
            if event.error is not None:
                shown = event.error
            else:
                value = (
                    self._value(event.record)
                    if event.record is not None
                    else api_encoding.bookmark(self._definition, event)
                )
                if self._tables is not None:
                    shown = self._tables.single(value, self._clock.now(), headers=headers)
                    headers = False
                else:
                    shown = partial(value, self.form.version)
            yield orjson.dumps({"type": event.kind, "object": shown}) + b"\n"
