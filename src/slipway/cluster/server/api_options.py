"""Query options of the API verbs, and DeleteOptions in a body, as `registry.call.Options`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from slipway.cluster.registry.call import Options
from slipway.cluster.schema.decoding import decode
from slipway.cluster.schema.go_scalars import NotDecodable
from slipway.cluster.status import FieldError, StatusError, bad_request, invalid

MAX_MANAGER_BYTES = 128
_UNITS = frozenset({"ns", "us", "µs", "μs", "ms", "s", "m", "h"})
_OPTIONS_KIND = {
    "create": "CreateOptions",
    "update": "UpdateOptions",
    "patch": "PatchOptions",
    "delete": "DeleteOptions",
    "deletecollection": "DeleteOptions",
}


def integer(text: str) -> int:
    """Of a query; StatusError 400 for what Go does not read as one."""
    if not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": value out of range')
    return int(text)


def boolean(text: str) -> bool:
    """Of a query: every text that is not one of these is true (runtime.Convert_Slice_string_To_bool)."""
    return text.lower() != "false" and text != "0"


def flag(values: Mapping[str, list[str]], name: str) -> bool:
    """Whether a parsed query asks for something, be it by the bare name."""
    found = values.get(name)
    return found is not None and boolean(found[0])


def check_timeout(query: str) -> None:
    """`timeout` of a request that is not a stream: 400 for what Go does not read as a duration."""
    text = parse_qs(query, keep_blank_values=True).get("timeout", [""])[0]
    why = _no_duration(text) if text else ""
    if why:
        raise bad_request(f"invalid timeout specified in the request URL - time: {why}")


def _no_duration(text: str) -> str:
    rest = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    if rest == "0":
        return ""
    if not rest:
        return f'invalid duration "{text}"'
    while rest:
        part = re.match(r"(?:\d+(?:\.\d*)?|\.\d+)([^.\d]*)", rest, re.ASCII)
        if part is None:
            return f'invalid duration "{text}"'
        if not part[1]:
            return f'missing unit in duration "{text}"'
        if part[1] not in _UNITS:
            return f'unknown unit "{part[1]}" in duration "{text}"'
        rest = rest[part.end() :]
    return ""


def parse_options(query: str, verb: str) -> Options:
    """Options of a request's query; StatusError 400 or 422 where a value is not allowed."""
    values = parse_qs(query, keep_blank_values=True)
    options = Options()
    for name, (value, *_) in values.items():
        match name:
            case "fieldManager":
                options.field_manager = value
            case "fieldValidation":
                options.field_validation = value
            case "force":
                options.force = boolean(value) if value else None
            case "resourceVersion":
                options.resource_version = value
            case "resourceVersionMatch":
                options.resource_version_match = value
            case "limit":
                options.limit = max(0, integer(value)) if value else 0
            case "continue":
                options.continue_token = value
            case "labelSelector":
                options.label_selector = value
            case "fieldSelector":
                options.field_selector = value
            case "timeoutSeconds":
                options.timeout_seconds = float(integer(value)) if value else None
            case "allowWatchBookmarks":
                options.allow_watch_bookmarks = boolean(value)
            case "sendInitialEvents":
                options.send_initial_events = boolean(value) if value else None
            case "gracePeriodSeconds":
                options.grace_period_seconds = integer(value) if value else None
            case "propagationPolicy":
                options.propagation_policy = value
            case "orphanDependents":
                options.orphan_dependents = boolean(value) if value else None
    _set_dry_run(options, values.get("dryRun") or [], verb)
    return options


def _set_dry_run(options: Options, values: list[str], verb: str) -> None:
    wrong = [value for value in values if value not in {"All", ""}]
    if wrong:
        raise _options_error(
            verb,
            FieldError(
                "FieldValueNotSupported",
                "dryRun",
                detail='supported values: "All"',
                shown="[" + ",".join(f'"{value}"' for value in values) + "]",
            ),
        )
    options.dry_run = "All" in values


def _options_error(verb: str, *errors: FieldError) -> StatusError:
    return invalid(_OPTIONS_KIND.get(verb, "ListOptions"), "meta.k8s.io", "", errors)


def check_write_options(options: Options, verb: str, *, apply: bool) -> None:
    """422 for field managers, `force` and `fieldValidation` that the API server refuses."""
    errors = []
    if verb == "patch":
        if apply and not options.field_manager:
            errors.append(
                FieldError("FieldValueRequired", "fieldManager", detail="is required for apply patch")
            )
        if not apply and options.force is not None:
            errors.append(
                FieldError("FieldValueForbidden", "force", detail="may not be specified for non-apply patch")
            )
    if len(options.field_manager.encode()) > MAX_MANAGER_BYTES:
        errors.append(
            FieldError(
                "FieldValueTooLong", "fieldManager", detail=f"may not be more than {MAX_MANAGER_BYTES} bytes"
            )
        )
    for at, character in enumerate(options.field_manager):
        if not character.isprintable():
            why = f"invalid character U+{ord(character):04X} (at position {at})"
            errors.append(FieldError("FieldValueInvalid", "fieldManager", options.field_manager, why))
    if options.field_validation not in {"", "Ignore", "Warn", "Strict"}:
        errors.append(
            FieldError(
                "FieldValueNotSupported",
                "fieldValidation",
                options.field_validation,
                'supported values: "", "Ignore", "Strict", "Warn"',
            )
        )
    if errors:
        raise _options_error(verb, *errors)


def merge_delete_options(options: Options, body: dict[str, Any], verb: str) -> None:
    """A DeleteOptions body takes the place of the query's options, all of them. 400 when it is none."""
    try:
        found = decode(body, "", "v1", "DeleteOptions").obj
    except NotDecodable as error:
        raise bad_request(str(error)) from None
    if (found.get("kind") or "DeleteOptions") != "DeleteOptions":
        raise bad_request(
            f"expect meta.k8s.io/v1, Kind=DeleteOptions, got {found.get('apiVersion', '')}, Kind={found['kind']}"
        )
    options.grace_period_seconds = found.get("gracePeriodSeconds")
    options.propagation_policy = found.get("propagationPolicy", "")
    options.orphan_dependents = found.get("orphanDependents")
    preconditions = found.get("preconditions") or {}
    options.precondition_uid = preconditions.get("uid", "")
    options.precondition_resource_version = preconditions.get("resourceVersion", "")
    _set_dry_run(options, found.get("dryRun") or [], verb)
