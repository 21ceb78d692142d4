"""JSON patch (RFC 6902) with the semantics of evanphx/json-patch v4, which the API server uses.

Where that library is laxer than the RFC, so are we, because clients rely on it: `replace` of an absent member
adds it, `copy` of an absent member adds null, negative indices count from the end, `add` without a value adds
null, and an absent member passes a `test` for null. Whatever fails after the patch was understood is one and
the same 422.
"""

from __future__ import annotations

import json
import re
from typing import Any

from slipway.cluster.patching.json_values import copied, same
from slipway.cluster.schema.go_scalars import json_type
from slipway.cluster.schema.json_bodies import too_deep
from slipway.cluster.status import StatusError, bad_request

MAXIMUM_OPERATIONS = 10000
# Bytes of JSON in all that a patch may copy: a few copies of copies fill the memory.
MAXIMUM_COPIED = 3 * 1024 * 1024

_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_KNOWN = ("op", "path", "from", "value")
_TEXTS = ("op", "path", "from")


class _Inapplicable(Exception):
    """An operation that does not apply to this document."""


def apply_json_patch(document: Any, operations: Any) -> Any:
    """The document after all operations; the document itself is left as it is.

    StatusError 400 for what is no JSON patch, 413 for more than 10,000 operations, 422 for a patch that does
    not apply.
    """
    _check(operations)
    root = [copied(document)]  # so that replacing the whole document is an item assignment like any other
    copied_bytes = 0
    try:
        for operation in operations or []:
            copied_bytes += _apply(root, operation or {})
            if copied_bytes > MAXIMUM_COPIED:
                raise _Inapplicable
        if too_deep(root[0]):
            raise _Inapplicable
    except _Inapplicable:
        raise StatusError(
            422, "Invalid", "the server rejected our request due to an error in our request", {}
        ) from None
    return root[0]


def unknown_json_patch_fields(operations: Any) -> list[str]:
    """What strict decoding says about members of operations that no operation has."""
    if not isinstance(operations, list):
        return []
    return [
        f'json patch unknown field "[{index}].{name}"'
        for index, operation in enumerate(operations)
        if isinstance(operation, dict)
        for name in operation
        if name not in _KNOWN
    ]


def _check(operations: Any) -> None:
    if operations is None:
        return
    if not isinstance(operations, list):
        raise bad_request(
            "error decoding patch: json: cannot unmarshal "
            f"{json_type(operations)} into Go value of type []handlers.jsonPatchOp"
        )
    for operation in operations:
        if operation is None:
            continue
        if not isinstance(operation, dict):
            raise bad_request(
                "error decoding patch: json: cannot unmarshal "
                f"{json_type(operation)} into Go value of type handlers.jsonPatchOp"
            )
        for name in _TEXTS:
            value = operation.get(name)
            if value is not None and not isinstance(value, str):
                raise bad_request(
                    f"error decoding patch: json: cannot unmarshal {json_type(value)} "
                    f"into Go struct field jsonPatchOp.{name} of type string"
                )
    if len(operations) > MAXIMUM_OPERATIONS:
        raise StatusError(
            413,
            "RequestEntityTooLarge",
            "Request entity too large: The allowed maximum operations in a JSON patch is "
            f"{MAXIMUM_OPERATIONS}, got {len(operations)}",
        )


def _apply(root: list[Any], operation: dict[str, Any]) -> int:
    """One operation; how many bytes of JSON it copied."""
    kind, path, source = operation.get("op"), operation.get("path"), operation.get("from")
    value = copied(operation.get("value"))
    if kind not in ("add", "remove", "replace", "move", "copy", "test") or path is None:
        raise _Inapplicable
    if kind in ("move", "copy") and source is None:
        raise _Inapplicable
    if path == "" and kind == "replace":
        if not isinstance(value, dict | list):
            raise _Inapplicable
        root[0] = value
    elif path == "" and kind == "test":
        if not same(root[0], value):
            raise _Inapplicable
    elif kind == "add":
        _add(*_locate(root[0], path), value)
    elif kind == "remove":
        _remove(*_locate(root[0], path))
    elif kind == "replace":
        _replace(*_locate(root[0], path), value)
    elif kind == "test":
        if not same(_get(*_locate(root[0], path)), value):
            raise _Inapplicable
    else:
        assert isinstance(source, str)
        holder, key = _locate(root[0], source)
        moved = _get(holder, key)
        if too_deep(moved):
            raise _Inapplicable
        moved = copied(moved)
        if kind == "move":
            _remove(holder, key)
        _add(*_locate(root[0], path), moved)
        return len(json.dumps(moved)) if kind == "copy" else 0
    return 0


def _locate(document: Any, pointer: str) -> tuple[Any, str]:
    """The object or array that holds what the pointer names, and the last token. What stands before the
    first slash is not looked at."""
    tokens = [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")]
    if len(tokens) < 2:
        raise _Inapplicable
    holder = document
    for token in tokens[1:-1]:
        holder = _get(holder, token)
    if not isinstance(holder, dict | list):
        raise _Inapplicable
    return holder, tokens[-1]


def _index(holder: list[Any], key: str, size: int) -> int:
    """An array index below `size`; negative ones count from `size`."""
    if not _INTEGER.fullmatch(key):
        raise _Inapplicable
    index = int(key)
    if index >= size or index < -size:
        raise _Inapplicable
    return index + size if index < 0 else index


def _get(holder: Any, key: str) -> Any:
    if isinstance(holder, dict):
        return holder.get(key)
    if isinstance(holder, list):
        return holder[_index(holder, key, len(holder))]
    raise _Inapplicable


def _add(holder: Any, key: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder[key] = value
    elif key == "-":
        holder.append(value)
    else:
        holder.insert(_index(holder, key, len(holder) + 1), value)


def _replace(holder: Any, key: str, value: Any) -> None:
    if isinstance(holder, dict):
        holder[key] = value
    else:
        holder[_index(holder, key, len(holder))] = value


def _remove(holder: Any, key: str) -> None:
    if isinstance(holder, dict):
        if key not in holder:
            raise _Inapplicable
        del holder[key]
    else:
        del holder[_index(holder, key, len(holder))]
