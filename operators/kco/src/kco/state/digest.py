"""A short fingerprint of a state, so that a restart can tell "unchanged" without any value being stored."""

import hashlib
from typing import Any

import orjson


def digest(state: Any) -> str:
    """Equal states (as JSON) have equal fingerprints."""
    return hashlib.blake2b(
        orjson.dumps(_plain(state), option=orjson.OPT_SORT_KEYS), digest_size=8
    ).hexdigest()


def _plain(value: Any) -> Any:
    # 1 and 1.0 are the same JSON number and must have the same fingerprint.
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
