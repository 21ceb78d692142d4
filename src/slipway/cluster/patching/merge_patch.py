"""JSON merge patch (RFC 7386) as the API server applies it.

One thing beyond the RFC: where a patch brings a whole new value, nulls are also dropped from objects inside
its arrays.
"""

from __future__ import annotations

from typing import Any

from slipway.cluster.patching.json_values import copied
from slipway.cluster.schema.go_scalars import json_type
from slipway.cluster.status import bad_request


def apply_merge_patch(document: dict[str, Any], patch: Any) -> dict[str, Any]:
    """The document after the patch; neither argument is changed. StatusError 400 if the patch is no object."""
    if patch is None:
        raise bad_request("Invalid JSON Patch")
    if not isinstance(patch, dict):
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {json_type(patch)} "
            "into Go value of type map[string]interface {}"
        )
    return _merged(document, patch)


def _merged(document: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    result = {key: copied(value) for key, value in document.items() if key not in patch}
    for key, value in patch.items():
        if value is None:
            continue
        before = document.get(key)
        if not isinstance(before, dict):
            result[key] = _without_nulls(value)
        elif isinstance(value, dict):
            result[key] = _merged(before, value)
        else:
            result[key] = copied(value)
    return result


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
