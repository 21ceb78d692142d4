"""Query options of the API verbs, and DeleteOptions in a body, as `registry.call.Options`."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs

from slipway.cluster.registry.call import Options
from slipway.cluster.status import FieldError, StatusError, bad_request, invalid

_OPTIONS_KIND = {
    "create": "CreateOptions",
    "update": "UpdateOptions",
    "patch": "PatchOptions",
    "delete": "DeleteOptions",
    "deletecollection": "DeleteOptions",
}


def _integer(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d+", text):
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    if len(text) > 20 or not -(2**63) <= int(text) < 2**63:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": value out of range')
    return int(text)


def _boolean(text: str) -> bool:
    # The API server takes any unknown text for true (runtime.Convert_Slice_string_To_bool).
    return text.lower() != "false" and text != "0"


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
                options.force = _boolean(value) if value else None
            case "resourceVersion":
                options.resource_version = value
            case "resourceVersionMatch":
                options.resource_version_match = value
            case "limit":
                options.limit = max(0, _integer(value)) if value else 0
            case "continue":
                options.continue_token = value
            case "labelSelector":
                options.label_selector = value
            case "fieldSelector":
                options.field_selector = value
            case "timeoutSeconds":
                options.timeout_seconds = float(_integer(value)) if value else None
            case "allowWatchBookmarks":
                options.allow_watch_bookmarks = _boolean(value)
            case "sendInitialEvents":
                options.send_initial_events = _boolean(value) if value else None
            case "gracePeriodSeconds":
                options.grace_period_seconds = _integer(value) if value else None
            case "propagationPolicy":
                options.propagation_policy = value
            case "orphanDependents":
                options.orphan_dependents = _boolean(value) if value else None
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
    options.dry_run = options.dry_run or "All" in values


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
    if len(options.field_manager) > 128:
        errors.append(
            FieldError("FieldValueTooLong", "fieldManager", detail="may not be more than 128 bytes")
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


_DELETE_FIELDS: dict[str, tuple[type, str]] = {
    "gracePeriodSeconds": (int, "int64"),
    "propagationPolicy": (str, "string"),
    "orphanDependents": (bool, "bool"),
    "preconditions": (dict, "v1.Preconditions"),
    "dryRun": (list, "[]string"),
}
_GO_KINDS = {str: "string", int: "number", float: "number", bool: "bool", list: "array", dict: "object"}


def _check_delete_fields(body: dict[str, Any]) -> None:
    for name, (kind, go_type) in _DELETE_FIELDS.items():
        value = body.get(name)
        if value is not None and type(value) is not kind:
            raise bad_request(
                f"json: cannot unmarshal {_GO_KINDS[type(value)]} into Go struct field"
                f" DeleteOptions.{name} of type {go_type}"
            )


def merge_delete_options(options: Options, body: dict[str, Any], verb: str) -> None:
    """A DeleteOptions body takes the place of the query's options. 400 when it is none."""
    _check_delete_fields(body)
    if (body.get("kind") or "DeleteOptions") != "DeleteOptions":
        raise bad_request(
            f"expect meta.k8s.io/v1, Kind=DeleteOptions, got {body.get('apiVersion', '')}, Kind={body['kind']}"
        )
    if body.get("gracePeriodSeconds") is not None:
        options.grace_period_seconds = int(body["gracePeriodSeconds"])
    if body.get("propagationPolicy") is not None:
        options.propagation_policy = str(body["propagationPolicy"])
    if body.get("orphanDependents") is not None:
        options.orphan_dependents = bool(body["orphanDependents"])
    preconditions = body.get("preconditions") or {}
    options.precondition_uid = str(preconditions.get("uid") or "")
    options.precondition_resource_version = str(preconditions.get("resourceVersion") or "")
    _set_dry_run(options, [str(value) for value in body.get("dryRun") or []], verb)
