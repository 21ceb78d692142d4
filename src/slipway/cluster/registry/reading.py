"""GET and LIST: records of the store, chosen by name, selectors, revision and page."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import Any

from slipway.cluster.registry.call import Call
from slipway.cluster.registry.definition import Definition
from slipway.cluster.registry.registry import Registry
from slipway.cluster.registry.selectors import Selection, select
from slipway.cluster.schema.json_bodies import BadJson, parse_json
from slipway.cluster.status import FieldError, StatusError, bad_request, expired, invalid, not_found
from slipway.cluster.store import Compacted, Record, Store

Object = dict[str, Any]
_LONGEST_REVISION = 20  # digits, beyond which Python may refuse to count them


@dataclass(frozen=True, slots=True)
class Listing:
    """A page: records in key order, the revision they are of, and how to go on."""

    records: list[Record]
    revision: int
    continue_token: str = ""
    remaining: int | None = None


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


def parse_revision(text: str) -> int:
    """A resourceVersion as a number; 500 for anything else, as the API server has it."""
    why = ""
    if not text.isascii() or not text.isdigit():
        why = "invalid syntax"
    elif len(text) > _LONGEST_REVISION or int(text) >= 2**64:
        why = "value out of range"
    if why:
        wrong = f'"{text}": strconv.ParseUint: parsing "{text}": {why}'
        raise StatusError(500, "", f"resourceVersion: Invalid value: {wrong}")
    return int(text)


def _check_revision(store: Store, call: Call) -> int:
    """The revision asked for, 0 for any; 504 when it has not happened yet."""
    if not call.options.resource_version:
        return 0
    wanted = parse_revision(call.options.resource_version)
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


def check_list_options(call: Call) -> None:
    """422 for options of LIST or WATCH that do not go together."""
    errors = _watch_option_errors(call) if call.verb == "watch" else _list_option_errors(call)
    if errors:
        raise invalid("ListOptions", "meta.k8s.io", "", errors)


def _watch_option_errors(call: Call) -> list[FieldError]:
    options, errors = call.options, list[FieldError]()
    match, initial = options.resource_version_match, options.send_initial_events
    if initial is not None and match != "NotOlderThan":
        why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        errors.append(_forbid("resourceVersionMatch", why))
    elif match and initial is None:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        errors.append(_forbid("resourceVersionMatch", why))
    return errors


def _list_option_errors(call: Call) -> list[FieldError]:
    options, errors = call.options, list[FieldError]()
    match, version = options.resource_version_match, options.resource_version
    if options.send_initial_events is not None:
        errors.append(_forbid("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if match and not version:
        why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        errors.append(_forbid("resourceVersionMatch", why))
    if match and options.continue_token:
        why = "resourceVersionMatch is forbidden when continue is provided"
        errors.append(_forbid("resourceVersionMatch", why))
    if match and match not in {"Exact", "NotOlderThan"}:
        allowed = 'supported values: "Exact", "NotOlderThan", ""'
        errors.append(FieldError("FieldValueNotSupported", "resourceVersionMatch", match, allowed))
    if match == "Exact" and version == "0":
        why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        errors.append(_forbid("resourceVersionMatch", why))
    return errors


def _forbid(field: str, detail: str) -> FieldError:
    return FieldError("FieldValueForbidden", field, detail=detail)


_CONTINUE_VERSION = "meta.k8s.io/v1"


def _encode_continue(revision: int, last_key: str) -> str:
    token = json.dumps(
        {"v": _CONTINUE_VERSION, "rv": revision, "start": last_key + "\0"}, separators=(",", ":")
    )
    return base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")


def _decode_continue(token: str) -> tuple[int, str]:
    def wrong(why: str) -> StatusError:
        return bad_request(f"invalid continue token: continue key is not valid: {why}")

    if not re.fullmatch(r"[A-Za-z0-9_-]*", token) or len(token) % 4 == 1:
        raise wrong(f"illegal base64 data at input byte {_illegal(token)}")
    body = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    try:
        data = parse_json(body)
    except BadJson as error:
        raise wrong(str(error)) from None
    version = data.get("v", "") if isinstance(data, dict) else ""
    if not isinstance(data, dict) or version != _CONTINUE_VERSION:
        raise wrong(f"server does not recognize this encoded version {version}")
    revision, start = data.get("rv"), data.get("start")
    if not isinstance(revision, int) or revision == 0 or revision >= 2**63:
        raise wrong(f"incorrect encoded start resourceVersion (version {version})")
    if not isinstance(start, str) or not start:
        raise wrong(f"encoded start key empty (version {version})")
    return revision, start


def _illegal(token: str) -> int:
    """Where a token is no base64 any more."""
    found = re.search(r"[^A-Za-z0-9_-]", token)
    return found.start() if found else len(token) - 1


async def list_page(registry: Registry, definition: Definition, call: Call) -> Listing:
    """Records that the selectors choose. Pages are of one revision: a later page sees what the first saw."""
    check_list_options(call)
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
