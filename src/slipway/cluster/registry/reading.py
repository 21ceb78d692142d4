"""GET, LIST and WATCH: records of the store, chosen by name, selectors, revision and page."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from slipway.cluster.registry.call import Call
from slipway.cluster.registry.conversion import Conversions
from slipway.cluster.registry.definition import Definition
from slipway.cluster.registry.registry import Registry
from slipway.cluster.registry.selectors import Selection, select
from slipway.cluster.status import FieldError, StatusError, bad_request, expired, invalid, not_found
from slipway.cluster.store import Change, Compacted, Record, Route, Store

Object = dict[str, Any]
BOOKMARK_INTERVAL = 60.0
INITIAL_EVENTS_END = "k8s.io/initial-events-end"


@dataclass(frozen=True, slots=True)
class Listing:
    """A page: records in key order, the revision they are of, and how to go on."""

    records: list[Record]
    revision: int
    continue_token: str = ""
    remaining: int | None = None


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event of a watch. A BOOKMARK has no record; an ERROR carries its Status."""

    kind: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    record: Record | None = None
    revision: int = 0
    initial_end: bool = False
    error: Object | None = None


def get(store: Store, definition: Definition, call: Call) -> Record:
    _check_revision(store, call)
    record = store.get(definition.bucket, definition.key(call.namespace, call.name))
    if record is None:
        raise missing(call)
    return record


def missing(call: Call) -> StatusError:
    return not_found(call.resource.plural, call.resource.group, call.name)


def selection_of(definition: Definition, call: Call) -> Selection:
    options = call.options
    return select(
        options.label_selector, options.field_selector, definition.selectable, definition.unknown_selector
    )


def _parse_revision(text: str) -> int:
    try:
        number = int(text) if text.isascii() and text.isdigit() else -1
    except ValueError:
        number = -1
    if number < 0:
        raise StatusError(
            500,
            "",
            f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax',
        )
    return number


def _check_revision(store: Store, call: Call) -> int:
    """The revision asked for, 0 for any; 504 when it has not happened yet."""
    if not call.options.resource_version:
        return 0
    wanted = _parse_revision(call.options.resource_version)
    if wanted > store.revision:
        raise StatusError(
            504,
            "Timeout",
            f"Timeout: Too large resource version: {wanted}, current: {store.revision}",
            {
                "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                "retryAfterSeconds": 1,
            },
        )
    return wanted


def _check_list_revision(store: Store, call: Call) -> int:
    """As `_check_revision`; only a LIST calls what is no revision a bad request."""
    try:
        return _check_revision(store, call)
    except StatusError as error:
        if error.code == 500:
            raise bad_request(f"invalid resource version: {error.message}") from None
        raise


def _check_list_options(call: Call) -> None:
    options, errors = call.options, []
    match, version = options.resource_version_match, options.resource_version
    forbidden = _forbid
    if call.verb == "watch":
        if options.send_initial_events is not None and match != "NotOlderThan":
            errors.append(
                forbidden(
                    "resourceVersionMatch",
                    "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
                )
            )
        elif match and options.send_initial_events is None:
            errors.append(
                forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                )
            )
        if options.send_initial_events and not options.allow_watch_bookmarks:
            errors.append(
                forbidden(
                    "allowWatchBookmarks", "sendInitialEvents requires setting allowWatchBookmarks to true"
                )
            )
    else:
        if options.send_initial_events is not None:
            errors.append(forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
        if match and not version:
            errors.append(
                forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                )
            )
        if match and options.continue_token:
            errors.append(
                forbidden(
                    "resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"
                )
            )
        if match and match not in {"Exact", "NotOlderThan"}:
            errors.append(
                FieldError(
                    "FieldValueNotSupported",
                    "resourceVersionMatch",
                    match,
                    'supported values: "Exact", "NotOlderThan", ""',
                )
            )
        if match == "Exact" and version == "0":
            errors.append(
                forbidden(
                    "resourceVersionMatch",
                    'resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
                )
            )
    if errors:
        raise invalid("ListOptions", "meta.k8s.io", "", errors)


def _forbid(field: str, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", field, detail=detail)


def _encode_continue(revision: int, last_key: str) -> str:
    token = json.dumps(
        {"v": "meta.k8s.io/v1", "rv": revision, "start": last_key + "\0"}, separators=(",", ":")
    )
    return base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def _decode_continue(token: str) -> tuple[int, str]:
    try:
        data = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (binascii.Error, ValueError, UnicodeDecodeError):
        raise bad_request("continue key is not valid: illegal base64 data at input byte 0") from None
    if not isinstance(data, dict) or data.get("v") != "meta.k8s.io/v1":
        raise bad_request("continue key is not valid: server does not recognize this encoded version")
    revision, start = data.get("rv"), data.get("start")
    if not isinstance(revision, int) or revision == 0:
        raise bad_request("continue key is not valid: incorrect encoded start resourceVersion")
    if not isinstance(start, str) or not start:
        raise bad_request("continue key is not valid: encoded start key empty")
    return revision, start


async def list_page(registry: Registry, definition: Definition, call: Call) -> Listing:
    """Records that the selectors choose. Pages are of one revision: a later page sees what the first saw."""
    _check_list_options(call)
    store, options = registry.store, call.options
    selection = selection_of(definition, call)
    wanted = _check_list_revision(store, call)
    at: int | None = None
    after = ""
    if options.continue_token:
        if options.resource_version and options.resource_version != "0":
            raise bad_request("specifying resource version is not allowed when using continue")
        revision, start = _decode_continue(options.continue_token)
        after = definition.prefix(call.namespace) + start.removesuffix("\0")
        # -1 goes on at the present: what an expired token offers.
        at = None if revision < 0 else revision
    elif options.resource_version_match == "Exact":
        at = wanted
    elif options.limit and wanted and not options.resource_version_match:
        at = wanted  # before resourceVersionMatch existed, a limited list at a revision was exact
    limit = options.limit if options.resource_version != "0" or options.continue_token else 0
    prefix = definition.prefix(call.namespace)
    try:
        if selection.everything:
            page = store.scan(definition.bucket, prefix, after=after, limit=limit, at=at)
            records, more = await registry.conversions.records(definition, page.records), page.remaining
        else:
            page = store.scan(definition.bucket, prefix, after=after, at=at)
            found = await registry.conversions.records(definition, page.records)
            records = [r for r in found if selection.matches(definition.from_storage(r.value))]
            more = max(0, len(records) - limit) if limit else 0
            if more:
                records = records[:limit]
    except Compacted:
        raise _expired_page(store, options.continue_token, prefix, after) from None
    if not more:
        return Listing(records, page.revision)
    token = _encode_continue(page.revision, records[-1].key.removeprefix(prefix))
    return Listing(records, page.revision, token, more if selection.everything else None)


def _expired_page(store: Store, token: str, prefix: str, after: str) -> StatusError:
    if not token:
        return expired("The resourceVersion for the provided list is too old.")
    again = _encode_continue(-1, after.removeprefix(prefix))
    return expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new"
        " list without the continue parameter, or use the continue token in this response to retrieve the"
        " remainder of the results. Continuing with the provided token results in an inconsistent list -"
        " objects that were created, modified, or deleted between the time the first chunk was returned and"
        " now may show up in the list.",
        again,
    )


async def watch(
    registry: Registry, definition: Definition, call: Call, timeout: float
) -> AsyncIterator[WatchEvent]:
    """Events from the revision asked for on, until `timeout` seconds have passed.

    An object that leaves the selection is DELETED with the state in which it left; one that enters is ADDED.
    """
    _check_list_options(call)
    selection = selection_of(definition, call)
    since = _parse_revision(call.options.resource_version) if call.options.resource_version else 0
    return _events(registry, definition, call, timeout, selection, since)


async def _events(
    registry: Registry,
    definition: Definition,
    call: Call,
    timeout: float,
    selection: Selection,
    since: int,
) -> AsyncIterator[WatchEvent]:
    options, prefix = call.options, definition.prefix(call.namespace)
    store, clock, conversions = registry.store, registry.clock, registry.conversions
    end = clock.now() + timeout
    initial = options.send_initial_events or (options.send_initial_events is None and since == 0)
    if initial or since == 0:
        page = store.scan(definition.bucket, prefix)
        since = page.revision
        if initial:
            for record in await conversions.records(definition, page.records):
                if selection.everything or selection.matches(definition.from_storage(record.value)):
                    yield WatchEvent("ADDED", record)
        if options.send_initial_events:
            yield WatchEvent("BOOKMARK", revision=since, initial_end=True)
    # The last bookmark comes shortly before the end, so that a client goes on from there.
    bookmark_at = min(clock.now() + BOOKMARK_INTERVAL, max(end - 2, clock.now() + timeout / 2))
    try:
        with closing(store.watch(definition.bucket, since, _route(definition, selection))) as cursor:
            while (wait := end - clock.now()) > 0:
                if options.allow_watch_bookmarks:
                    wait = min(wait, max(0.0, bookmark_at - clock.now()))
                for change in await cursor.next(wait):
                    if definition.webhook is not None:
                        change = await _converted(conversions, definition, change)
                    event = _event(definition, selection, prefix, change)
                    if event is not None:
                        yield event
                if options.allow_watch_bookmarks and clock.now() >= bookmark_at:
                    bookmark_at = clock.now() + BOOKMARK_INTERVAL
                    yield WatchEvent("BOOKMARK", revision=cursor.seen)
    except Compacted as error:
        yield WatchEvent("ERROR", error=_too_old(error).to_object())
    except StatusError as error:
        yield WatchEvent("ERROR", error=error.to_object())


async def _converted(conversions: Conversions, definition: Definition, change: Change) -> Change:
    """The change as the definition's version shows it."""
    previous = change.previous
    return dataclasses.replace(
        change,
        record=await conversions.record(definition, change.record),
        previous=previous and await conversions.record(definition, previous),
    )


def _route(definition: Definition, selection: Selection) -> Route | None:
    """Of the changes that concern a watch with a field selector, those that its first equality lets through."""
    found = next(((term, read) for term, read in selection.fields if term.equal), None)
    if found is None or definition.webhook is not None:  # a webhook cannot be asked where routes are taken
        return None
    term, read = found
    name = f"{definition.resource.api_version}:{term.path}"
    return Route(name, term.value, lambda value: read(definition.from_storage(value)))


def _event(definition: Definition, selection: Selection, prefix: str, change: Change) -> WatchEvent | None:
    if prefix and not change.record.key.startswith(prefix):
        return None
    if selection.everything:
        return WatchEvent(change.kind, change.record, change.revision)
    now = change.kind != "DELETED" and selection.matches(definition.from_storage(change.record.value))
    before = change.previous is not None and selection.matches(definition.from_storage(change.previous.value))
    if now:
        return WatchEvent("MODIFIED" if before else "ADDED", change.record, change.revision)
    if not before or change.previous is None:
        return None
    if change.kind == "DELETED":
        return WatchEvent("DELETED", change.record, change.revision)
    # It left the selection: the last matching state, at the revision of the change.
    value = dict(change.previous.value)
    value["metadata"] = {**value["metadata"], "resourceVersion": str(change.revision)}
    left = Record(change.record.key, value, change.record.created, change.revision)
    return WatchEvent("DELETED", left, change.revision)


def _too_old(error: Compacted) -> StatusError:
    return expired(f"too old resource version: {error.revision} ({error.oldest + 1})")
