"""Short, stable names for templates: pod-template-hash, controller revision names."""

from __future__ import annotations

from typing import Any

import orjson

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels: no words by accident (apimachinery's rand)


def template_hash(template: Any, collisions: int | None = None) -> str:
    """FNV-1a of the template's canonical JSON in a safe alphabet.

    Upstream hashes Go's memory dump of the template, so that the value differs; its form is the same.
    """
    data = orjson.dumps(template, option=orjson.OPT_SORT_KEYS)
    if collisions is not None:
        data += collisions.to_bytes(8, "little", signed=True)
    value = 2166136261
    for byte in data:
        value = ((value ^ byte) * 16777619) & 0xFFFFFFFF
    return safe_encode(str(value))


def safe_encode(text: str) -> str:
    return "".join(_ALPHABET[ord(character) % len(_ALPHABET)] for character in text)
